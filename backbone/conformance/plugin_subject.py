"""What plugin checks look at: a plugin that was loaded, what it brings, and where its code lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from polyhead.registry import Clash, PluginInfo, Registry, Row
from polyhead.registry.discovery import GROUP, origin_of


@dataclass(frozen=True)
class PluginSubject:
    """A working plugin under examination."""

    registry: Registry
    info: PluginInfo
    module: str
    """The module that its entry point names."""
    clashes: tuple[Clash, ...]
    """The names of its parts that another plugin claims too."""
    given: Sequence[Row] | None = None
    """The rows that the user wants it tried on; None: the samples of each task."""
    model: str | None = None
    """The model that the user wants it tried on; None: tiny ones of random weights."""

    @property
    def name(self) -> str:
        """Return what findings call it."""
        return f"plugin {self.info.name}"

    @property
    def packages(self) -> tuple[str, ...]:
        """Return the packages whose code is the plugin's own."""
        return (self.module.rpartition(".")[0] or self.module,)


def plugin_subject(
    registry: Registry, info: PluginInfo, given: Sequence[Row] | None = None, model: str | None = None
) -> PluginSubject:
    """Return a plugin that was loaded."""
    clashes = tuple(clash for clash in registry.clashes() if info.origin in clash.origins)
    return PluginSubject(registry, info, entry_point_of(info).module, clashes, given, model)


def entry_point_of(info: PluginInfo) -> metadata.EntryPoint:
    """Return the entry point by which a plugin was found."""
    for entry_point in metadata.entry_points(group=GROUP, name=info.name):
        if origin_of(entry_point).distribution == info.distribution:
            return entry_point
    raise LookupError(f"no entry point of {info.distribution} is called '{info.name}'")
