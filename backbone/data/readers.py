"""Find the reader of a data file: by the format that is stated, or the one that its path tells.

Every reader is a generator that holds a few rows at a time. A row that cannot be read does not end it: the
row comes out empty, with the problem in words, so that the caller may go on. What concerns the whole file (no
such file, unknown encoding, a broken header, no row at all) is a `DataError`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from polyhead.backbone.data.arrow_rows import read_dataset_folder, read_parquet
from polyhead.backbone.data.conll_rows import read_conll
from polyhead.backbone.data.encodings import GZIP, check_encoding, detect_encoding
from polyhead.backbone.data.json_rows import read_json_lines, read_json_list
from polyhead.backbone.data.parallel_rows import half_of_parallel, parallel_files, read_parallel
from polyhead.backbone.data.plain_rows import read_documents, read_text_lines
from polyhead.backbone.data.squad_rows import looks_like_squad, read_squad
from polyhead.backbone.data.text_rows import read_csv, read_tsv
from polyhead.backbone.data.tmx_rows import read_tmx
from polyhead.registry.additions import Reader
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError
from polyhead.registry.hookspecs import hookimpl
from polyhead.registry.names import available, did_you_mean

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "detect_encoding",
    "format_of",
    "is_text",
    "polyhead_register_readers",
    "read_rows",
    "stem_of",
]

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".conll": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".bio": "conll",
    ".bmes": "conll",
    ".tmx": "tmx",
    ".txt": "text",
}
FORMATS = {
    "jsonl": "one JSON object a line",
    "ndjson": "another name for jsonl",
    "json": "a JSON list of objects",
    "csv": "comma-separated values with a header",
    "tsv": "tab-separated values with a header",
    "parquet": "Apache Parquet",
    "datasets": "a folder written by datasets.save_to_disk",
    "conll": "a token and its tags a line, sentences apart by empty lines",
    "squad": "SQuAD's JSON",
    "parallel": "two text files, line by line: train.en and train.zh",
    "tmx": "translation memories",
    "text": "a text a line",
    "documents": "texts apart by empty lines",
}
"""The formats that need no plugin, and what they are."""

_TEXT_READERS: dict[str, Callable[[Path, str], Iterator[SourceRow]]] = {
    "jsonl": read_json_lines,
    "ndjson": read_json_lines,
    "json": read_json_list,
    "csv": read_csv,
    "tsv": read_tsv,
    "conll": read_conll,
    "squad": read_squad,
    "tmx": read_tmx,
    "text": read_text_lines,
    "documents": read_documents,
}
_BINARY_READERS: dict[str, Callable[[Path], Iterator[SourceRow]]] = {
    "parquet": read_parquet,
    "datasets": read_dataset_folder,
}


@hookimpl
def polyhead_register_readers() -> list[Reader]:
    """Read what needs no plugin."""
    return [Reader(name, summary, partial(_read, name)) for name, summary in FORMATS.items()]


def read_rows(path: Path, format: str, encoding: str | None) -> Iterator[SourceRow]:  # noqa: A002
    """Return the rows of a file in one of our `FORMATS`.

    ``SourceRow.line`` is the line of the file, from 1, where the row starts; in Parquet, ``datasets`` and SQuAD the
    number of the row. ``encoding`` None: found by `detect_encoding`. Raises `DataError` for a file that
    cannot be read at all, or holds no row.
    """
    if format in _BINARY_READERS:
        _check_kind(path, folder=format == "datasets")
        if encoding is not None:
            warnings.warn(f"{path}: data.encoding has no effect on format {format}", stacklevel=2)
        return _BINARY_READERS[format](path)
    if format == "parallel":
        return read_parallel(path, encoding)
    _check_kind(path, folder=False)
    return _TEXT_READERS[format](path, check_encoding(encoding) if encoding else detect_encoding(path))


def _read(format: str, path: Path, encoding: str | None) -> Iterator[SourceRow]:  # noqa: A002
    return read_rows(path, format, encoding)


def format_of(path: Path) -> str:
    """Return the format that a path's suffix, or a folder's content, tells.

    A further ``.gz`` is passed over. A ``.json`` file is looked into: ``json`` or ``squad``. A path that does not
    exist, such as ``train.en-zh``, may stand for the two files of ``parallel``. A suffix that is not ours is a format
    by itself, ``brat`` for ``a.brat``: a plugin may read it. Raises `DataError` for a path that does not exist, a file
    without suffix, or a folder that ``datasets`` has not written.
    """
    if not path.exists():
        if parallel_files(path):
            return "parallel"
        raise _no_such_file(path)
    if path.is_dir():
        if any((path / name).exists() for name in ("dataset_info.json", "state.json", "dataset_dict.json")):
            return "datasets"
        raise _unexpected_folder(path)
    suffix = _unpacked(path).suffix.lower()
    if suffix in ("", "."):  # Python 3.14 gives "." for `name.`, earlier ones nothing
        raise DataError(
            f"{path}: has no suffix to tell its format. {available(sorted(FORMATS))} "
            "State it with data.format=, such as data.format=jsonl."
        )
    if suffix == ".json" and looks_like_squad(path):
        return "squad"
    return SUFFIXES.get(suffix, suffix[1:])


def stem_of(path: Path) -> str:
    """Return a file's name without the suffix of its format (and without ``.gz``): the first part of its rows' ids."""
    return _unpacked(path).stem


def _unpacked(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() == GZIP else path


def is_text(format: str) -> bool:  # noqa: A002
    """Tell whether files of this format have one encoding."""
    return format in _TEXT_READERS


def _check_kind(path: Path, *, folder: bool) -> None:
    if not path.exists():
        raise _no_such_file(path)
    if path.is_dir() != folder:
        if folder:
            raise DataError(f"{path}: is a file; format datasets is a folder written by datasets.save_to_disk")
        raise _unexpected_folder(path)
    if not folder:
        try:
            path.open("rb").close()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _unexpected_folder(path: Path) -> DataError:
    return DataError(f"{path}: is a directory; expected a file or a folder written by datasets.save_to_disk")


def _no_such_file(path: Path) -> DataError:
    half = half_of_parallel(path)
    if half is not None:
        return DataError(f"{path}: {half}; parallel texts are two files")
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    return DataError(f"{path}: there is no such file.{did_you_mean(path.name, beside)}")
