"""Find the encoding of a text file, and open it so that a byte that is not valid spoils its row only.

A file whose name ends in ``.gz`` is unpacked while it is read.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from polyhead.registry.errors import DataError
from polyhead.registry.names import did_you_mean

UNDECODABLE = "\udcff"
"""What `open_text` gives for bytes that are not valid: a lone surrogate, to which no valid text decodes."""

_CHUNK = 1 << 16
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


GZIP = ".gz"


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return UNDECODABLE, error.end


codecs.register_error("polyhead-mark", _mark_undecodable)


def detect_encoding(path: Path) -> str:
    """Return the encoding of a text file: by its byte order mark, else UTF-8, else GB18030.

    The whole file is decoded once, a piece at a time. GB18030 must also look like Chinese: bytes of Western
    European encodings often happen to be valid GB18030. Raises `DataError` where nothing fits.
    """
    with open_bytes(path) as file:
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
    with open_bytes(path) as file:
        while chunk := file.read(_CHUNK):
            yield chunk
    yield b""


def check_encoding(name: str) -> str:
    """Return an encoding that a user stated; raises `DataError` where Python knows none of this name."""
    try:
        "a".encode(name)
    except (LookupError, UnicodeError):
        common = ("utf-8", "gb18030", "gbk", "big5", "utf-16", "cp1252", "latin-1", "shift_jis")
        near = did_you_mean(name, common)
        raise DataError(f"data.encoding: unknown encoding '{name}'.{near} Common ones: {', '.join(common)}.") from None
    return name


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unpacked where its name ends in ``.gz``; raises `DataError` where that is damaged."""
    if path.suffix.lower() != GZIP:
        with path.open("rb") as file:
            yield file
        return
    try:
        with gzip.open(path, "rb") as packed:
            yield cast("BinaryIO", packed)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: is no whole gzip file: {error}") from error


@contextmanager
def open_text(path: Path, encoding: str, newline: str | None = "") -> Iterator[TextIO]:
    """Open a file behind its byte order mark; bytes that are not valid come out as `UNDECODABLE`."""
    with (
        open_bytes(path) as raw,
        io.TextIOWrapper(raw, encoding=encoding, errors="polyhead-mark", newline=newline) as file,
    ):
        if file.read(1) != "\ufeff":
            file.seek(0)
        yield file


def undecodable_problem(encoding: str) -> str:
    """Return what is wrong with a row that holds `UNDECODABLE`."""
    return f"holds bytes that are not valid {encoding}"
