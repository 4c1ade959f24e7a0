"""Read CoNLL files: a token and its tag a line, a blank line behind each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from polyhead.backbone.data.encodings import UNDECODABLE, open_text, undecodable_problem
from polyhead.backbone.data.plain_rows import paragraphs
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError

DOCUMENT_START = "-DOCSTART-"
_MOST_COLUMNS = 4
_BLANKS = " \t\r\n"
_BETWEEN = re.compile("[ \t]+")  # no-break and full-width spaces are tokens of Chinese files
_TAG = re.compile(r"O|[BIESMLUbiesmlu][-_]\S+|[BIESMLUS]")


def read_conll(path: Path, encoding: str) -> Iterator[SourceRow]:
    """Yield ``{"tokens": [...], "ner_tags": [...]}`` for each sentence; tags stand as they do in the file.

    A line is split at tabs where it has one, else at spaces: 2 to 4 columns, the token first and the tag last,
    or the token alone (then the rows have no tags). Lines before a sentence that begin with ``#`` are comments
    unless they look like a token with its tag; ``-DOCSTART-`` lines are passed over. The first line tells how
    many columns the file has: a sentence with another number comes out as a problem, at that line. Raises
    `DataError` for a file without a sentence.
    """
    columns: int | None = None
    empty = True
    with open_text(path, encoding) as file:
        for start, lines in paragraphs(file):
            numbered = _tokens_of(start, lines, columns)
            if not numbered:
                continue
            empty = False
            columns = columns or len(numbered[0][1])
            yield _row(numbered, columns, encoding)
    if empty:
        raise DataError(f"{path}: holds no sentence")


def _tokens_of(start: int, lines: Sequence[str], columns: int | None) -> list[tuple[int, list[str]]]:
    """Return number and cells of the lines of a sentence that are no comments and begin no document."""
    numbered: list[tuple[int, list[str]]] = []
    for number, line in enumerate(lines, start=start):
        cells = _cells(line)
        is_comment = not numbered and line.startswith("#") and not _is_tagged(cells, columns)
        if not is_comment and cells[0] != DOCUMENT_START:
            numbered.append((number, cells))
    return numbered


def _cells(line: str) -> list[str]:
    return line.rstrip(_BLANKS).split("\t") if "\t" in line.rstrip(_BLANKS) else _BETWEEN.split(line.strip(_BLANKS))


def _is_tagged(cells: Sequence[str], columns: int | None) -> bool:
    right_size = len(cells) == columns if columns else 2 <= len(cells) <= _MOST_COLUMNS
    return right_size and (len(cells) == 1 or _TAG.fullmatch(cells[-1]) is not None)


def _row(numbered: Sequence[tuple[int, list[str]]], columns: int, encoding: str) -> SourceRow:
    for number, cells in numbered:
        problem = _problem(cells, columns, encoding)
        if problem is not None:
            return SourceRow(number, {}, problem)
    tokens = [cells[0] for _, cells in numbered]
    tags = {"ner_tags": [cells[-1] for _, cells in numbered]} if columns > 1 else {}
    return SourceRow(numbered[0][0], {"tokens": tokens, **tags})


def _problem(cells: Sequence[str], columns: int, encoding: str) -> str | None:
    if any(UNDECODABLE in cell for cell in cells):
        return undecodable_problem(encoding)
    count = f"has {len(cells)} column{'' if len(cells) == 1 else 's'}"
    if len(cells) > _MOST_COLUMNS:
        return f"{count}; CoNLL files have 2 to {_MOST_COLUMNS}, the token first and the tag last"
    if len(cells) != columns:
        return f"{count}, the first line of the file has {columns}"
    if not all(cell.strip(_BLANKS) for cell in (cells[0], cells[-1])):
        return f"the {'tag' if cells[0].strip(_BLANKS) else 'token'} is empty"
    return None
