"""Read files row by row: JSON lines, JSON lists, CSV, TSV, Parquet and folders written by ``datasets``.

Every reader is a generator that holds a few rows at a time. A row that cannot be read does not end it: the
row comes out empty, with the problem in words, so that the caller may go on. What concerns the whole file (no
such file, unknown encoding, a broken header, no row at all) is a `DataError`.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError
from polyhead.registry.hookspecs import hookimpl
from polyhead.registry.names import did_you_mean

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "datasets")
"""The formats that need no plugin; ``ndjson`` is another name for ``jsonl``."""

_CHUNK = 1 << 16
_MOST_CELL_CHARACTERS = 1 << 26  # of one CSV cell; Python's own limit (131,072) is too small for documents
_ROWS_AT_ONCE = 1024
_UNDECODABLE = "\udcff"  # a lone surrogate: no valid text decodes to it
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_JSON_SIGN = re.compile(r'\\.|["\[\]{},]', re.DOTALL)


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _UNDECODABLE, error.end


codecs.register_error("polyhead-mark", _mark_undecodable)


@hookimpl(trylast=True)
def polyhead_read_rows(path: Path, format: str, encoding: str | None) -> Iterator[SourceRow] | None:  # noqa: A002
    """Return the rows of a file in one of our `FORMATS`, or None for another format.

    ``SourceRow.line`` is the line of the file, from 1, where the row starts; in Parquet and ``datasets`` the
    number of the row. ``encoding`` None: found by `detect_encoding`. Raises `DataError` for a file that
    cannot be read at all, or holds no row.
    """
    if format in _BINARY_READERS:
        _check_kind(path, folder=format == "datasets")
        if encoding is not None:
            warnings.warn(f"{path}: data.encoding has no effect on format {format}", stacklevel=2)
        return _BINARY_READERS[format](path)
    if format in _TEXT_READERS:
        _check_kind(path, folder=False)
        return _TEXT_READERS[format](path, _known_encoding(encoding) if encoding else detect_encoding(path))
    return None


def format_of(path: Path) -> str:
    """Return the format that a path's suffix, or a folder's content, tells.

    Raises `DataError` for a path that does not exist, another suffix, or a folder that ``datasets`` has not
    written.
    """
    if not path.exists():
        raise _no_such_file(path)
    if path.is_dir():
        if any((path / name).exists() for name in ("dataset_info.json", "state.json", "dataset_dict.json")):
            return "datasets"
        raise _unexpected_folder(path)
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        what = f"format '{path.suffix[1:]}' is not supported" if path.suffix else "has no suffix to tell its format"
        raise DataError(
            f"{path}: {what}; one of {', '.join(SUFFIXES)}, or state it: data.format={'|'.join(FORMATS)}"
        ) from None


# ── encodings ───────────────────────────────────────────────────────────────────────────────────────────


def is_text(format: str) -> bool:  # noqa: A002
    """Tell whether files of this format have an encoding."""
    return format in _TEXT_READERS


def detect_encoding(path: Path) -> str:
    """Return the encoding of a text file: by its byte order mark, else UTF-8, else GB18030.

    The whole file is decoded once, a piece at a time. GB18030 must also look like Chinese: bytes of Western
    European encodings often happen to be valid GB18030. Raises `DataError` where nothing fits.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    for mark, name in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return name
    if start.count(0) * 10 > len(start):
        raise DataError(
            f"{path}: holds NUL bytes: no text, or UTF-16 without a byte order mark; "
            "if so, state data.encoding=utf-16-le (or utf-16-be)"
        )
    line = _first_line_not_utf_8(path)
    if line is None:
        return "utf-8"
    if _is_chinese_gb18030(path):
        return "gb18030"
    raise DataError(
        f"{path}, line {line}: neither UTF-8 nor GB18030; state data.encoding (for instance cp1252 or big5)"
    )


def _first_line_not_utf_8(path: Path) -> int | None:
    lines = 0
    decoder = codecs.getincrementaldecoder("utf-8")()
    for chunk in _byte_chunks(path):
        try:
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            return 1 + lines + error.object.count(b"\n", 0, error.start)
        lines += chunk.count(b"\n")
    return None


def _is_chinese_gb18030(path: Path) -> bool:
    """Tell whether all bytes decode, and a quarter of what is not ASCII is in the basic set (GB2312).

    Western European text has none of it: an accented letter and the letter after it make a rare character.
    """
    foreign = basic = 0
    decoder = codecs.getincrementaldecoder("gb18030")()
    for chunk in _byte_chunks(path):
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError:
            return False
        ascii_count = len(text.encode("ascii", "ignore"))
        foreign += len(text) - ascii_count
        basic += (len(text.encode("gb2312", "ignore")) - ascii_count) // 2
    return basic * 4 >= foreign


