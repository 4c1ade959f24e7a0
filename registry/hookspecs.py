"""The hooks: every place where a plugin can add something, one function each.

A plugin is a module named by an entry point of the group ``polyhead``. It implements the hooks it needs with
`polyhead.registry.hookimpl` and may state ``polyhead_api_version``.
"""

from __future__ import annotations

from typing import Any

import pluggy

from polyhead.registry.additions import Command, NamedBackbone, NamedHead, Reader
from polyhead.registry.contracts import Metric, Perturbation, Task
from polyhead.registry.life_cycle import EvaluationEnd, RunEnd, RunStart, StepEnd

PROJECT = "polyhead"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def polyhead_register_tasks() -> list[Task[Any, Any]]:  # type: ignore[empty-body]
    """Return the tasks this plugin adds."""


@hookspec
def polyhead_register_backbones() -> list[NamedBackbone]:  # type: ignore[empty-body]
    """Return backbones that can be used by a short name."""


@hookspec
def polyhead_register_heads() -> list[NamedHead]:  # type: ignore[empty-body]
    """Return further heads for tasks, each under a name that ``head=NAME`` asks for."""


@hookspec
def polyhead_register_readers() -> list[Reader]:  # type: ignore[empty-body]
    """Return the file formats that this plugin reads."""


@hookspec
def polyhead_register_metrics(task: str) -> list[Metric[Any, Any]]:  # type: ignore[empty-body]
    """Return further metrics for a task; their values stand beside the task's own."""


@hookspec
def polyhead_register_perturbations(task: str) -> list[Perturbation[Any]]:  # type: ignore[empty-body]
    """Return changes to a task's examples that ``polyhead evaluate --perturb NAME`` can apply."""


@hookspec
def polyhead_register_commands() -> list[Command]:  # type: ignore[empty-body]
    """Return further ``polyhead`` commands."""


@hookspec
def polyhead_start_run(run: RunStart) -> None:
    """Take notice that a training run begins; called on every rank."""


@hookspec
def polyhead_end_step(step: StepEnd) -> None:
    """Take notice that an optimizer step is done; called on rank 0."""


@hookspec
def polyhead_end_evaluation(evaluation: EvaluationEnd) -> None:
    """Take notice that an evaluation is done; called on rank 0."""


@hookspec
def polyhead_end_run(run: RunEnd) -> None:
    """Take notice that a training run is over, however it ended; called on rank 0."""
