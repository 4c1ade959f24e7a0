"""The registry: which plugins there are, what they bring, and every call of a hook.

`Registry.load` is the one road from an installed distribution to the product. A plugin that breaks while it
is loaded or asked what it brings is reported and left out; one that breaks later stops the work, by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import pluggy

from polyhead.registry import hookspecs
from polyhead.registry.additions import Command, NamedBackbone, NamedHead, Reader
from polyhead.registry.catalogue import Catalogue, Clash
from polyhead.registry.contracts import Family, HeadFactory, Metric, Perturbation, SourceRow, Task
from polyhead.registry.contributions import DEFAULT_HEAD, Contribution, take
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
from polyhead.registry.errors import BackboneError, DataError, PluginError, UnknownNameError
from polyhead.registry.hookcalls import HookCalls
from polyhead.registry.listing import Listing
from polyhead.registry.names import available, did_you_mean, unknown_name
from polyhead.registry.plugin_info import PluginInfo, RegisteredTask, Used

LIFE_CYCLE_HOOKS = ("polyhead_start_run", "polyhead_end_step", "polyhead_end_evaluation", "polyhead_end_run")
"""The hooks that tell of a run; the only ones that an observer may implement."""


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
        self._tasks = Catalogue("task", [(c.origin, x) for c in brought for x in c.tasks])
        self._readers = Catalogue("reader", [(c.origin, x) for c in brought for x in c.readers])
        self._backbones = Catalogue("backbone", [(c.origin, x) for c in brought for x in c.backbones])
        self._commands = Catalogue("command", [(c.origin, x) for c in brought for x in c.commands])
        heads = [(c.origin, x) for c in brought for x in c.heads]
        self._heads = {
            task: Catalogue(f"{task} head", [claim for claim in heads if claim[1].task == task])
            for task in {head.task: None for _, head in heads}
        }

    @classmethod
    def load(
        cls,
        builtins: Sequence[object] = (),
        environ: Mapping[str, str] | None = None,
        entry_points: Iterable[metadata.EntryPoint] | None = None,
    ) -> Self:
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

    def choose(self, *choices: str) -> None:
        """Say whose entry is meant where several plugins claim a name: ``acme-nlp:ner``, distribution and name.

        Raises `UnknownNameError` where no plugin of that distribution brings a task, head, reader, backbone or command
        of that name.
        """
        for choice in choices:
            distribution, _, name = choice.partition(":")
            found = [catalogue.choose(distribution, name) for catalogue in self._catalogues()]
            if not any(found):
                claims = {
                    f"{origin.distribution}:{name}"
                    for catalogue in self._catalogues()
                    for name in catalogue.names()
                    for origin in catalogue.claims(name)
                }
                near = did_you_mean(choice, claims)
                raise UnknownNameError(f"nothing is called '{choice}'; expected DISTRIBUTION:NAME.{near}")

    def task_names(self) -> tuple[str, ...]:
        """Return every name that a plugin claims for a task, also where nobody has it because it clashes."""
        return self._tasks.names()

    def tasks(self) -> dict[str, RegisteredTask]:
        """Return the usable tasks by name; what clashes is in `clashes`, what broke in `broken`."""
        return {
            name: RegisteredTask(task, origin.plugin, origin.distribution, origin.version)
            for name, (origin, task) in self._tasks.usable().items()
        }

    def task(self, name: str) -> Task[Any, Any]:
        """Return one task; raises `UnknownNameError`, or `PluginError` where two plugins claim the name."""
        return self._tasks.get(name, hint=self._absence(name))

    def heads(self, task_name: str) -> dict[str, NamedHead]:
        """Return the heads that plugins offer for a task by name, its own one apart; without those that clash."""
        self.task(task_name)
        catalogue = self._heads.get(task_name)
        return {} if catalogue is None else {name: head for name, (_, head) in catalogue.usable().items()}

    def readers(self) -> dict[str, Reader]:
        """Return the readers of file formats by name; without those that clash."""
        return {name: reader for name, (_, reader) in self._readers.usable().items()}

    def backbones(self) -> dict[str, NamedBackbone]:
        """Return the backbones that have a short name; without those that clash."""
        return {name: backbone for name, (_, backbone) in self._backbones.usable().items()}

    def backbone(self, name: str) -> NamedBackbone:
        """Return one named backbone; raises as `task` does."""
        return self._backbones.get(name, hint=self._absence(name))

    def commands(self) -> dict[str, Command]:
        """Return the commands that plugins add; without those that clash."""
        return {name: command for name, (_, command) in self._commands.usable().items()}

    def command(self, name: str) -> Command:
        """Return one added command; raises as `task` does."""
        return self._commands.get(name, hint=self._absence(name))

    def plugins(self) -> list[PluginInfo]:
        """Return every plugin that was found: built-in ones first, then by name."""
        listing = Listing(self._calls, self._tasks.names(), self.clashes())
        found = [listing.of(contribution) for contribution in self._plugins]
        for plugin in self._broken:
            error = f"{plugin.error}; {plugin.remedy}"
            found.append(PluginInfo(plugin.name, plugin.distribution, plugin.version, "broken", problems=(error,)))
        found += [PluginInfo(o.plugin, o.distribution, o.version, "skipped") for o in self._skipped]
        found.sort(key=lambda plugin: (plugin.name, plugin.distribution))
        return [listing.of(contribution) for contribution in self._builtins] + found

    def broken(self) -> tuple[BrokenPlugin, ...]:
        """Return the plugins that were left out because they do not work."""
        return self._broken

    def clashes(self) -> tuple[Clash, ...]:
        """Return the names of tasks, heads, readers, backbones and commands that several plugins claim."""
        return tuple(clash for catalogue in self._catalogues() for clash in catalogue.clashes())

    def used(self, task_name: str, head: str, formats: Iterable[str], backbone: str) -> tuple[Used, ...]:
        """Return who brings what a run uses: task, head, metrics, readers, and the backbone where it is a named one.

        Raises as `task` does, for an unknown name of each of them.
        """
        task, _ = self._tasks.find(task_name, hint=self._absence(task_name))
        named = self._heads.get(task_name)
        found = [Used("task", task_name, task)]
        found.append(Used("head", head, task if named is None or head == DEFAULT_HEAD else named.find(head)[0]))
        found += [Used("metric", metric.name, task) for metric in self.task(task_name).metrics]
        found += [Used("metric", metric.name, origin) for origin, metric in self._added_metrics(task_name)]
        found += [Used("reader", name, self._readers.find(name)[0]) for name in sorted(set(formats))]
        if backbone in self._backbones.names():
            found.append(Used("backbone", backbone, self._backbones.find(backbone)[0]))
        return tuple(found)

    # ── asking plugins ──────────────────────────────────────────────────────────────────────────────────

    def read_rows(self, path: Path, format: str, encoding: str | None) -> Iterator[SourceRow]:  # noqa: A002
        """Return the rows of a file by the reader of its format.

        Raises `DataError` where none does, `PluginError` where the reader breaks, now or between two rows.
        """
        if format not in self._readers.names():
            near = did_you_mean(format, self._readers.names())
            raise DataError(
                f"{path}: nothing reads the format '{format}'.{near} {available(self._readers.names())} "
                f"State another with data.format=, or install a plugin that reads '{format}'."
            )
        origin, reader = self._readers.find(format)
        return self._calls.rows(origin, reader, path, encoding)

    def head_factory(self, task_name: str, family: Family, head_name: str = DEFAULT_HEAD) -> HeadFactory:
        """Return what makes the head of this name for a task on a family of backbones.

        Raises `BackboneError` where there is none, `UnknownNameError` for an unknown task, `PluginError` where two
        plugins claim the name.
        """
        task = self.task(task_name)
        catalogue = self._heads.get(task_name)
        if head_name == DEFAULT_HEAD:
            factories = task.heads
        elif catalogue is not None and head_name in catalogue.names():
            factories = catalogue.get(head_name).factories
        else:
            names = (DEFAULT_HEAD, *(catalogue.names() if catalogue is not None else ()))
            near = did_you_mean(head_name, names)
            raise BackboneError(f"task '{task_name}' has no head '{head_name}'.{near} {available(names)}")
        if family not in factories:
            families = ", ".join(sorted(factories)) or "none"
            raise BackboneError(
                f"head '{head_name}' of task '{task_name}' supports no {family}; families that it supports: {families}"
            )
        return factories[family]

    def metrics(self, task_name: str) -> tuple[Metric[Any, Any], ...]:
        """Return the metrics of a task: its own, then those that plugins add."""
        own = self.task(task_name).metrics
        return (*own, *(metric for _, metric in self._added_metrics(task_name)))

    def perturbations(self, task_name: str) -> dict[str, Perturbation[Any]]:
        """Return the perturbations of a task's examples by name; raises `PluginError` where nobody has one's name."""
        self.task(task_name)
        hook = "polyhead_register_perturbations"
        entries = self._calls.items(hook, Perturbation, task=task_name)
        catalogue = Catalogue(f"{task_name} perturbation", entries)
        clashes = [clash for clash in catalogue.clashes() if clash.winner is None]
        if clashes:
            raise PluginError(str(clashes[0]))
        return {name: perturbation for name, (_, perturbation) in catalogue.usable().items()}

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

    def _added_metrics(self, task_name: str) -> Iterator[tuple[Origin, Metric[Any, Any]]]:
        return self._calls.items("polyhead_register_metrics", Metric, task=task_name)

    def _catalogues(self) -> tuple[Catalogue[Any], ...]:
        return (self._tasks, *self._heads.values(), self._readers, self._backbones, self._commands)

    def _absence(self, name: str) -> str:
        """Say why a plugin of this name is not there, where it was found but is broken or left out."""
        reasons = [f" It may come with {plugin}." for plugin in self._broken if plugin.name == name]
        reasons += [f" {origin} is left out by {LIMIT}." for origin in self._skipped if origin.plugin == name]
        return "".join(reasons)


def _observer_origin(name: str) -> Origin:
    return Origin(name, "this process", "")