def _byte_chunks(path: Path) -> Iterator[bytes]:
    """Yield the file in pieces, and an empty piece at its end."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
    yield b""


def _known_encoding(name: str) -> str:
    try:
        "a".encode(name)
    except (LookupError, UnicodeError):
        common = ("utf-8", "gb18030", "gbk", "big5", "utf-16", "cp1252", "latin-1", "shift_jis")
        near = did_you_mean(name, common)
        raise DataError(f"data.encoding: unknown encoding '{name}'.{near} Common ones: {', '.join(common)}.") from None
    return name


@contextmanager
def _text(path: Path, encoding: str, newline: str | None = "") -> Iterator[TextIO]:
    """Open a file with undecodable bytes marked, behind its byte order mark."""
    with path.open(encoding=encoding, errors="polyhead-mark", newline=newline) as file:
        if file.read(1) != "\ufeff":
            file.seek(0)
        yield file


def _undecodable(encoding: str) -> str:
    return f"holds bytes that are not valid {encoding}"


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────


def _read_json_lines(path: Path, encoding: str) -> Iterator[SourceRow]:
    empty = True
    with _text(path, encoding) as file:
        for number, line in enumerate(file, start=1):
            if line and not line.isspace():
                empty = False
                yield _json_row(number, line.strip(), encoding)
    if empty:
        raise DataError(f"{path}: is empty")


def _json_row(line: int, text: str, encoding: str) -> SourceRow:
    if _UNDECODABLE in text:
        return SourceRow(line, {}, _undecodable(encoding))
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} of the object, " if error.lineno > 1 else ""
        return SourceRow(line, {}, f"invalid JSON: {error.msg} ({where}character {error.colno})")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, nesting without end
        return SourceRow(line, {}, f"invalid JSON: {error}")
    if not isinstance(row, dict):
        return SourceRow(line, {}, f"expected a JSON object, found {_JSON_KINDS[type(row)]}")
    if _SURROGATE_ESCAPE.search(text) and not _is_encodable(row):
        return SourceRow(line, {}, r"holds half a surrogate pair (\ud800 to \udfff), which is no character")
    return SourceRow(line, row)


_JSON_KINDS = {
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _is_encodable(row: Mapping[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_json_list(path: Path, encoding: str) -> Iterator[SourceRow]:
    cutter = _ListCutter(path)
    with _text(path, encoding, newline=None) as file:
        while chunk := file.read(_CHUNK):
            while chunk.endswith("\\") and (more := file.read(1)):  # never cut an escape in two
                chunk += more
            for line, text in cutter.feed(chunk):
                yield _json_row(line, text, encoding)
    if cutter.state == "before":
        raise DataError(f"{path}: is empty")
    if cutter.state == "inside":
        line, _ = cutter.take()
        yield SourceRow(line, {}, "the file ends before this list is closed")
    elif cutter.elements == 0:
        raise DataError(f"{path}: holds an empty list, no rows")


class _ListCutter:
    """Cut the text of a JSON list into the texts of its elements, piece by piece.

    It watches strings and brackets only: an element that is wrong inside is found wrong when it is parsed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = "before"
        self.elements = 0
        self._line = 1
        self._depth = 0
        self._quoted = False
        self._pending: list[str] = []

    def feed(self, chunk: str) -> Iterator[tuple[int, str]]:
        """Yield the elements that end in this piece: line where it starts, text."""
        begin = self._open(chunk) if self.state == "before" else 0
        if self.state == "inside":
            for sign in _JSON_SIGN.finditer(chunk, begin):
                if not self._ends_element(sign.group()):
                    continue
                self._pending.append(chunk[begin : sign.start()])
                begin = sign.end()
                line, text = self.take()
                if text or self.elements or self.state == "inside":  # only `[ ]` has nothing between brackets
                    self.elements += 1
                    yield line, text
                if self.state == "after":
                    break
        self._pending.append(chunk[begin:])
        if self.state == "after" and chunk[begin:].strip():
            raise self._not_a_list("has text after the end of its list")

    def take(self) -> tuple[int, str]:
        """Return the line and text of what has come since the last element, and forget it."""
        text = "".join(self._pending)
        self._pending.clear()
        leading = text[: len(text) - len(text.lstrip())]
        line = self._line + leading.count("\n")
        self._line += text.count("\n")
        return line, text.strip()

    def _open(self, chunk: str) -> int:
        start = len(chunk) - len(chunk.lstrip())
        if start == len(chunk):
            return 0
        if chunk[start] != "[":
            raise self._not_a_list("does not begin with a list")
        self.state, self._depth = "inside", 1
        self._line += "".join(self._pending).count("\n") + chunk.count("\n", 0, start)
        self._pending.clear()
        return start + 1

    def _ends_element(self, sign: str) -> bool:
        if sign == '"':
            self._quoted = not self._quoted
        elif self._quoted or sign[0] == "\\":
            return False
        elif sign in "[{":
            self._depth += 1
        elif sign in "]}":
            self._depth -= 1
            if self._depth == 0:
                self.state = "after"
                return True
        return sign == "," and self._depth == 1

    def _not_a_list(self, what: str) -> DataError:
        return DataError(
            f"{self.path}: {what}; expected a JSON list of objects (one object per line: data.format=jsonl)"
        )


