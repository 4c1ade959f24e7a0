"""From rows to examples to a setup: the task reads what files hold, and refuses the rest in words of ours."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from polyhead.backbone.checkpoint.model_folder import TaskRecord, record_of
from polyhead.backbone.conformance.checks import Check, CheckError
from polyhead.backbone.conformance.identity_checks import is_frozen_record
from polyhead.backbone.conformance.subject import TaskSubject
from polyhead.backbone.options import build_options
from polyhead.registry import Column, DataError, PolyheadError, Row, RowError, TaskSetup
from polyhead.registry.discovery import describe

ODD_VALUES: tuple[Any, ...] = (None, "", " ", True, -1, 10**12, 2.5, math.nan, [], [None], [[]], {}, {"a": None})
"""What a column may hold in somebody's file instead of what belongs there."""
REFUSE = 'raise RowError("expected ..., found ...", column="...") for it: the engine adds file and line'


# ── examples ────────────────────────────────────────────────────────────────────────────────────────────


def check_examples(subject: TaskSubject) -> str:
    """Read every row twice."""
    task = subject.task
    for row, example in zip(subject.rows, subject.examples, strict=True):
        if not isinstance(example, task.example_type):
            raise CheckError(
                f"to_example gives a {type(example).__name__}, and Task.example_type is {task.example_type.__name__}",
                "let both be the same class",
            )
        if not is_frozen_record(task.example_type):
            raise CheckError(
                f"{task.example_type.__name__} is no frozen dataclass", "write @dataclass(frozen=True) above it"
            )
        again = task.to_example(row, example.id, subject.options)
        if repr(again) != repr(example):
            raise CheckError(
                f"the same row gives another example the second time: {example!r:.200} and {again!r:.200}",
                "let to_example depend on its arguments alone: no counters, no chance, no order of a set",
            )
        other = task.to_example(row, "another-id", subject.options).id
        if other != "another-id":
            raise CheckError(
                f"to_example was given the id 'another-id' and gives '{other}'",
                "keep the id that you are given: predictions are gathered by it",
            )
    return f"{len(subject.examples)} rows"


def check_required_columns(subject: TaskSubject) -> str:
    """Leave out each column that must be there."""
    tried = []
    for column in subject.task.columns:
        rows = [row for row in subject.rows if column.name in row]
        if column.required != "always" or not rows:
            continue
        without = {name: value for name, value in rows[0].items() if name != column.name}
        problem = _problem(subject, without)
        if problem is None:
            raise CheckError(
                f"a row without the column '{column.name}' gives an example, and the column is required",
                f"raise RowError for it, or say required='never' of '{column.name}'",
            )
        if not isinstance(problem, RowError):
            raise CheckError(f"a row without the column '{column.name}' ends in {describe(problem)}", REFUSE)
        tried.append(column.name)
    missing = _required_and_absent(subject)
    if missing:
        raise CheckError(
            f"no row of the samples has the column '{missing[0].name}', which is required", "give rows that have it"
        )
    return ", ".join(tried) or "no column is required"


def _required_and_absent(subject: TaskSubject) -> list[Column]:
    needed = [column for column in subject.task.columns if column.required != "never"]
    return [column for column in needed if not any(column.name in row for row in subject.rows)]


def check_odd_values(subject: TaskSubject) -> str:
    """Put into each column what does not belong there."""
    refused = taken = 0
    for number, row in enumerate(_odd_rows(subject)):
        problem = _problem(subject, row)
        if problem is not None and not isinstance(problem, DataError):
            shown = {name: value for name, value in row.items() if number == 0 or not isinstance(value, str)}
            raise CheckError(f"the row {shown!s:.200} ends in {describe(problem)}", REFUSE)
        refused, taken = refused + (problem is not None), taken + (problem is None)
    return f"{refused} refused, {taken} taken"


def _odd_rows(subject: TaskSubject) -> Iterator[Row]:
    """Yield rows in each of which one column, or all of them, hold something odd."""
    first = subject.rows[0]
    names = [column.name for column in subject.task.columns if column.name != "id"]
    for odd in ODD_VALUES:
        yield dict.fromkeys(names, odd)
        for name in names:
            yield {**first, name: odd}
            if name not in first:
                others = {key: value for key, value in first.items() if key not in names}
                yield {**others, name: odd}


def _problem(subject: TaskSubject, row: Row) -> BaseException | None:
    """Return what reading a row ends in; None where it gives an example."""
    try:
        subject.task.to_example(row, "row", subject.options)
    except Exception as error:  # noqa: BLE001 - it is looked at
        return error
    return None


