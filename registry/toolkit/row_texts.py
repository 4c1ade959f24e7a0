"""What a row says in all of some fields: for tasks that take any text, whatever the other columns are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polyhead.registry.contracts import Row
from polyhead.registry.errors import RowError


def texts_of_fields(row: Row, fields: Sequence[str]) -> list[str]:
    """Return the texts of those fields that a row has, without blanks around them, in the order of the fields.

    ``translation.en`` is the field ``en`` of the column ``translation`` where no column has that name. A list of texts
    is one text of several lines.

    Raises:
        RowError: None of the fields holds a text, or one holds something else.

    """
    texts = [text for name in fields if (text := _text_of(row, name))]
    if not texts:
        there = ", ".join(f"'{name}'" for name in row if name != "id") or "none"
        raise RowError(
            f"none of the fields of options.fields ({', '.join(fields)}) holds a text; columns found: {there}; "
            "say options.fields=[NAME]"
        )
    return texts


def _text_of(row: Row, name: str) -> str:
    value: Any = row.get(name)
    if value is None and "." in name:
        value = row
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(each, str) for each in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        raise RowError(f"expected a text, or a list of texts, found {value!r:.60}", column=name)
    return value.strip()
