"""Read plain text: a text a line, or texts of several lines with blank lines between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from polyhead.backbone.data.encodings import UNDECODABLE, open_text, undecodable_problem
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError

_LINE_END = "\r\n"


def read_text_lines(path: Path, encoding: str) -> Iterator[SourceRow]:
    """Yield ``{"text": line}`` for each line that is not blank; raises `DataError` where there is none."""
    empty = True
    with open_text(path, encoding) as file:
        for number, line in enumerate(file, start=1):
            if line and not line.isspace():
                empty = False
                yield _text_row(number, line.rstrip(_LINE_END), encoding)
    if empty:
        raise DataError(f"{path}: is empty")


def read_documents(path: Path, encoding: str) -> Iterator[SourceRow]:
    """Yield ``{"text": ...}`` for each run of lines that are not blank, its line ends made line feeds.

    Raises `DataError` where there is none.
    """
    empty = True
    with open_text(path, encoding) as file:
        for number, lines in paragraphs(file):
            empty = False
            yield _text_row(number, "\n".join(lines), encoding)
    if empty:
        raise DataError(f"{path}: is empty")


def paragraphs(lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line, from 1, and the lines of each run without a blank line."""
    start, pending = 0, list[str]()
    for number, line in enumerate(lines, start=1):
        if line.isspace() or not line:
            if pending:
                yield start, pending
            pending = []
            continue
        start = start if pending else number
        pending.append(line.rstrip(_LINE_END))
    if pending:
        yield start, pending


def _text_row(line: int, text: str, encoding: str) -> SourceRow:
    if UNDECODABLE in text:
        return SourceRow(line, {}, undecodable_problem(encoding))
    return SourceRow(line, {"text": text})
