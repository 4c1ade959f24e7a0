"""Predict from a file, from standard input or from texts, and write one JSON object a line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from polyhead.backbone.data.examples import RowSource, SkippedRow, iterate_examples
from polyhead.backbone.inference.session import Session, open_session
from polyhead.backbone.parallel.processes import World, join_world, leave_world
from polyhead.configs.schema import RunConfig
from polyhead.registry import DataError, Example, Registry, RunError, SourceRow, Task

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
    corpus: Path | None = None
    """A file of texts that each input is compared with, for tasks that search."""
    nearest: int = 5
    """How many entries of the corpus each input gets."""
    stream: bool = False
    """Show text while it is written, for tasks that write and one input; the prediction comes after it."""


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
    _refuse_what_the_task_cannot(request, registry)
    world = join_world(use_deepspeed=False)
    try:
        session = open_session(request.model, request.config, registry, world, console if world.is_main else None)
        if request.stream and world.is_main:
            session = replace(session, stream=_show)
        skipped: list[SkippedRow] = []
        predictions = session.predict(_examples(request, session, world, skipped))
        if request.corpus is not None:
            predictions = _searched(request, session, predictions, skipped)
        count = 0
        with _writer(request.target, world) as out:
            for prediction in predictions:
                count += 1
                if request.stream and world.is_main:
                    _show("\n")
                if out is not None:
                    out.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")
        return Outcome(count, tuple(skipped))
    finally:
        leave_world()


def _refuse_what_the_task_cannot(request: Request, registry: Registry) -> None:
    """Refuse, before a model is loaded, what only other tasks can do."""
    task = registry.task(request.config.task)
    for wanted, option, what in (
        (request.corpus is not None, "--corpus", "search a corpus"),
        (request.stream, "--stream", "write text"),
    ):
        if wanted and not _is_able(task, option):
            others = [name for name, entry in sorted(registry.tasks().items()) if _is_able(entry.task, option)]
            raise RunError(f"{option}: task '{task.name}' does not {what}; these do: {', '.join(others) or 'none'}")


def _is_able(task: Task[Any, Any], option: str) -> bool:
    return (task.search if option == "--corpus" else task.encode_prompts) is not None


def _show(piece: str) -> None:
    sys.stderr.write(piece)
    sys.stderr.flush()


def _searched(request: Request, session: Session, queries: Iterable[Any], skipped: list[SkippedRow]) -> Iterator[Any]:
    """Return the predictions for the queries, each with its nearest entries of the corpus."""
    assert request.corpus is not None
    assert session.task.search is not None
    entries = list(session.predict(_read(request, session, (session.registry, request.corpus, None), skipped)))
    yield from session.task.search(list(queries), entries, request.nearest)


def _examples(request: Request, session: Session, world: World, skipped: list[SkippedRow]) -> Iterator[Example]:
    return _read(request, session, _source(request, session.registry, session.task.text_column, world), skipped)


def _read(
    request: Request, session: Session, source_of_rows: tuple[RowSource, Path, str | None], skipped: list[SkippedRow]
) -> Iterator[Example]:
    data = request.config.data
    source, path, file_format = source_of_rows
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


def _source(request: Request, registry: Registry, text_column: str, world: World) -> tuple[RowSource, Path, str | None]:
    """Return where the rows come from, how messages and ids call it, and its format."""
    data = request.config.data
    if request.source not in (None, STANDARD):
        return registry, Path(str(request.source)), data.format
    name = "text" if request.source is None else "stdin"
    text_column = data.columns.get(text_column, text_column)
    lines: Sequence[str] = request.texts
    if request.source == STANDARD:
        lines = world.broadcast(_read_standard_input() if world.is_main else [])
    rows = [_row(line, number, text_column) for number, line in enumerate(lines, 1) if line.strip() or name == "text"]
    return GivenRows(rows, name, id_column=data.columns.get("id", "id")), Path(name), "jsonl"


def _read_standard_input() -> list[str]:
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"stdin, line {line}: is not UTF-8; put it into a file and say --input FILE") from None
    return text.split("\n")


def _row(line: str, number: int, text_column: str) -> SourceRow:
    """Read a line of standard input, or a --text: a JSON object, or the text itself."""
    if not line.lstrip().startswith("{"):
        return SourceRow(number, {text_column: line.strip("\r")})
    try:
        return SourceRow(number, json.loads(line))
    except ValueError as error:
        return SourceRow(number, {}, f"broken JSON: {error}")


class GivenRows:
    """Rows that stand in no file; those that lack a column of another row are given it, empty."""

    def __init__(self, rows: Sequence[SourceRow], name: str, *, id_column: str = "id") -> None:
        columns = dict.fromkeys(name for row in rows for name in row.row)
        self._name = name
        self._rows = [row if row.problem else self._filled(row, columns, id_column) for row in rows]

    def read_rows(self, path: Path, format: str, encoding: str | None) -> Iterator[SourceRow]:  # noqa: A002, ARG002
        """Return the rows; no file is read."""
        return iter(self._rows)

    def _filled(self, row: SourceRow, columns: Iterable[str], id_column: str) -> SourceRow:
        filled = {name: row.row.get(name) for name in columns}
        if id_column in filled and filled[id_column] is None:
            filled[id_column] = f"{self._name}:{row.line}"
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
