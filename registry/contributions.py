"""Ask a plugin what it brings; one that cannot say is unregistered and reported."""

from __future__ import annotations

import inspect
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeVar

import pluggy

from polyhead.registry.additions import Command, NamedBackbone, NamedHead, Reader
from polyhead.registry.contracts import Task
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

T = TypeVar("T", bound=Task[Any, Any] | NamedHead | Reader | NamedBackbone | Command)

DEFAULT_HEAD = "default"
"""What ``head=`` calls the head that a task brings itself."""


@dataclass(frozen=True)
class Contribution:
    """What one working plugin brings."""

    origin: Origin
    hooks: tuple[str, ...]
    tasks: tuple[Task[Any, Any], ...]
    heads: tuple[NamedHead, ...]
    readers: tuple[Reader, ...]
    backbones: tuple[NamedBackbone, ...]
    commands: tuple[Command, ...]
    api_version: int | None
    """What it states in ``polyhead_api_version``."""
    seconds: float
    """How long it took to import it and to ask what it registers."""


def take(manager: pluggy.PluginManager, loaded: LoadedPlugin) -> Contribution | BrokenPlugin:
    """Register a plugin and ask it for what it registers."""
    started = time.perf_counter()
    refused = accept(manager, loaded)
    if refused is not None:
        return refused
    try:
        return Contribution(
            loaded.origin,
            implemented_hooks(manager, loaded.plugin),
            tasks=_ask(manager, loaded.plugin, "polyhead_register_tasks", Task),
            heads=_ask(manager, loaded.plugin, "polyhead_register_heads", NamedHead),
            readers=_ask(manager, loaded.plugin, "polyhead_register_readers", Reader),
            backbones=_ask(manager, loaded.plugin, "polyhead_register_backbones", NamedBackbone),
            commands=_ask(manager, loaded.plugin, "polyhead_register_commands", Command),
            api_version=inspect.getattr_static(loaded.plugin, "polyhead_api_version", None),
            seconds=loaded.seconds + time.perf_counter() - started,
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
        if isinstance(item, NamedHead) and item.name == DEFAULT_HEAD:
            raise PluginError(f"{hook} returned a head called '{DEFAULT_HEAD}': that name is the task's own")
    names = [f"{item.name}' for task '{item.task}" if isinstance(item, NamedHead) else item.name for item in items]
    for name, count in Counter(names).items():
        if count > 1:
            raise PluginError(f"{hook} returned '{name}' {count} times")
