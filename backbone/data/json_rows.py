"""Read JSON row by row: one object a line, or a list of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polyhead.backbone.data.encodings import UNDECODABLE, open_text, undecodable_problem
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError

_CHUNK = 1 << 16
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_JSON_SIGN = re.compile(r'\\.|["\[\]{},]', re.DOTALL)
_JSON_KINDS = {
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def read_json_lines(path: Path, encoding: str) -> Iterator[SourceRow]:
    """Yield a row for each line that is not blank; raises `DataError` where there is none."""
    empty = True
    with open_text(path, encoding) as file:
        for number, line in enumerate(file, start=1):
            if line and not line.isspace():
                empty = False
                yield _json_row(number, line.strip(), encoding)
    if empty:
        raise DataError(f"{path}: is empty")


def _json_row(line: int, text: str, encoding: str) -> SourceRow:
    if UNDECODABLE in text:
        return SourceRow(line, {}, undecodable_problem(encoding))
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


def _is_encodable(row: Mapping[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_json_list(path: Path, encoding: str) -> Iterator[SourceRow]:
    """Yield a row for each element of a list; raises `DataError` where there is none, or no list."""
    cutter = _ListCutter(path)
    with open_text(path, encoding, newline=None) as file:
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
