"""The registry: which plugins there are, what they bring, and every call of a hook.

`Registry.load` is the one road from an installed distribution to the product. A plugin that breaks while it
is loaded or asked what it brings is reported and left out; one that breaks later stops the work, by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import pluggy

from polyhead.registry import hookspecs
from polyhead.registry.catalogue import Catalogue, Clash
from polyhead.registry.contracts import (
    Command,
    Family,
    HeadFactory,
    Metric,
    NamedBackbone,
    Perturbation,
    SourceRow,
    Task,
)
from polyhead.registry.contributions import Contribution, take
from polyhead.registry.discovery import (
    GROUP,
    LIMIT,
    BrokenPlugin,
    LoadedPlugin,
    Origin,
    accept,
    builtin_origin,
    implemented_hooks,
    load,
    select,
)
from polyhead.registry.errors import BackboneError, DataError, PluginError
from polyhead.registry.hookcalls import HookCalls
from polyhead.registry.names import unknown_name

LIFE_CYCLE_HOOKS = ("polyhead_start_run", "polyhead_end_step", "polyhead_end_evaluation", "polyhead_end_run")
"""The hooks that tell of a run; the only ones that an observer may implement."""


@dataclass(frozen=True)
class RegisteredTask:
    """A task and the plugin that brought it."""

    task: Task[Any, Any]
    plugin: str
    distribution: str
    version: str


@dataclass(frozen=True)
class PluginInfo:
    """What a listing says of one plugin."""

    name: str
    distribution: str
    version: str
    """Empty where the plugin is built in."""
    status: Literal["ok", "broken", "skipped"]
    """``skipped``: left out by ``POLYHEAD_LOAD_PLUGINS``."""
    tasks: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    error: str = ""
    """What is broken and what to do, or which names of a working plugin clash with another's."""


