"""Check a plugin: find it, run every check on what it brings, and report what came of each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from polyhead.backbone.builtin import load_registry
from polyhead.backbone.conformance.alignment_checks import ALIGNMENT_CHECKS
from polyhead.backbone.conformance.answers import AnsweredTask
from polyhead.backbone.conformance.checks import Check
from polyhead.backbone.conformance.data_checks import DATA_CHECKS
from polyhead.backbone.conformance.feature_checks import FEATURE_CHECKS
from polyhead.backbone.conformance.identity_checks import IDENTITY_CHECKS, PLUGIN_CHECKS
from polyhead.backbone.conformance.isolation import found_by, quiet, run_check
from polyhead.backbone.conformance.layout_checks import LAYOUT_CHECKS
from polyhead.backbone.conformance.long_text_checks import LONG_TEXT_CHECKS
from polyhead.backbone.conformance.metric_checks import METRIC_CHECKS
from polyhead.backbone.conformance.part_checks import PART_CHECKS, part_findings
from polyhead.backbone.conformance.plugin_subject import PluginSubject, entry_point_of, plugin_subject
from polyhead.backbone.conformance.sample_rows import read_rows, sample_rows
from polyhead.backbone.conformance.subject import TaskSubject
from polyhead.backbone.conformance.tiny_models import models_for
from polyhead.backbone.conformance.training_checks import TRAINING_CHECKS
from polyhead.registry import Family, PluginError, PluginInfo, Registry, Row, Task, unknown_name
from polyhead.registry.discovery import LIMIT, OURS
from polyhead.registry.testing import Finding, Report, Request

Say = Callable[[str], None]

LOADING, SAMPLES, HEADS = "loading", "samples", "heads"
_SUMMARIES = {
    LOADING: "the plugin is imported and registered",
    SAMPLES: "there are rows with answers to try a task on",
}
_FURTHER = {"metric-right-and-wrong": ("label-alignment",)}
"""What a check builds on beyond what all of its kind do."""
_FIRST_EXAMPLES, _FIRST_FEATURES = ("examples", "setup", HEADS), ("features", "labels")


@dataclass(frozen=True)
class _Plan:
    """What of a plugin is checked, and by which checks."""

    request: Request
    registry: Registry
    subject: PluginSubject
    tasks: tuple[str, ...]
    parts: bool
    """Whether what it brings beside tasks is checked too."""
    say: Say
    folder: Path

    def wants(self, check: str) -> bool:
        """Whether a check is to be run."""
        return (not self.request.only or check in self.request.only) and check not in self.request.skip

    def run(self, checks: Sequence[Check[Any]], subject: Any, name: str) -> list[Finding]:
        """Run those of the checks that are wanted."""
        found = []
        for check in checks:
            if self.wants(check.name):
                self.say(f"{name}: {check.name}")
                found.append(run_check(check, subject, name, self.subject.packages))
        return found


def check(request: Request, say: Say | None = None) -> Report:
    """Run the checks of a plugin or task; ``say`` is told which one runs.

    A plugin that cannot be loaded, or that fails, is no error: the report says so.

    Raises:
        UnknownNameError: There is no such plugin, task or check.
        PluginError: Several plugins have the name, or it is left out by ``POLYHEAD_LOAD_PLUGINS``.
        DataError: The file of rows cannot be read.

    """
    for name in (*request.only, *request.skip):
        if name not in check_summaries():
            raise unknown_name("check", name, check_summaries())
    with quiet():
        registry = load_registry()
    info, tasks = _find(registry, request.name)
    given = None if request.data is None else read_rows(registry, request.data)
    if info.status == "broken":
        return Report(info.name, info.distribution, info.version, (_not_loaded(registry, info),))
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="polyhead-check-") as folder:
        subject = plugin_subject(registry, info, given, request.backbone)
        _choose(registry, subject)
        told = say or (lambda _: None)
        plan = _Plan(request, registry, subject, tasks or info.tasks, not tasks, told, Path(folder))
        findings += _findings(plan)
    return Report(info.name, info.distribution, info.version, tuple(findings))


def check_summaries() -> dict[str, str]:
    """Return what each check looks for, by its name."""
    groups: tuple[Sequence[Check[Any]], ...] = (
        PLUGIN_CHECKS,
        IDENTITY_CHECKS,
        DATA_CHECKS,
        FEATURE_CHECKS,
        LONG_TEXT_CHECKS,
        ALIGNMENT_CHECKS,
        METRIC_CHECKS,
        TRAINING_CHECKS,
        LAYOUT_CHECKS,
        PART_CHECKS,
    )
    return {**_SUMMARIES, **{check.name: check.summary for group in groups for check in group}}


# ── which plugin ────────────────────────────────────────────────────────────────────────────────────────


def _find(registry: Registry, name: str) -> tuple[PluginInfo, tuple[str, ...]]:
    """Return the plugin of a name, and the task that was asked for; no task: all that it brings."""
    plugins = [plugin for plugin in registry.plugins() if plugin.distribution != OURS or plugin.tasks]
    found = [plugin for plugin in plugins if name in (plugin.name, plugin.origin.key)]
    tasks: tuple[str, ...] = ()
    if not found:
        distribution, _, task = name.rpartition(":")
        tasks = (task,)
        found = [p for p in plugins if task in p.tasks and (not distribution or distribution == p.distribution)]
    if not found:
        raise unknown_name("plugin or task", name, {*(plugin.name for plugin in plugins), *registry.tasks()})
    if len(found) > 1:
        choices = " or ".join(plugin.origin.key for plugin in found)
        raise PluginError(f"several distributions bring '{name}'; say which: {choices}")
    if found[0].status == "skipped":
        raise PluginError(f"plugin '{found[0].name}' of {found[0].distribution} is left out by {LIMIT}")
    return found[0], tasks


def _not_loaded(registry: Registry, info: PluginInfo) -> Finding:
    """Return what keeps a plugin from being loaded, with a word to its author, and one to its users."""
    broken = next(b for b in registry.broken() if (b.name, b.distribution) == (info.name, info.distribution))
    remedy = f"mend it in {entry_point_of(info).value} and install that again; until then its users: {broken.remedy}"
    return Finding(LOADING, f"plugin {info.name}", "failed", broken.error, remedy)


def _choose(registry: Registry, subject: PluginSubject) -> None:
    """Take this plugin's part wherever it shares a name with another's."""
    registry.choose(*(f"{subject.info.distribution}:{clash.name}" for clash in subject.clashes))


# ── what is run ─────────────────────────────────────────────────────────────────────────────────────────


def _findings(plan: _Plan) -> Iterator[Finding]:
    info = plan.subject.info
    if plan.wants(LOADING):
        yield Finding(LOADING, plan.subject.name, "passed", info.origin.source)
    yield from plan.run(PLUGIN_CHECKS, plan.subject, plan.subject.name)
    for name in plan.tasks:
        yield from _task_findings(plan, plan.registry.task(name))
    if plan.parts:
        yield from part_findings(plan.subject, plan.folder, plan.wants, plan.say)


def _task_findings(plan: _Plan, task: Task[Any, Any]) -> Iterator[Finding]:
    name = f"task {task.name}"
    rows: list[Row] = []
    sampled = found_by(SAMPLES, name, lambda: _gather(rows, plan, task), plan.subject.packages)
    if plan.wants(SAMPLES) or sampled.status == "failed":
        yield sampled
    if sampled.status == "failed":
        return
    folder = plan.folder / task.name
    folder.mkdir()
    backbones = _backbones(plan, task, rows, folder)
    if not backbones:
        yield _without_backbone(plan, task, name)
        return
    subject = TaskSubject(plan.registry, task, plan.subject.info.origin.key, rows, backbones, folder)
    yield from _run_in_order(plan, subject, name)


def _gather(rows: list[Row], plan: _Plan, task: Task[Any, Any]) -> str:
    rows.extend(sample_rows(task, plan.subject.given))
    return f"{len(rows)} rows"


def _backbones(plan: _Plan, task: Task[Any, Any], rows: Sequence[Row], folder: Path) -> Mapping[Family, Path]:
    """Return a model for each family that the task has a head for: tiny ones, or the one that was asked for."""
    families = [family for family in task.heads if family in get_args(Family)]
    with quiet():
        return models_for(plan.subject, families, rows, folder)


def _without_backbone(plan: _Plan, task: Task[Any, Any], name: str) -> Finding:
    heads, families = ", ".join(task.heads) or "none", ", ".join(get_args(Family))
    if plan.request.backbone is not None:
        return Finding(HEADS, name, "not applicable", f"{plan.request.backbone} is of none of its families: {heads}")
    return Finding(
        HEADS, name, "failed", f"Task.heads is for these families: {heads}", f"give a head for one of {families}"
    )


def _run_in_order(plan: _Plan, subject: TaskSubject, name: str) -> Iterator[Finding]:
    """Run the checks of a task; what builds on something that failed is not run."""
    answered = AnsweredTask(subject)
    steps: tuple[tuple[Sequence[Check[Any]], Any, Sequence[str]], ...] = (
        (DATA_CHECKS, subject, ()),
        (IDENTITY_CHECKS, subject, ("examples", "setup")),
        ((*FEATURE_CHECKS, *LONG_TEXT_CHECKS), subject, _FIRST_EXAMPLES),
        (ALIGNMENT_CHECKS, answered, (*_FIRST_EXAMPLES, *_FIRST_FEATURES)),
        (METRIC_CHECKS, answered, (*_FIRST_EXAMPLES, *_FIRST_FEATURES)),
        (TRAINING_CHECKS, subject, (*_FIRST_EXAMPLES, *_FIRST_FEATURES)),
        (LAYOUT_CHECKS, subject, (*_FIRST_EXAMPLES, *_FIRST_FEATURES)),
    )
    failed: set[str] = set()
    for checks, what, needed in steps:
        for one in checks:
            missing = [need for need in (*needed, *_FURTHER.get(one.name, ())) if need in failed]
            if missing and plan.wants(one.name):
                yield Finding(one.name, name, "not applicable", f"not run: first mend {', '.join(missing)}")
                continue
            for finding in plan.run([one], what, name):
                if finding.status == "failed":
                    failed.add(finding.check)
                yield finding
