"""Call hooks one plugin at a time, so that the plugin that fails, or answers nonsense, can be named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import pluggy

from polyhead.registry.contracts import SourceRow
from polyhead.registry.discovery import Origin, describe
from polyhead.registry.errors import PluginError, PolyheadError

T = TypeVar("T")


class HookCalls:
    """The hooks of all registered plugins, called in the plugin manager's order.

    A `PolyheadError` of a plugin reaches the user as it is, for it says what the user can mend; whatever else
    a plugin raises becomes a `PluginError` that names the plugin, its distribution and the hook.
    """

    def __init__(self, manager: pluggy.PluginManager, origins: Mapping[str, Origin]) -> None:
        self._manager = manager
        self._origins = origins

    def answers(self, hook: str, **arguments: object) -> Iterator[tuple[Origin, Any]]:
        """Ask one plugin after the other, as far as the caller goes on; None is no answer and left out."""
        for origin, implementation in self._implementations(hook):
            try:
                answer = invoke(implementation, arguments)
            except PolyheadError:
                raise
            except (Exception, SystemExit) as error:
                raise failure(origin, hook, error) from error
            if answer is not None:
                yield origin, answer

    def items(self, hook: str, item_type: type[T], **arguments: object) -> Iterator[tuple[Origin, T]]:
        """Ask all plugins for lists, and give their items one by one."""
        for origin, answer in self.answers(hook, **arguments):
            try:
                items = checked_items(answer, item_type)
            except TypeError as error:
                raise PluginError(f"{origin}: {hook} {error}") from error
            for item in items:
                yield origin, item

    def rows(self, hook: str, origin: Origin, rows: Iterator[object]) -> Iterator[SourceRow]:
        """Hand on what a reader yields; raises `PluginError` where it breaks or yields something else."""
        try:
            for row in rows:
                yield _checked_row(origin, hook, row)
        except PolyheadError:
            raise
        except (Exception, SystemExit) as error:
            raise failure(origin, hook, error) from error

    def tell_all(self, hook: str, **arguments: object) -> None:
        """Call every implementation, also after one has failed; then raise the first failure."""
        failures: list[tuple[Origin, BaseException]] = []
        for origin, implementation in self._implementations(hook):
            try:
                invoke(implementation, arguments)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the other plugins must still be told
                failures.append((origin, error))
        if failures:
            origin, cause = failures[0]
            raise failure(origin, hook, cause) from cause

    def _implementations(self, hook: str) -> Iterator[tuple[Origin, pluggy.HookImpl]]:
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        for implementation in reversed(caller.get_hookimpls()):  # pluggy calls the last one first
            yield self._origins[implementation.plugin_name], implementation


def invoke(implementation: pluggy.HookImpl, arguments: Mapping[str, object]) -> object:
    """Call one implementation with those of the hook's arguments that it takes."""
    answer: object = implementation.function(*(arguments[name] for name in implementation.argnames))
    return answer


def checked_items(answer: object, item_type: type[T]) -> tuple[T, ...]:
    """Return the items of a hook's answer; raises `TypeError` unless it is a list of ``item_type``."""
    if not isinstance(answer, list | tuple):
        raise TypeError(f"returned a {type(answer).__name__} where a list of {item_type.__name__} belongs")
    for item in answer:
        if not isinstance(item, item_type):
            raise TypeError(f"returned a {type(item).__name__} where a {item_type.__name__} belongs")
    return tuple(answer)


def _checked_row(origin: Origin, hook: str, row: object) -> SourceRow:
    if not isinstance(row, SourceRow):
        raise PluginError(f"{origin}: {hook} gave a {type(row).__name__} where a SourceRow belongs")
    return row


def failure(origin: Origin, hook: str, error: BaseException) -> PluginError:
    """Return the error that says whose hook failed, and how."""
    return PluginError(f"{origin}: {hook} failed: {describe(error)}")
