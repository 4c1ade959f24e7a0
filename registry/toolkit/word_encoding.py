"""How a text becomes features whose tokens speak for words: alignment by offsets, windows over long texts.

The tokenizer reads the whole text. A word is scored at its first sub-token; words that have no token of their own
because one token covers several (Chinese characters in a byte-level vocabulary) share it: they are one unit. A word
that no token touches at all (a lone zero-width character) belongs to no unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polyhead.registry.contracts import EncodeSettings, Feature
from polyhead.registry.toolkit.spans import Span, word_at

NO_WORD: Span = (-1, -1)
"""The offsets of a token that speaks for no word."""
IGNORED = -100
_NOT_INPUTS = frozenset({"offset_mapping", "special_tokens_mask", "overflow_to_sample_mapping"})
_SENTENCEPIECE_SPACE = "▁"


@dataclass(frozen=True)
class Unit:
    """Neighbouring words that share one token, mostly a single word: ``first_word`` up to ``end_word``."""

    token: int
    """Its first sub-token, counted over the whole text without special tokens."""
    first_word: int
    end_word: int


@dataclass(frozen=True)
class WordEncoding:
    """The windows of one text and the units of its words."""

    windows: tuple[Mapping[str, Sequence[int]], ...]
    units: tuple[Unit, ...]
    places: tuple[Mapping[int, int], ...]
    """For each window: position in it -> index of the unit whose first token stands there."""

    def features(self, example: int, words: Sequence[Span], labels: Sequence[int] | None) -> list[Feature]:
        """Return one feature a window, the labels (one a unit) at the units' tokens, -100 elsewhere.

        The offsets of a unit's token are the characters from its first word's start to its last word's end, those of
        every other token `NO_WORD`.
        """
        found: list[Feature] = []
        for window, place in zip(self.windows, self.places, strict=True):
            length = len(window["input_ids"])
            offsets = [NO_WORD] * length
            row = [IGNORED] * length
            for position, index in place.items():
                unit = self.units[index]
                offsets[position] = (words[unit.first_word][0], words[unit.end_word - 1][1])
                if labels is not None:
                    row[position] = labels[index]
            found.append(Feature(example, window, {} if labels is None else {"labels": row}, offsets))
        return found


def encode_words(texts: Sequence[str], words: Sequence[Sequence[Span]], settings: EncodeSettings) -> list[WordEncoding]:
    """Return the windows and units of each text; an empty text has one window."""
    tokenizer = settings.tokenizer
    room = settings.max_length - tokenizer.num_special_tokens_to_add(pair=False)
    stride = max(0, min(settings.stride, room - 1))
    columns = tokenizer(
        list(texts),
        truncation=True,
        max_length=settings.max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        verbose=False,
    )
    blank = tokenizer.backend_tokenizer.token_to_id(_SENTENCEPIECE_SPACE)  # an unknown one is None here
    rows_of: list[list[int]] = [[] for _ in texts]
    for row, text in enumerate(columns["overflow_to_sample_mapping"]):
        rows_of[text].append(row)
    return [
        _encoding(text, spans, [_row(columns, at) for at in rows], tokenizer, room - stride, blank)
        for text, spans, rows in zip(texts, words, rows_of, strict=True)
    ]


def units_of(words: Sequence[Span], offsets: Sequence[Span], length: int) -> tuple[Unit, ...]:
    """Return the units of a text of this length.

    A word's token is the first that begins in it, not counting white space before it; where none does, the first that
    covers it.
    """
    word_of = word_at(words, length)
    own, covering = [-1] * len(words), [-1] * len(words)
    for token, (start, end) in enumerate(offsets):
        touched = [word for word in dict.fromkeys(word_of[start:end]) if word >= 0]
        if touched and own[touched[0]] < 0:
            own[touched[0]] = token
        for word in touched:
            covering[word] = token if covering[word] < 0 else covering[word]
    units: list[Unit] = []
    for word, (mine, shared) in enumerate(zip(own, covering, strict=True)):
        token = mine if mine >= 0 else shared
        if units and token == units[-1].token:
            units[-1] = Unit(token, units[-1].first_word, word + 1)
        elif token >= 0:
            units.append(Unit(token, word, word + 1))
    return tuple(units)


def _row(columns: Mapping[str, Any], at: int) -> dict[str, list[Any]]:
    return {name: values[at] for name, values in columns.items() if name != "overflow_to_sample_mapping"}


def _encoding(
    text: str, words: Sequence[Span], rows: Sequence[dict[str, list[Any]]], tokenizer: Any, step: int, blank: int | None
) -> WordEncoding:
    content = [[at for at, special in enumerate(row["special_tokens_mask"]) if not special] for row in rows]
    offsets: list[Span] = []
    for number, (row, positions) in enumerate(zip(rows, content, strict=True)):
        del offsets[number * step :]  # what neighbouring windows share is the same in both
        for at in positions:
            start, end = row["offset_mapping"][at]
            is_blank = row["input_ids"][at] == blank and _SENTENCEPIECE_SPACE not in text[start:end]
            offsets.append((start, start) if is_blank else (start, end))
    units = units_of(words, offsets, len(text))
    unit_at = {unit.token: index for index, unit in enumerate(units)}
    places = tuple(
        {at: unit_at[number * step + place] for place, at in enumerate(positions) if number * step + place in unit_at}
        for number, positions in enumerate(content)
    )
    windows = tuple({name: row[name] for name in row if name not in _NOT_INPUTS} for row in rows)
    return WordEncoding(tuple(_filled(window, tokenizer) for window in windows), units, places)


def _filled(window: Mapping[str, Sequence[int]], tokenizer: Any) -> Mapping[str, Sequence[int]]:
    """Give an empty text one token, where the tokenizer adds none: a model cannot read nothing."""
    if window["input_ids"]:
        return window
    known = (tokenizer.eos_token_id, tokenizer.pad_token_id, 0)
    stand_in = next(token for token in known if token is not None)
    return {name: [{"input_ids": stand_in, "attention_mask": 1}.get(name, 0)] for name in window}
