"""Predict from a file, from standard input or from texts, and write one JSON object a line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from polyhead.backbone.data.examples import SkippedRow, iterate_examples
from polyhead.backbone.inference.session import Session, open_session
from polyhead.backbone.parallel.processes import World, join_world, leave_world
from polyhead.configs.schema import RunConfig
from polyhead.registry import DataError, Example, Registry, Row, RowError

STANDARD = "-"


@dataclass(frozen=True)
class Request:
    """What is to be predicted."""

    model: str
    config: RunConfig
    texts: tuple[str, ...] = ()
    source: str | None = None
    """A file, or ``-`` for standard input: JSON objects or plain texts, one a line."""
    target: str = STANDARD
    """A file, or ``-`` for standard output."""


@dataclass(frozen=True)
class Outcome:
    """How a prediction went."""

    predictions: int
    skipped: tuple[SkippedRow, ...]


def predict(request: Request, registry: Registry) -> Outcome:
    """Write a prediction for every row, in order; rank 0 writes.

    Raises:
        PolyheadError: Model or input is wrong; then no output file is left.

    """
    world = join_world(use_deepspeed=False)
    try:
        session = open_session(request.model, request.config, registry, world)
        skipped: list[SkippedRow] = []
        examples = _examples(request, session, world, skipped)
        count = 0
        with _writer(request.target, world) as out:
            for prediction in session.predict(examples):
                count += 1
                if out is not None:
                    out.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")
        return Outcome(count, tuple(skipped))
    finally:
        leave_world()


def _examples(request: Request, session: Session, world: World, skipped: list[SkippedRow]) -> Iterator[Example]:
    if request.source is None:
        return _from_rows([{"text": text} for text in request.texts], "text", session)
    if request.source == STANDARD:
        lines = world.broadcast(sys.stdin.read().splitlines() if world.is_main else [])
        return _from_rows(
            [_row(line, number) for number, line in enumerate(lines, 1) if line.strip()], "stdin", session
        )
    return _from_file(request.config, Path(request.source), session, skipped)


def _row(line: str, number: int) -> Row:
    """Read a line of standard input: a JSON object, or the text itself."""
    if not line.lstrip().startswith("{"):
        return {"text": line}
    try:
        row: Row = json.loads(line)
    except ValueError as error:
        raise DataError(f"standard input, line {number}: broken JSON: {error}") from None
    return row


def _from_rows(rows: Sequence[Row], source: str, session: Session) -> Iterator[Example]:
    for number, row in enumerate(rows, 1):
        try:
            yield session.task.to_example(row, str(row.get("id", f"{source}:{number}")), session.setup.options)
        except RowError as error:
            raise DataError(f"{source}, line {number}: {error}") from None


def _from_file(config: RunConfig, path: Path, session: Session, skipped: list[SkippedRow]) -> Iterator[Example]:
    for item in iterate_examples(
        session.registry,
        session.task,
        [path],
        labels_required=False,
        columns=config.data.columns,
        options=session.setup.options,
        format=config.data.format,
        encoding=config.data.encoding,
        on_error=config.data.on_error,
    ):
        if isinstance(item, SkippedRow):
            skipped.append(item)
        else:
            yield item


@contextmanager
def _writer(target: str, world: World) -> Iterator[TextIO | None]:
    """Open the target on rank 0; a file gets its name only when it is complete."""
    if not world.is_main:
        yield None
        return
    if target == STANDARD:
        yield sys.stdout
        return
    path = Path(target)
    if not path.parent.is_dir():
        raise DataError(f"--output {path}: the folder {path.parent} does not exist")
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
