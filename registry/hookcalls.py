"""Call hooks one plugin at a time, so that the plugin that fails, or answers nonsense, can be named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pluggy

from polyhead.registry.additions import Reader
from polyhead.registry.contracts import SourceRow
from polyhead.registry.discovery import Origin, describe
from polyhead.registry.errors import PluginError, PolyheadError
from polyhead.registry.tracing import traced

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
            answer = self._answer(origin, hook, implementation, arguments)
            if answer is not None:
                yield origin, answer

    def items(self, hook: str, item_type: type[T], **arguments: object) -> Iterator[tuple[Origin, T]]:
        """Ask all plugins for lists, and give their items one by one."""
        for origin, answer in self.answers(hook, **arguments):
            for item in _items_of(origin, hook, answer, item_type):
                yield origin, item

    def items_of(self, origin: Origin, hook: str, item_type: type[T], **arguments: object) -> tuple[T, ...]:
        """Ask one plugin alone for a list, as `items` asks all of them."""
        for other, implementation in self._implementations(hook):
            if other == origin:
                answer = self._answer(origin, hook, implementation, arguments)
                return () if answer is None else _items_of(origin, hook, answer, item_type)
        return ()

    def rows(self, origin: Origin, reader: Reader, path: Path, encoding: str | None) -> Iterator[SourceRow]:
        """Read a file by a plugin's reader; raises `PluginError` where it breaks or gives something else than rows."""
        place = f"reader '{reader.name}'"
        try:
            with traced(origin.key, f"reader {reader.name}({path})") as trace:
                rows = trace.answer = reader.read(path, encoding)
        except PolyheadError:
            raise
        except (Exception, SystemExit) as error:
            raise failure(origin, place, error) from error
        if not isinstance(rows, Iterator):
            raise PluginError(f"{origin}: {place} returned a {type(rows).__name__}, not an iterator")
        return self._checked_rows(origin, place, rows)

    def _checked_rows(self, origin: Origin, place: str, rows: Iterator[object]) -> Iterator[SourceRow]:
        try:
            for row in rows:
                yield _checked_row(origin, place, row)
        except PolyheadError:
            raise
        except (Exception, SystemExit) as error:
            raise failure(origin, place, error) from error

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

    def _answer(
        self, origin: Origin, hook: str, implementation: pluggy.HookImpl, arguments: Mapping[str, object]
    ) -> object:
        try:
            return invoke(implementation, arguments)
        except PolyheadError:
            raise
        except (Exception, SystemExit) as error:
            raise failure(origin, hook, error) from error

    def _implementations(self, hook: str) -> Iterator[tuple[Origin, pluggy.HookImpl]]:
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        for implementation in reversed(caller.get_hookimpls()):  # pluggy calls the last one first
            yield self._origins[implementation.plugin_name], implementation


def invoke(implementation: pluggy.HookImpl, arguments: Mapping[str, object]) -> object:
    """Call one implementation with those of the hook's arguments that it takes."""
    named = [arguments[name] for name in implementation.argnames]
    told = ", ".join(value if isinstance(value, str) else type(value).__name__ for value in named)
    with traced(implementation.plugin_name, f"{implementation.function.__name__}({told})") as trace:
        trace.answer = implementation.function(*named)
    return trace.answer


def _items_of(origin: Origin, hook: str, answer: object, item_type: type[T]) -> tuple[T, ...]:
    try:
        return checked_items(answer, item_type)
    except TypeError as error:
        raise PluginError(f"{origin}: {hook} {error}") from error


def checked_items(answer: object, item_type: type[T]) -> tuple[T, ...]:
    """Return the items of a hook's answer; raises `TypeError` unless it is a list of ``item_type``."""
    if not isinstance(answer, list | tuple):
        raise TypeError(f"returned a {type(answer).__name__} where a list of {item_type.__name__} belongs")
    for item in answer:
        if not isinstance(item, item_type):
            raise TypeError(f"returned a {type(item).__name__} where a {item_type.__name__} belongs")
    return tuple(answer)


def _checked_row(origin: Origin, place: str, row: object) -> SourceRow:
    if not isinstance(row, SourceRow):
        raise PluginError(f"{origin}: {place} gave a {type(row).__name__} where a SourceRow belongs")
    return row


def failure(origin: Origin, hook: str, error: BaseException) -> PluginError:
    """Return the error that says whose hook failed, and how."""
    return PluginError(f"{origin}: {hook} failed: {describe(error)}")
