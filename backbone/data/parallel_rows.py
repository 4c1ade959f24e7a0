"""Read parallel texts: two files of one sentence a line, named together by one path.

``corpus/train.en-zh`` stands for ``corpus/train.en`` and ``corpus/train.zh``, or for ``corpus/train.en-zh.en`` and
``corpus/train.en-zh.zh`` as OPUS names them; each of them may have a further ``.gz``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TextIO

from polyhead.backbone.data.encodings import (
    GZIP,
    UNDECODABLE,
    check_encoding,
    detect_encoding,
    open_text,
    undecodable_problem,
)
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError


def parallel_files(path: Path) -> dict[str, Path]:
    """Return the files that a path such as ``train.en-zh`` stands for, by language; none where it stands for none."""
    return next((files for files in _candidates(path) if all(file.is_file() for file in files.values())), {})


def half_of_parallel(path: Path) -> str | None:
    """Say which file is there and which is not, where one of the two that a path stands for is."""
    for files in _candidates(path):
        there = [file.name for file in files.values() if file.is_file()]
        if len(there) == 1:
            (absent,) = (file.name for file in files.values() if not file.is_file())
            return f"{there[0]} is there, but {absent} is not"
    return None


def read_parallel(path: Path, encoding: str | None) -> Iterator[SourceRow]:
    """Yield ``{"translation": {"en": ..., "zh": ...}}`` for each pair of lines; pairs of blank lines are skipped.

    Only a line feed ends a line (with a carriage return before it, or without), so that no other sign inside a sentence
    moves the two files apart. ``encoding`` None: detected for each file. Raises `DataError` where a file is not there,
    the two have different numbers of lines, or none.
    """
    files = parallel_files(path)
    if not files:
        raise _no_such_files(path)
    encodings = [check_encoding(encoding) if encoding else detect_encoding(file) for file in files.values()]
    counts = [_count_lines(file, name) for file, name in zip(files.values(), encodings, strict=True)]
    (first, second), (first_file, second_file) = files, files.values()
    if counts[0] != counts[1]:
        raise DataError(
            f"{path}: {first_file.name} has {counts[0]} lines, {second_file.name} has {counts[1]}; "
            "each line must be the translation of the same line in the other file"
        )
    empty = True
    with _lines(first_file, encodings[0]) as one, _lines(second_file, encodings[1]) as other:
        for number, sides in enumerate(zip(one, other, strict=True), start=1):
            pair = {first: sides[0].rstrip("\r\n"), second: sides[1].rstrip("\r\n")}
            if any(text.strip() for text in pair.values()):
                empty = False
                yield _row(number, pair, encodings)
    if empty:
        raise DataError(f"{path}: is empty")


def _row(number: int, pair: dict[str, str], encodings: list[str]) -> SourceRow:
    for (language, text), encoding in zip(pair.items(), encodings, strict=True):
        if UNDECODABLE in text:
            return SourceRow(number, {}, f"'{language}' {undecodable_problem(encoding)}")
        if not text.strip():
            return SourceRow(number, {}, f"'{language}' is empty")
    return SourceRow(number, {"translation": pair})


def _lines(file: Path, encoding: str) -> AbstractContextManager[TextIO]:
    return open_text(file, encoding, newline="\n")


def _count_lines(file: Path, encoding: str) -> int:
    with _lines(file, encoding) as lines:
        return sum(1 for _ in lines)


def _candidates(path: Path) -> Iterator[dict[str, Path]]:
    """Yield what a path may stand for: a language may have a hyphen of its own, as in ``train.en-zh-CN``."""
    pair = path.suffix.removeprefix(".")
    places = [place for place, sign in enumerate(pair) if sign == "-" and 0 < place < len(pair) - 1]
    for place in places:
        languages = (pair[:place], pair[place + 1 :])
        if languages[0] == languages[1]:
            continue
        for stem in (path.with_suffix(""), path):
            yield {language: _packed_or_not(stem.with_name(f"{stem.name}.{language}")) for language in languages}


def _packed_or_not(file: Path) -> Path:
    packed = file.with_name(file.name + GZIP)
    return packed if packed.is_file() and not file.is_file() else file


def _no_such_files(path: Path) -> DataError:
    half = half_of_parallel(path)
    wanted = next(_candidates(path), None)
    if half is None and wanted is None:
        half = "format parallel wants a path that ends in two languages, such as train.en-zh for train.en and train.zh"
    elif half is None and wanted is not None:
        half = f"there are no such files as {' and '.join(file.name for file in wanted.values())}"
    return DataError(f"{path}: {half}")
