"""The texts of files of any format, without a task; and how a tokenizer covers them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyhead.backbone.data.examples import RowSource
from polyhead.backbone.data.readers import format_of
from polyhead.registry import DataError, did_you_mean

AT_ONCE = 1_000
NOT_TEXT = frozenset({"id", "label", "labels"})
"""What is read of a row where no fields are named: every text but these."""


def texts_of_files(
    registry: RowSource,
    files: Sequence[Path],
    *,
    fields: Sequence[str] = (),
    format: str | None = None,  # noqa: A002
    encoding: str | None = None,
) -> Iterator[str]:
    """Yield the texts of files of any format, one by one.

    Args:
        registry: Reads the files.
        files: In order.
        fields: What of a row is read, ``translation.en`` for a field inside one; none: every text but ids and labels.
        format: Of all files; None: told by each.
        encoding: Likewise.

    Raises:
        DataError: A file or one of its rows cannot be read, or has none of the fields.

    """
    for file in files:
        found = False
        columns: dict[str, None] = {}
        for source in registry.read_rows(file, format or format_of(file), encoding):
            if source.problem is not None:
                raise DataError(f"{file}, line {source.line}: {source.problem}")
            columns |= dict.fromkeys(source.row)
            for text in _texts(source.row, fields):
                found = True
                yield text
        if not found:
            names = ", ".join(f"'{name}'" for name in columns)
            wanted = f"none of the fields {', '.join(fields)}" if fields else "no text"
            near = next((near for name in fields if (near := did_you_mean(name, columns))), "")
            raise DataError(f"{file}: has {wanted}.{near} Columns found: {names}")


def _texts(row: Mapping[str, Any], fields: Sequence[str]) -> Iterator[str]:
    if not fields:
        yield from _all_texts({name: value for name, value in row.items() if name not in NOT_TEXT})
        return
    for name in fields:
        value: Any = row.get(name)
        if value is None and "." in name:
            value = row
            for part in name.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
        yield from _all_texts([" ".join(map(str, value))] if isinstance(value, list) else [value])


def _all_texts(value: Any) -> Iterator[str]:
    """Yield the texts in a value, and in mappings and lists inside it; lists of words and tags are none."""
    if isinstance(value, str):
        if value and not value.isspace():
            yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            if not isinstance(inner, list):
                yield from _all_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _all_texts(inner)


def in_batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield texts in lists of a thousand."""
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(frozen=True)
class Coverage:
    """How a tokenizer covers some texts."""

    texts: int
    characters: int
    tokens: int
    """Without special tokens."""
    unknown: int
    """Tokens that stand for what the tokenizer does not know."""

    def to_json(self) -> dict[str, float]:
        """Return the counts and the shares."""
        return {
            "texts": self.texts,
            "characters": self.characters,
            "tokens": self.tokens,
            "unknown_tokens": self.unknown,
            "unknown_share": self.unknown / self.tokens if self.tokens else 0.0,
            "tokens_per_character": self.tokens / self.characters if self.characters else 0.0,
        }


def coverage_of(tokenizer: Any, texts: Iterable[str]) -> Coverage:
    """Count the tokens of texts, and the unknown ones among them."""
    count = characters = tokens = unknown = 0
    for batch in in_batches(texts):
        for text, ids in zip(
            batch, tokenizer(batch, add_special_tokens=False, verbose=False)["input_ids"], strict=True
        ):
            count += 1
            characters += len(text)
            tokens += len(ids)
            unknown += ids.count(tokenizer.unk_token_id)
    return Coverage(count, characters, tokens, unknown)
