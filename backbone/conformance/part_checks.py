"""Check what a plugin brings beside tasks: heads and metrics for tasks, perturbations, readers, backbones, commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from polyhead.backbone.conformance.addition_checks import (
    BACKBONE_CHECKS,
    COMMAND_CHECKS,
    PERTURBATION_CHECKS,
    BackboneSubject,
    PerturbationSubject,
)
from polyhead.backbone.conformance.answers import AnsweredTask
from polyhead.backbone.conformance.checks import Check, CheckError, NotApplicable
from polyhead.backbone.conformance.error_checks import ERROR_CHECKS
from polyhead.backbone.conformance.isolation import found_by, quiet, run_check
from polyhead.backbone.conformance.layout_checks import LAYOUT_CHECKS
from polyhead.backbone.conformance.metric_checks import METRIC_CHECKS
from polyhead.backbone.conformance.plugin_subject import PluginSubject
from polyhead.backbone.conformance.reader_checks import READER_CHECKS, ReaderSubject
from polyhead.backbone.conformance.sample_rows import sample_rows
from polyhead.backbone.conformance.subject import TaskSubject
from polyhead.backbone.conformance.tiny_models import models_for
from polyhead.backbone.conformance.training_checks import TRAINING_CHECKS
from polyhead.registry import Family, UnknownNameError
from polyhead.registry.testing import Finding

Entry = TypeVar("Entry")

PART = "part"
"""The name of the finding where a part is not even there to be checked."""
PART_CHECKS: tuple[Check[Any], ...] = (
    *READER_CHECKS,
    *BACKBONE_CHECKS,
    *COMMAND_CHECKS,
    *PERTURBATION_CHECKS,
)
"""The checks of what is no task; heads and metrics are tried by the checks of tasks."""
HEAD_CHECKS: tuple[Check[TaskSubject], ...] = (
    *(check for check in TRAINING_CHECKS if check not in ERROR_CHECKS),
    *LAYOUT_CHECKS,
)


@dataclass(frozen=True)
class Part:
    """Something that a plugin brings, and how it is checked."""

    name: str
    """What findings call it: ``head crf of ner``."""
    checks: Sequence[Check[Any]]
    subject: Callable[[], Any]
    """Makes what the checks look at; raises what a check may raise."""


def part_findings(
    plugin: PluginSubject, folder: Path, wants: Callable[[str], bool], say: Callable[[str], None]
) -> Iterator[Finding]:
    """Check what a plugin brings beside tasks.

    Args:
        plugin: The plugin.
        folder: Where the checks write, each part in a folder of its own.
        wants: Whether a check of this name is to be run.
        say: Told which check runs.

    """
    for part in parts_of(plugin, folder):
        checks = [check for check in part.checks if wants(check.name)]
        made: list[Any] = []
        if not checks:
            continue
        found = found_by(PART, part.name, _maker(part, made), plugin.packages)
        if not made:
            yield found
            continue
        for check in checks:
            say(f"{part.name}: {check.name}")
            yield run_check(check, made[0], part.name, plugin.packages)


def _maker(part: Part, made: list[Any]) -> Callable[[], str]:
    def make() -> str:
        made.append(part.subject())
        return ""

    return make


def parts_of(plugin: PluginSubject, folder: Path) -> Iterator[Part]:
    """Give each thing that a plugin brings beside tasks, with its checks."""
    info = plugin.info
    for at, (task, name) in enumerate(map(_split, info.heads)):
        yield Part(f"head {name} of {task}", HEAD_CHECKS, _head(plugin, task, name, folder / f"head-{at}"))
    for at, task in enumerate(dict.fromkeys(task for task, _ in map(_split, info.metrics))):
        if task not in info.tasks:  # those of its own tasks are checked with them
            yield Part(f"metrics of {task}", METRIC_CHECKS, _metrics(plugin, task, folder / f"metrics-{at}"))
    for task, name in map(_split, info.perturbations):
        yield Part(f"perturbation {name} of {task}", PERTURBATION_CHECKS, _perturbation(plugin, task, name, folder))
    for at, name in enumerate(info.readers):
        yield Part(f"reader {name}", READER_CHECKS, _reader(plugin, name, folder / f"reader-{at}"))
    for name in info.backbones:
        yield Part(f"backbone {name}", BACKBONE_CHECKS, _backbone(plugin, name))
    for name in info.commands:
        yield Part(f"command {name}", COMMAND_CHECKS, partial(plugin.registry.command, name))


def _split(name: str) -> tuple[str, str]:
    """Take ``ner:crf`` apart."""
    task, _, own = name.partition(":")
    return task, own


def _own(known: Mapping[str, Entry], name: str) -> Entry:
    """Return the entry of a name that nobody else claims, or that was chosen."""
    if name not in known:
        raise CheckError(f"another plugin calls something '{name}' too", "give it a name of its own")
    return known[name]


def _head(plugin: PluginSubject, task: str, name: str, folder: Path) -> Callable[[], TaskSubject]:
    def make() -> TaskSubject:
        try:
            families = _own(plugin.registry.heads(task), name).factories
        except UnknownNameError as error:
            raise CheckError(
                str(error), "correct NamedHead.task, or install the plugin that brings the task"
            ) from error
        if not families:
            raise CheckError("it has no factory for any family", "give NamedHead.factories one for each family")
        return _task_subject(plugin, task, folder, families, head=name)

    return make


def _metrics(plugin: PluginSubject, task: str, folder: Path) -> Callable[[], AnsweredTask]:
    def make() -> AnsweredTask:
        family = next(iter(plugin.registry.task(task).heads))
        return AnsweredTask(_task_subject(plugin, task, folder, {family: None}))

    return make


def _perturbation(plugin: PluginSubject, task: str, name: str, folder: Path) -> Callable[[], PerturbationSubject]:
    def make() -> PerturbationSubject:
        found = plugin.registry.perturbations(task)[name]
        return PerturbationSubject(found, _bare_subject(plugin, task, folder).examples)

    return make


def _reader(plugin: PluginSubject, name: str, folder: Path) -> Callable[[], ReaderSubject]:
    def make() -> ReaderSubject:
        folder.mkdir()
        return ReaderSubject(_own(plugin.registry.readers(), name), plugin.info.origin.key, folder)

    return make


def _backbone(plugin: PluginSubject, name: str) -> Callable[[], BackboneSubject]:
    return lambda: BackboneSubject(plugin.registry.backbone(name))


def _bare_subject(plugin: PluginSubject, task: str, folder: Path) -> TaskSubject:
    """Return a task with its samples, and no model."""
    known = plugin.registry.task(task)
    return TaskSubject(plugin.registry, known, plugin.info.origin.key, sample_rows(known, plugin.given), {}, folder)


def _task_subject(
    plugin: PluginSubject, task: str, folder: Path, families: Mapping[Family, object], head: str = "default"
) -> TaskSubject:
    """Return a task with its samples, and a tiny model for each family."""
    bare = _bare_subject(plugin, task, folder)
    folder.mkdir()
    with quiet():
        models = models_for(plugin, families, bare.rows, folder)
    if not models:
        raise NotApplicable(f"{plugin.model} is of none of its families: {', '.join(families)}")
    return TaskSubject(plugin.registry, bare.task, bare.plugin, bare.rows, models, folder, head)
