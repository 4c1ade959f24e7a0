"""What is wrong with the installed plugins, and what a user can do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from polyhead.registry.discovery import LIMIT, OURS
from polyhead.registry.manager import Registry

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
    return [*_broken(registry), *_clashing(registry), *_failing(registry), *_slow(registry), *_left_out(registry)]


def _broken(registry: Registry) -> Iterator[Problem]:
    for plugin in registry.broken():
        yield Problem(str(plugin.origin), "wrong", plugin.error, plugin.remedy)


def _clashing(registry: Registry) -> Iterator[Problem]:
    for clash in registry.clashes():
        who = " and ".join(str(origin) for origin in clash.origins)
        state: Literal["wrong", "note"] = "wrong" if clash.winner is None else "note"
        yield Problem(who, state, f"several plugins bring the {clash.kind} '{clash.name}'", clash.remedy)


def _failing(registry: Registry) -> Iterator[Problem]:
    clashes = {str(clash) for clash in registry.clashes()}
    for plugin in registry.plugins():
        for problem in plugin.problems:
            if plugin.status == "ok" and problem not in clashes:
                yield Problem(
                    str(plugin.origin), "wrong", problem, f"upgrade {plugin.distribution}, or leave it out by {LIMIT}"
                )


def _slow(registry: Registry) -> Iterator[Problem]:
    for plugin in registry.plugins():
        if plugin.seconds > SLOW_SECONDS and plugin.distribution != OURS:
            problem = f"takes {plugin.seconds:.1f} s to load, and delays every command so long"
            remedy = f"tell its author to import what is heavy inside functions, or leave it out by {LIMIT}"
            yield Problem(str(plugin.origin), "note", problem, remedy)


def _left_out(registry: Registry) -> Iterator[Problem]:
    for plugin in registry.plugins():
        if plugin.status == "skipped":
            yield Problem(str(plugin.origin), "note", f"is left out by {LIMIT}", f"name it there, or unset {LIMIT}")
