"""A task as one of its heads wants it: what a head trains by and gives goes before what the task says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from polyhead.registry import HeadSpec, Task


def headed(task: Task[Any, Any], spec: HeadSpec) -> Task[Any, Any]:
    """Return the task with the head's own loss and reduction, where it has them.

    Whatever runs a model asks this once, when the head is known, and the task from then on.
    """
    return replace(
        task,
        loss=spec.loss or task.loss,
        loss_by_token=task.loss_by_token and spec.loss is None,
        reduction=spec.reduction or task.reduction,
    )
