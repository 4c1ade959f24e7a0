"""Ask a plugin what it brings; one that cannot say is unregistered and reported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeVar

import pluggy

from polyhead.registry.contracts import Command, NamedBackbone, Task
from polyhead.registry.discovery import (
    BrokenPlugin,
    LoadedPlugin,
    Origin,
    accept,
    broken,
    describe,
    implemented_hooks,
)
from polyhead.registry.errors import PluginError
from polyhead.registry.hookcalls import checked_items, invoke

T = TypeVar("T", bound=Task[Any, Any] | NamedBackbone | Command)


@dataclass(frozen=True)
class Contribution:
    """What one working plugin brings."""

    origin: Origin
    hooks: tuple[str, ...]
    tasks: tuple[Task[Any, Any], ...]
    backbones: tuple[NamedBackbone, ...]
    commands: tuple[Command, ...]


def take(manager: pluggy.PluginManager, loaded: LoadedPlugin) -> Contribution | BrokenPlugin:
    """Register a plugin and ask it for its tasks, backbones and commands."""
    refused = accept(manager, loaded)
    if refused is not None:
        return refused
    try:
        return Contribution(
            loaded.origin,
            implemented_hooks(manager, loaded.plugin),
            tasks=_ask(manager, loaded.plugin, "polyhead_register_tasks", Task),
            backbones=_ask(manager, loaded.plugin, "polyhead_register_backbones", NamedBackbone),
            commands=_ask(manager, loaded.plugin, "polyhead_register_commands", Command),
        )
    except PluginError as error:
        manager.unregister(name=loaded.origin.key)
        return broken(loaded.origin, str(error))


def _ask(manager: pluggy.PluginManager, plugin: object, hook: str, item_type: type[T]) -> tuple[T, ...]:
    """Return what one plugin registers by one hook; the `PluginError` it raises does not name the plugin."""
    caller: pluggy.HookCaller = getattr(manager.hook, hook)
    found: list[T] = []
    for implementation in caller.get_hookimpls():
        if implementation.plugin is not plugin:
            continue
        try:
            answer = invoke(implementation, {})
        except (Exception, SystemExit) as error:
            raise PluginError(f"{hook} failed: {describe(error)}") from error
        try:
            found.extend(() if answer is None else checked_items(answer, item_type))
        except TypeError as error:
            raise PluginError(f"{hook} {error}") from error
    _check_names(hook, found)
    return tuple(found)


def _check_names(hook: str, items: list[T]) -> None:
    for item in items:
        if not isinstance(item.name, str) or not item.name:
            raise PluginError(f"{hook} returned a {type(item).__name__} whose name is {item.name!r}")
    for name, count in Counter(item.name for item in items).items():
        if count > 1:
            raise PluginError(f"{hook} returned '{name}' {count} times")
