"""Where the rows come from that a task is tried on: a file of the user's, or the task itself."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyhead.backbone.conformance.checks import CheckError
from polyhead.backbone.data.examples import is_missing
from polyhead.backbone.data.readers import format_of
from polyhead.registry import DataError, Registry, Row, Task

MOST_ROWS = 64
"""Rows that the checks look at; of more, so many are drawn, always the same."""
SEED = 7


def read_rows(registry: Registry, path: Path) -> list[Row]:
    """Return the rows of a file.

    Raises:
        DataError: It cannot be read, or one of its rows cannot.

    """
    rows = []
    for source in registry.read_rows(path, format_of(path), None):
        if source.problem is not None:
            raise DataError(f"{path}, line {source.line}: {source.problem}")
        rows.append(source.row)
    return rows


def sample_rows(task: Task[Any, Any], given: Sequence[Row] | None) -> list[Row]:
    """Return the rows that a task is tried on, without missing values, as the engine gives rows to it.

    Raises:
        CheckError: There are none.

    """
    rows = given if given is not None else list(task.samples()) if task.samples is not None else []
    if not rows:
        raise CheckError(
            "there are no rows to try it on",
            "give Task.samples, a function that returns a few dozen rows with answers, or name a file with --data",
        )
    kept = rows
    if len(rows) > MOST_ROWS:  # drawn: labels may come round in the rhythm of even steps
        chosen = random.Random(SEED).sample(range(len(rows)), MOST_ROWS)  # noqa: S311 - a choice, no secret
        kept = [rows[at] for at in sorted(chosen)]
    names = {column.name for column in task.columns}
    return [{key: value for key, value in row.items() if not (key in names and is_missing(value))} for row in kept]