class Registry:
    """The plugins of this installation and what they bring; fixed once loaded, observers apart."""

    def __init__(
        self,
        manager: pluggy.PluginManager,
        builtins: Sequence[Contribution],
        plugins: Sequence[Contribution],
        *,
        broken: Sequence[BrokenPlugin] = (),
        skipped: Sequence[Origin] = (),
    ) -> None:
        self._manager = manager
        self._builtins, self._plugins = tuple(builtins), tuple(plugins)
        self._broken, self._skipped = tuple(broken), tuple(skipped)
        brought = self._builtins + self._plugins
        self._origins = {given.origin.key: given.origin for given in brought}
        self._calls = HookCalls(manager, self._origins)
        loaded = [given.origin for given in plugins]
        self._tasks = Catalogue("task", [(c.origin, x) for c in brought for x in c.tasks], loaded)
        self._backbones = Catalogue("backbone", [(c.origin, x) for c in brought for x in c.backbones], loaded)
        self._commands = Catalogue("command", [(c.origin, x) for c in brought for x in c.commands], loaded)

    @classmethod
    def load(
        cls,
        builtins: Sequence[object] = (),
        environ: Mapping[str, str] | None = None,
        entry_points: Iterable[metadata.EntryPoint] | None = None,
    ) -> Registry:
        """Load ``builtins`` (modules of polyhead itself) and the installed plugins.

        ``environ`` and ``entry_points`` default to those of this process. A broken plugin is reported by
        `broken`, never raised. Raises `UnknownNameError` for a wrong name in ``POLYHEAD_LOAD_PLUGINS`` and
        `PluginError` for a built-in that does not work.
        """
        limit = (os.environ if environ is None else environ).get(LIMIT)
        found = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
        chosen, skipped = select(found, limit)
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        own = [take(manager, LoadedPlugin(builtin_origin(plugin), plugin)) for plugin in builtins]
        for answer in own:
            if isinstance(answer, BrokenPlugin):
                raise PluginError(str(answer))
        loaded = [load(origin, entry_point) for origin, entry_point in chosen]
        taken = [answer if isinstance(answer, BrokenPlugin) else take(manager, answer) for answer in loaded]
        return cls(
            manager,
            [answer for answer in own if isinstance(answer, Contribution)],
            [answer for answer in taken if isinstance(answer, Contribution)],
            broken=[answer for answer in taken if isinstance(answer, BrokenPlugin)],
            skipped=skipped,
        )

    # ── what there is ───────────────────────────────────────────────────────────────────────────────────

    def tasks(self) -> dict[str, RegisteredTask]:
        """Return the usable tasks by name; what clashes is in `clashes`, what broke in `broken`."""
        return {
            name: RegisteredTask(task, origin.plugin, origin.distribution, origin.version)
            for name, (origin, task) in self._tasks.unique().items()
        }

    def task(self, name: str) -> Task[Any, Any]:
        """Return one task; raises `UnknownNameError`, or `PluginError` where two plugins claim the name."""
        return self._tasks.get(name, hint=self._absence(name))

    def backbones(self) -> dict[str, NamedBackbone]:
        """Return the backbones that have a short name; without those that clash."""
        return {name: backbone for name, (_, backbone) in self._backbones.unique().items()}

    def backbone(self, name: str) -> NamedBackbone:
        """Return one named backbone; raises as `task` does."""
        return self._backbones.get(name, hint=self._absence(name))

    def commands(self) -> dict[str, Command]:
        """Return the commands that plugins add; without those that clash."""
        return {name: command for name, (_, command) in self._commands.unique().items()}

    def command(self, name: str) -> Command:
        """Return one added command; raises as `task` does."""
        return self._commands.get(name, hint=self._absence(name))

    def plugins(self) -> list[PluginInfo]:
        """Return every plugin that was found: built-in ones first, then by name."""
        found = [self._listed(contribution) for contribution in self._plugins]
        for plugin in self._broken:
            error = f"{plugin.error}; {plugin.remedy}"
            found.append(PluginInfo(plugin.name, plugin.distribution, plugin.version, "broken", error=error))
        found += [PluginInfo(o.plugin, o.distribution, o.version, "skipped") for o in self._skipped]
        found.sort(key=lambda plugin: (plugin.name, plugin.distribution))
        return [self._listed(contribution) for contribution in self._builtins] + found

    def broken(self) -> tuple[BrokenPlugin, ...]:
        """Return the plugins that were left out because they do not work."""
        return self._broken

    def clashes(self) -> tuple[Clash, ...]:
        """Return the names of tasks, backbones and commands that several plugins claim."""
        return self._tasks.clashes() + self._backbones.clashes() + self._commands.clashes()

    # ── asking plugins ──────────────────────────────────────────────────────────────────────────────────

    def read_rows(self, path: Path, format: str, encoding: str | None) -> Iterator[SourceRow]:  # noqa: A002
        """Return the rows of a file from the first plugin that reads its format.

        Raises `DataError` where none does, `PluginError` where the reader breaks, now or between two rows.
        """
        hook = "polyhead_read_rows"
        for origin, rows in self._calls.answers(hook, path=path, format=format, encoding=encoding):
            if not isinstance(rows, Iterator):
                raise PluginError(f"{origin}: {hook} returned a {type(rows).__name__}, not an iterator")
            return self._calls.rows(hook, origin, rows)
        raise DataError(f"{path}: no plugin reads the format '{format}'")

    def head_factory(self, task_name: str, family: Family, head_name: str = "default") -> HeadFactory:
        """Return what makes the head of this name for a task on a family of backbones.

        A plugin's answer goes before the task's own head (``default``). Raises `BackboneError` where there is
        none, `UnknownNameError` for an unknown task.
        """
        task = self.task(task_name)
        hook = "polyhead_provide_head"
        for origin, factory in self._calls.answers(hook, task=task_name, family=family, head=head_name):
            if not callable(factory):
                raise PluginError(f"{origin}: {hook} returned a {type(factory).__name__}, not a function")
            given: HeadFactory = factory
            return given
        if head_name == "default" and family in task.heads:
            return task.heads[family]
        families = ", ".join(sorted(task.heads)) or "none"
        raise BackboneError(
            f"task '{task_name}' has no head '{head_name}' for family {family}; "
            f"families that have a default head: {families}"
        )

    def metrics(self, task_name: str) -> tuple[Metric[Any, Any], ...]:
        """Return the metrics of a task: its own, then those that plugins add."""
        own = self.task(task_name).metrics
        added = self._calls.items("polyhead_register_metrics", Metric, task=task_name)
        return (*own, *(metric for _, metric in added))

    def perturbations(self, task_name: str) -> dict[str, Perturbation[Any]]:
        """Return the perturbations of a task's examples by name; raises `PluginError` where two share one."""
        self.task(task_name)
        hook = "polyhead_register_perturbations"
        entries = self._calls.items(hook, Perturbation, task=task_name)
        catalogue = Catalogue(f"{task_name} perturbation", entries, [c.origin for c in self._plugins])
        clashes = catalogue.clashes()
        if clashes:
            raise PluginError(str(clashes[0]))
        return {name: perturbation for name, (_, perturbation) in catalogue.unique().items()}

    # ── the life of a run ───────────────────────────────────────────────────────────────────────────────

    def notify(self, hook: str, **arguments: object) -> None:
        """Tell every plugin and observer of a run's progress: ``notify("polyhead_start_run", run=...)``.

        All are told, also after one has failed; then the first failure is raised as `PluginError`.
        """
        if hook not in LIFE_CYCLE_HOOKS:
            raise unknown_name("life-cycle hook", hook, LIFE_CYCLE_HOOKS)
        self._calls.tell_all(hook, **arguments)

    def add_observer(self, observer: object, name: str) -> None:
        """Register an object of this process whose life-cycle hooks `notify` calls: a log, a progress bar.

        Raises `PluginError` where the name is taken, a hook is misspelt or is none of the life-cycle.
        """
        origin = _observer_origin(name)
        refused = accept(self._manager, LoadedPlugin(origin, observer))
        if refused is not None:
            raise PluginError(f"observer '{name}': {refused.error}")
        self._origins[origin.key] = origin
        foreign = sorted(set(implemented_hooks(self._manager, observer)) - set(LIFE_CYCLE_HOOKS))
        if foreign:
            self.remove_observer(name)
            allowed = ", ".join(LIFE_CYCLE_HOOKS)
            raise PluginError(f"observer '{name}' implements {', '.join(foreign)}; observers may: {allowed}")

    def remove_observer(self, name: str) -> None:
        """Forget an observer; raises `UnknownNameError` where there is none of this name."""
        key = _observer_origin(name).key
        if not self._manager.has_plugin(key):
            observers = [o.plugin for o in self._origins.values() if o == _observer_origin(o.plugin)]
            raise unknown_name("observer", name, observers)
        self._manager.unregister(name=key)
        del self._origins[key]

    @contextmanager
    def observing(self, observer: object, name: str) -> Iterator[None]:
        """Register an observer for the length of a ``with`` block."""
        self.add_observer(observer, name)
        try:
            yield
        finally:
            self.remove_observer(name)

    def _listed(self, contribution: Contribution) -> PluginInfo:
        origin = contribution.origin
        return PluginInfo(
            origin.plugin,
            origin.distribution,
            origin.version,
            "ok",
            tasks=tuple(task.name for task in contribution.tasks),
            backbones=tuple(backbone.name for backbone in contribution.backbones),
            hooks=contribution.hooks,
            error="; ".join(str(clash) for clash in self.clashes() if origin in clash.origins),
        )

    def _absence(self, name: str) -> str:
        """Say why a plugin of this name is not there, where it was found but is broken or left out."""
        reasons = [f" It may come with {plugin}." for plugin in self._broken if plugin.name == name]
        reasons += [f" {origin} is left out by {LIMIT}." for origin in self._skipped if origin.plugin == name]
        return "".join(reasons)


def _observer_origin(name: str) -> Origin:
    return Origin(name, "this process", "")
