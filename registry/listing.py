"""Describe a plugin that works: what it adds, also to the tasks of others, and what is wrong with it nevertheless."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polyhead.registry.catalogue import Clash
from polyhead.registry.contracts import Metric, Perturbation
from polyhead.registry.contributions import Contribution
from polyhead.registry.discovery import Origin
from polyhead.registry.errors import PolyheadError
from polyhead.registry.hookcalls import HookCalls
from polyhead.registry.plugin_info import PluginInfo


class Listing:
    """What all descriptions are made with: the hooks, the names of the tasks, and the names that clash."""

    def __init__(self, calls: HookCalls, tasks: Sequence[str], clashes: Sequence[Clash]) -> None:
        self._calls, self._tasks, self._clashes = calls, tasks, clashes

    def of(self, contribution: Contribution) -> PluginInfo:
        """Return the description of one plugin."""
        origin = contribution.origin
        problems = [str(clash) for clash in self._clashes if origin in clash.origins]
        try:
            metrics = self._added(origin, "polyhead_register_metrics", Metric)
            perturbations = self._added(origin, "polyhead_register_perturbations", Perturbation)
        except PolyheadError as error:
            metrics = perturbations = ()
            problems.append(str(error))
        return PluginInfo(
            origin.plugin,
            origin.distribution,
            origin.version,
            "ok",
            tasks=tuple(task.name for task in contribution.tasks),
            heads=tuple(f"{head.task}:{head.name}" for head in contribution.heads),
            metrics=metrics,
            perturbations=perturbations,
            readers=tuple(reader.name for reader in contribution.readers),
            backbones=tuple(backbone.name for backbone in contribution.backbones),
            commands=tuple(command.name for command in contribution.commands),
            hooks=contribution.hooks,
            api_version=contribution.api_version,
            seconds=contribution.seconds,
            problems=tuple(problems),
        )

    def _added(self, origin: Origin, hook: str, item_type: type[Any]) -> tuple[str, ...]:
        """Return the names of what one plugin adds to the tasks by a hook that takes a task."""
        return tuple(
            f"{task}:{item.name}"
            for task in self._tasks
            for item in self._calls.items_of(origin, hook, item_type, task=task)
        )
