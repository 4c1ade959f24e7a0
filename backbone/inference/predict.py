"""Predict from a file, from standard input or from texts, and write one JSON object a line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from rich.console import Console

from polyhead.backbone.data.examples import RowSource, SkippedRow, iterate_examples
from polyhead.backbone.inference.session import Session, open_session
from polyhead.backbone.parallel.processes import World, join_world, leave_world
from polyhead.configs.schema import RunConfig
from polyhead.registry import DataError, Example, Registry, SourceRow

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


def predict(request: Request, registry: Registry, console: Console | None = None) -> Outcome:
    """Write a prediction for every row, in order; rank 0 writes.

    Raises:
        PolyheadError: Model or input is wrong; then no output file is left.

    """
    _check_target(request.target)
    world = join_world(use_deepspeed=False)
    try:
        session = open_session(request.model, request.config, registry, world, console if world.is_main else None)
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
    data = request.config.data
    source, path, file_format = _source(request, session.registry, world)
    for item in iterate_examples(
        source,
        session.task,
        [path],
        labels_required=False,
        columns=data.columns,
        options=session.setup.options,
        format=file_format,
        encoding=data.encoding,
        on_error=data.on_error,
    ):
        if isinstance(item, SkippedRow):
            skipped.append(item)
        else:
            yield item


def _source(request: Request, registry: Registry, world: World) -> tuple[RowSource, Path, str | None]:
    """Return where the rows come from, how messages and ids call it, and its format."""
    data = request.config.data
    if request.source not in (None, STANDARD):
        return registry, Path(str(request.source)), data.format
    text_column = data.columns.get("text", "text")
    if request.source is None:
        rows = [SourceRow(number, {text_column: text}) for number, text in enumerate(request.texts, 1)]
        return GivenRows(rows), Path("text"), "text"
    lines = world.broadcast(_read_standard_input() if world.is_main else [])
    rows = [_row(line, number, text_column) for number, line in enumerate(lines, 1) if line.strip()]
    return GivenRows(rows, id_column=data.columns.get("id", "id")), Path("stdin"), "jsonl"


def _read_standard_input() -> list[str]:
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"stdin, line {line}: is not UTF-8; put it into a file and say --input FILE") from None
    return text.split("\n")


def _row(line: str, number: int, text_column: str) -> SourceRow:
    """Read a line of standard input: a JSON object, or the text itself."""
    if not line.lstrip().startswith("{"):
        return SourceRow(number, {text_column: line.strip("\r")})
    try:
        return SourceRow(number, json.loads(line))
    except ValueError as error:
        return SourceRow(number, {}, f"broken JSON: {error}")


class GivenRows:
    """Rows that stand in no file; those that lack a column of another row are given it, empty."""

    def __init__(self, rows: Sequence[SourceRow], *, id_column: str = "id") -> None:
        columns = dict.fromkeys(name for row in rows for name in row.row)
        self._rows = [row if row.problem else self._filled(row, columns, id_column) for row in rows]

    def read_rows(self, path: Path, format: str, encoding: str | None) -> Iterator[SourceRow]:  # noqa: A002, ARG002
        """Return the rows; no file is read."""
        return iter(self._rows)

    @staticmethod
    def _filled(row: SourceRow, columns: Iterable[str], id_column: str) -> SourceRow:
        filled = {name: row.row.get(name) for name in columns}
        if id_column in filled and filled[id_column] is None:
            filled[id_column] = f"stdin:{row.line}"
        return SourceRow(row.line, filled)


def _check_target(target: str) -> None:
    """Refuse a target that cannot be written, before a model is loaded."""
    path = Path(target)
    if target == STANDARD:
        return
    if path.is_dir():
        raise DataError(f"--output {path}: is a directory; expected a file")
    if not path.parent.is_dir():
        raise DataError(f"--output {path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise DataError(f"--output {path}: the folder {path.parent} cannot be written")


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
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
