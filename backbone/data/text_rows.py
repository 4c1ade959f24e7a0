"""Read CSV and TSV row by row: a header, then one record a row, whose quoted cells may span lines."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from polyhead.backbone.data.encodings import UNDECODABLE, open_text, undecodable_problem
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError

_MOST_CELL_CHARACTERS = 1 << 26  # of one CSV cell; Python's own limit (131,072) is too small for documents


def read_csv(path: Path, encoding: str) -> Iterator[SourceRow]:
    """Yield the records below the header, split at each comma; raises `DataError` where one is missing."""
    return _read_table(path, encoding, ",")


def read_tsv(path: Path, encoding: str) -> Iterator[SourceRow]:
    """Yield the records below the header, split at each tab; raises `DataError` where one is missing."""
    return _read_table(path, encoding, "\t")


def _read_table(path: Path, encoding: str, delimiter: str) -> Iterator[SourceRow]:
    with open_text(path, encoding) as file:
        records = _records(file, delimiter)
        header = _header(path, next(records, None), encoding)
        empty = True
        for line, cells in records:
            empty = False
            problem = _problem(cells, encoding, header, delimiter)
            yield SourceRow(line, {} if problem else dict(zip(header, cells, strict=True)), problem)
    if empty:
        raise DataError(f"{path}: has a header but no rows")


def _records(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the line where each record starts, with its cells or, where its quotes are wrong, the problem."""
    csv.field_size_limit(max(csv.field_size_limit(), _MOST_CELL_CHARACTERS))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            never_closed = "unexpected end of data" in str(error)
            yield line, "a quote is never closed" if never_closed else f"broken quotes or cell: {error}"
        else:
            if cells:
                yield line, cells


def _header(path: Path, record: tuple[int, list[str] | str] | None, encoding: str) -> list[str]:
    if record is None:
        raise DataError(f"{path}: is empty")
    line, cells = record
    problem = _problem(cells, encoding)
    if problem or isinstance(cells, str):
        raise DataError(f"{path}, line {line}: header: {problem}")
    names = [cell.strip() for cell in cells]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path}: the header has the column '{twice[0]}' more than once")
    return names


def _problem(
    cells: list[str] | str, encoding: str, header: Sequence[str] | None = None, delimiter: str = ","
) -> str | None:
    if isinstance(cells, str):
        return cells
    text = "".join(cells)
    if UNDECODABLE in text:
        return undecodable_problem(encoding)
    if "\0" in text:
        return "holds a NUL byte"
    if header is not None and len(cells) != len(header):
        sign = "a tab" if delimiter == "\t" else f"'{delimiter}'"
        quote = f"; a text with {sign} in it must stand in double quotes" if len(cells) > len(header) else ""
        return f"{_fields(len(cells))}, the header has {len(header)}{quote}"
    return None


def _fields(count: int) -> str:
    return "has 1 field" if count == 1 else f"has {count} fields"