def check_rows_without_answers(subject: TaskSubject) -> str:
    """Read rows as they are predicted: without the columns that only training needs."""
    only = {column.name for column in subject.task.columns if column.required == "training"}
    for row in subject.rows:
        bare = {name: value for name, value in row.items() if name not in only}
        problem = _problem(subject, bare)
        if problem is not None:
            raise CheckError(
                f"a row without {', '.join(sorted(only))} ends in {describe(problem)}",
                "let to_example take rows without what only training needs: predictions are made for such rows",
            )
    return f"without {', '.join(sorted(only))}" if only else "no column is for training alone"


def unanswered(subject: TaskSubject, row: Row) -> Row:
    """Return a row as it is predicted."""
    only = {column.name for column in subject.task.columns if column.required == "training"}
    return {name: value for name, value in row.items() if name not in only}


# ── the setup ───────────────────────────────────────────────────────────────────────────────────────────


def check_setup(subject: TaskSubject) -> str:
    """Learn the setup twice, write it beside a model, and read it again."""
    task, setup = subject.task, subject.setup
    if not isinstance(setup, TaskSetup):
        raise CheckError(f"prepare gives a {type(setup).__name__}", "let it return a TaskSetup")
    again = task.prepare(subject.examples, subject.options)
    if repr(again) != repr(setup):
        raise CheckError(
            f"prepare gives another setup the second time: {setup!r:.200} and {again!r:.200}",
            "let it depend on its arguments alone; sort what comes out of a set",
        )
    try:
        written = json.dumps(dataclasses.asdict(record_of(task.name, "default", setup, max_length=1, stride=0)))
    except (TypeError, ValueError) as error:
        raise CheckError(
            f"the setup cannot be written as JSON: {error}",
            "keep in TaskSetup.facts, and in the options, text, numbers, lists and mappings alone (float(x) of a numpy "
            "number)",
        ) from error
    record = TaskRecord.from_json(json.loads(written))
    back = TaskSetup(build_options(task, record.options), record.labels, record.facts)
    _check_same_use(subject, setup, back)
    return f"{len(setup.labels)} labels, facts: {', '.join(sorted(setup.facts)) or 'none'}"


def _check_same_use(subject: TaskSubject, setup: TaskSetup, back: TaskSetup) -> None:
    """Refuse a setup that says something else once it was saved and loaded."""
    task = subject.task
    uses: Mapping[str, Callable[[TaskSetup], object]] = {
        "options": lambda used: used.options,
        "labels": lambda used: used.labels,
        "headline": task.headline,
        "label_fields": task.label_fields,
        **{f"heads[{family!r}]": _head_facts(factory) for family, factory in task.heads.items()},
    }
    for name, use in uses.items():
        before, after = use(setup), use(back)
        if before != after:
            raise CheckError(
                f"{name} is {before!r:.200} before the setup is saved, and {after!r:.200} after it is loaded",
                "JSON knows no tuples, no sets, and no keys but text: write facts so that they come back as they were",
            )


def _head_facts(factory: Callable[[TaskSetup], Any]) -> Callable[[TaskSetup], object]:
    def facts(setup: TaskSetup) -> object:
        spec = factory(setup)
        return spec.size, spec.labels, spec.auto_class, spec.outputs, dict(spec.config), spec.causal

    return facts


def check_check_example(subject: TaskSubject) -> str:
    """Let the task judge its own examples, and examples of a model that knows no label."""
    task = subject.task
    for example in subject.examples:
        task.check_example(example, subject.setup)
    refused = 0
    try:
        foreign = task.setup_from_labels(("some-label", "another-label"), subject.options)
    except PolyheadError as error:
        return f"its own examples fit; labels of others it refuses: {error}"
    for example in subject.examples:
        try:
            task.check_example(example, foreign)
        except RowError:
            refused += 1
        except PolyheadError as error:
            raise CheckError(
                f"check_example raises {describe(error)}", "raise RowError: the engine may then leave the row out"
            ) from error
    return f"its own examples fit; {refused} of {len(subject.examples)} fit no model with other labels"


DATA_CHECKS: tuple[Check[TaskSubject], ...] = (
    Check("examples", "the same row gives the same frozen example, with the id that it was given", check_examples),
    Check("required-columns", "a row without a required column is refused by RowError", check_required_columns),
    Check("odd-values", "whatever stands in a column: an example, or RowError", check_odd_values),
    Check("rows-without-answers", "rows to be predicted need no answers", check_rows_without_answers),
    Check("setup", "the same examples teach the same setup, which outlives being saved", check_setup),
    Check("check-example", "the task takes its own examples, and refuses others by RowError", check_check_example),
)