# ── CSV and TSV ─────────────────────────────────────────────────────────────────────────────────────────


def _read_csv(path: Path, encoding: str) -> Iterator[SourceRow]:
    return _read_table(path, encoding, ",")


def _read_tsv(path: Path, encoding: str) -> Iterator[SourceRow]:
    return _read_table(path, encoding, "\t")


def _read_table(path: Path, encoding: str, delimiter: str) -> Iterator[SourceRow]:
    with _text(path, encoding) as file:
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
    _check_names(path, names)
    return names


def _problem(
    cells: list[str] | str, encoding: str, header: Sequence[str] | None = None, delimiter: str = ","
) -> str | None:
    if isinstance(cells, str):
        return cells
    text = "".join(cells)
    if _UNDECODABLE in text:
        return _undecodable(encoding)
    if "\0" in text:
        return "holds a NUL byte"
    if header is not None and len(cells) != len(header):
        sign = "a tab" if delimiter == "\t" else f"'{delimiter}'"
        quote = f"; a text with {sign} in it must stand in double quotes" if len(cells) > len(header) else ""
        return f"{_fields(len(cells))}, the header has {len(header)}{quote}"
    return None


def _fields(count: int) -> str:
    return "has 1 field" if count == 1 else f"has {count} fields"


def _check_names(path: Path, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path}: the header has the column '{twice[0]}' more than once")


# ── Parquet and datasets ────────────────────────────────────────────────────────────────────────────────


def _read_parquet(path: Path) -> Iterator[SourceRow]:
    import pyarrow as pa  # heavy: only who reads Parquet pays for it
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            _check_names(path, schema.names)
            written_by_datasets = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
            features = written_by_datasets.get("info", {}).get("features", {})
            yield from _arrow_rows(path, file.iter_batches(batch_size=_ROWS_AT_ONCE), features)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: is no readable Parquet file: {_first_line(error)}") from error


def _read_dataset(path: Path) -> Iterator[SourceRow]:
    splits = path / "dataset_dict.json"
    if splits.exists():
        names = json.loads(splits.read_text(encoding="utf-8"))["splits"]
        raise DataError(f"{path}: holds the splits {', '.join(names)}; point to one, such as {path / names[0]}")
    import datasets  # heavy, and it brings pandas: only who reads such a folder pays for it
    import pyarrow as pa

    try:
        dataset = datasets.load_from_disk(path)
        batches = dataset.with_format("arrow").iter(batch_size=_ROWS_AT_ONCE)
        yield from _arrow_rows(path, batches, dataset.features.to_dict())
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: is no readable datasets folder: {_first_line(error)}") from error


def _arrow_rows(path: Path, batches: Iterable[Any], features: Mapping[str, Any]) -> Iterator[SourceRow]:
    """Yield the rows of Arrow tables; class numbers become the names that ``datasets`` noted for them."""
    class_names = _class_names(features)
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            named = {column: _name_classes(row[column], names) for column, names in class_names.items()}
            yield SourceRow(number, row | named)
    if number == 0:
        raise DataError(f"{path}: has no rows")


def _class_names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    found = {}
    for column, feature in features.items():
        inner = feature[0] if isinstance(feature, list) else feature.get("feature", feature)
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
            found[column] = list(inner["names"])
    return found


def _name_classes(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_name_classes(item, names) for item in value]
    known = value is not None and 0 <= value < len(names)  # datasets writes -1 where the class is not known
    return names[value] if known else None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


# ── paths ───────────────────────────────────────────────────────────────────────────────────────────────


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
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    return DataError(f"{path}: there is no such file.{did_you_mean(path.name, beside)}")


_TEXT_READERS: dict[str, Callable[[Path, str], Iterator[SourceRow]]] = {
    "jsonl": _read_json_lines,
    "ndjson": _read_json_lines,
    "json": _read_json_list,
    "csv": _read_csv,
    "tsv": _read_tsv,
}
_BINARY_READERS: dict[str, Callable[[Path], Iterator[SourceRow]]] = {
    "parquet": _read_parquet,
    "datasets": _read_dataset,
}
