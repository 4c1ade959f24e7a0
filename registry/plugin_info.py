"""What a listing says of the plugins, and a run of those that it used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from polyhead.registry.contracts import Task
from polyhead.registry.discovery import Origin


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
    heads: tuple[str, ...] = ()
    """As ``ner:crf``: the task's name and the head's."""
    metrics: tuple[str, ...] = ()
    """Those that it adds to tasks, as ``ner:boundaries``; a task's own belong to the task."""
    perturbations: tuple[str, ...] = ()
    """As ``ner:lowercase``."""
    readers: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    api_version: int | None = None
    """The version of the plugin API that it says it was written for; None: it does not say."""
    seconds: float = 0.0
    """How long it took to import it and to ask what it registers."""
    problems: tuple[str, ...] = ()
    """What is broken and what to do; of a working plugin which of its names clash, and which hooks fail."""

    @property
    def origin(self) -> Origin:
        """Return where it comes from."""
        return Origin(self.name, self.distribution, self.version)

    def adds(self) -> dict[str, tuple[str, ...]]:
        """Return what it adds by kind, without the kinds that it adds nothing of."""
        kinds = ("tasks", "heads", "metrics", "perturbations", "readers", "backbones", "commands")
        return {kind: getattr(self, kind) for kind in kinds if getattr(self, kind)}


@dataclass(frozen=True)
class Used:
    """Something that a run used, and the plugin that brought it."""

    kind: Literal["task", "head", "metric", "reader", "backbone"]
    name: str
    origin: Origin

    def to_json(self) -> dict[str, str]:
        """Return it as it stands in a run folder."""
        return {
            "kind": self.kind,
            "name": self.name,
            "plugin": self.origin.plugin,
            "distribution": self.origin.distribution,
            "version": self.origin.version or "",
        }
