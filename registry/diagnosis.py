"""What is wrong with the installed plugins, and what a user can do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from polyhead.registry.catalogue import Clash
from polyhead.registry.discovery import LIMIT, OURS
from polyhead.registry.manager import Registry
from polyhead.registry.plugin_info import PluginInfo

SLOW_SECONDS = 0.3
"""A plugin whose loading takes longer delays every command."""


class Problem(NamedTuple):
    """One thing that is wrong, or worth knowing."""

    plugin: str
    """As ``plugin 'ner' of acme-nlp 2.1``, or several of them."""
    state: Literal["wrong", "note"]
    problem: str
    remedy: str


def diagnose(registry: Registry) -> list[Problem]:
    """Return what is wrong: broken plugins, names that several claim, hooks that fail, slow imports."""
    plugins, clashes = registry.plugins(), registry.clashes()
    return [*_broken(registry), *_clashing(clashes), *_failing(plugins, clashes), *_slow(plugins), *_left_out(plugins)]


def _broken(registry: Registry) -> Iterator[Problem]:
    for plugin in registry.broken():
        yield Problem(str(plugin.origin), "wrong", plugin.error, plugin.remedy)


def _clashing(clashes: Sequence[Clash]) -> Iterator[Problem]:
    for clash in clashes:
        who = " and ".join(str(origin) for origin in clash.origins)
        state: Literal["wrong", "note"] = "wrong" if clash.winner is None else "note"
        yield Problem(who, state, f"several plugins bring the {clash.kind} '{clash.name}'", clash.remedy)


def _failing(plugins: Sequence[PluginInfo], clashes: Sequence[Clash]) -> Iterator[Problem]:
    told = {str(clash) for clash in clashes}
    for plugin in plugins:
        for problem in plugin.problems:
            if plugin.status == "ok" and problem not in told:
                yield Problem(
                    str(plugin.origin), "wrong", problem, f"upgrade {plugin.distribution}, or leave it out by {LIMIT}"
                )


def _slow(plugins: Sequence[PluginInfo]) -> Iterator[Problem]:
    for plugin in plugins:
        if plugin.seconds > SLOW_SECONDS and plugin.distribution != OURS:
            problem = f"takes {plugin.seconds:.1f} s to load, and delays every command so long"
            remedy = f"tell its author to import what is heavy inside functions, or leave it out by {LIMIT}"
            yield Problem(str(plugin.origin), "note", problem, remedy)


def _left_out(plugins: Sequence[PluginInfo]) -> Iterator[Problem]:
    for plugin in plugins:
        if plugin.status == "skipped":
            yield Problem(str(plugin.origin), "note", f"is left out by {LIMIT}", f"name it there, or unset {LIMIT}")
