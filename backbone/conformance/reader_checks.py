"""The checks of a reader of files: what it reads, what it says of files that it cannot read, and that it is lazy."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from polyhead.backbone.conformance.checks import Check, CheckError, NotApplicable
from polyhead.registry import DataError, PolyheadError, Reader, SourceRow

OTHER_ENCODING = "gb18030"
_SAY = "raise DataError(f'{path}: what is wrong') for a whole file, or give SourceRow(line, {}, problem) for one row"


@dataclass(frozen=True)
class ReaderSubject:
    """A reader under examination."""

    reader: Reader
    plugin: str
    """The plugin that brings it, as ``distribution:plugin``."""
    folder: Path
    """An empty folder for what the checks write."""

    @cached_property
    def example(self) -> Path:
        """Return a file of the reader's format.

        Raises:
            NotApplicable: The reader writes none.

        """
        if self.reader.write_example is None:
            raise NotApplicable("the reader has no write_example: give a function that writes a small file")
        folder = self.folder / "example"
        folder.mkdir(exist_ok=True)
        path = self.reader.write_example(folder)
        if not path.exists():
            raise CheckError(f"write_example gives {path}, which is not there", "return the path that was written")
        return path

    def read(self, path: Path, what: str, encoding: str | None = None) -> list[SourceRow]:
        """Return all rows of a file; raises `DataError` where the reader does, and takes nothing else from it."""
        try:
            return list(self.reader.read(path, encoding))
        except PolyheadError:
            raise
        except Exception as error:
            raise CheckError(f"{self.plugin}: {what} raised {type(error).__name__}: {error}", _SAY) from error


def check_example(subject: ReaderSubject) -> str:
    """Read the example file."""
    try:
        rows = subject.read(subject.example, "the example file")
    except PolyheadError as error:
        raise CheckError(
            f"the example file cannot be read: {error}", "let write_example write what read reads"
        ) from error
    if not rows:
        raise CheckError("the example file gives no row", "let write_example write a row or two")
    for row in rows:
        _check_row(row)
    lines = [row.line for row in rows]
    if lines != sorted(lines):
        raise CheckError(f"the rows have the lines {lines}", "give the rows in the order of the file")
    return f"{len(rows)} rows, columns {', '.join(rows[0].row)}"


def _check_row(row: object) -> None:
    if not isinstance(row, SourceRow):
        raise CheckError(f"read gives a {type(row).__name__}", "give SourceRow(line, row)")
    if row.problem is not None:
        raise CheckError(f"line {row.line} of the example file: {row.problem}", "let write_example write sound rows")
    if row.line < 1:
        raise CheckError(f"a row stands on line {row.line}", "count lines from 1")
    if not isinstance(row.row, dict) or not row.row or any(not isinstance(name, str) for name in row.row):
        raise CheckError(f"line {row.line} gives {row.row!r:.100}", "give a dict of columns, their names as str")


def check_absent(subject: ReaderSubject) -> str:
    """Read a file that is not there."""
    path = subject.folder / f"absent.{subject.reader.name}"
    try:
        subject.read(path, "a file that is not there")
    except DataError as error:
        if path.name not in str(error):
            raise CheckError(f"the message does not name the file: {error}", _SAY) from error
        return str(error)
    except PolyheadError as error:
        raise CheckError(f"a file that is not there raised {type(error).__name__}: {error}", _SAY) from error
    raise CheckError("a file that is not there was read without a word", _SAY)


def check_broken(subject: ReaderSubject) -> str:
    """Read files that hold nothing, or nonsense."""
    name = f"broken.{subject.reader.name}"
    draw = random.Random(7)  # noqa: S311 - no secret: the same bytes every time
    for what, content in (
        ("an empty file", b""),
        ("a file of spaces", b"  \n\n \n"),
        ("a file of random bytes", draw.randbytes(4000)),
        ("a file of words", b"these are\nonly words {[<\n"),
    ):
        path = subject.folder / name
        path.write_bytes(content)
        try:
            rows = subject.read(path, what)
        except DataError as error:
            if name not in str(error) or "\n" in str(error):
                raise CheckError(f"{what}: the message does not name the file in one line: {error}", _SAY) from error
            continue
        except PolyheadError as error:
            raise CheckError(f"{what} raised {type(error).__name__}: {error}", _SAY) from error
        if any(not isinstance(row, SourceRow) for row in rows):
            raise CheckError(f"{what} gives something else than rows", "give SourceRow(line, row)")
    return "an empty file and nonsense are refused in words, or read"


def check_encoding(subject: ReaderSubject) -> str:
    """Read the example file in an encoding that it may not be in."""
    try:
        rows = subject.read(subject.example, f"the example file read as {OTHER_ENCODING}", OTHER_ENCODING)
    except DataError as error:
        return f"refused in words: {error}"
    except PolyheadError as error:
        raise CheckError(f"read as {OTHER_ENCODING} it raised {type(error).__name__}: {error}", _SAY) from error
    return f"{len(rows)} rows read as {OTHER_ENCODING}"


def check_lazy(subject: ReaderSubject) -> str:
    """See whether rows come one by one, and whether a second reading begins anew."""
    rows = subject.reader.read(subject.example, None)
    if not isinstance(rows, Iterator):
        raise CheckError(
            f"read gives a {type(rows).__name__}", "let read be a generator: yield one row after the other"
        )
    first = list(islice(rows, 1))
    again = list(islice(subject.reader.read(subject.example, None), 1))
    if first != again:
        raise CheckError(
            f"the first row is {first!r:.100}, and {again!r:.100} when the file is read again",
            "keep nothing between two calls of read",
        )
    return "rows come one by one, and again when asked again"


READER_CHECKS: tuple[Check[ReaderSubject], ...] = (
    Check("reader-example", "the example file gives rows: lines from 1, columns by name", check_example),
    Check("reader-absent-file", "a file that is not there is a DataError that names it", check_absent),
    Check(
        "reader-broken-files",
        "an empty file and nonsense are refused in words, or read; nothing else is raised",
        check_broken,
    ),
    Check("reader-encoding", "another encoding is refused in words, or read", check_encoding),
    Check("reader-lazy", "rows come one by one, and a second reading begins anew", check_lazy),
)
