"""How the source of a text becomes windows of tokens: whole where it fits, else cut between sentences."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from polyhead.registry.contracts import EncodeSettings
from polyhead.registry.errors import DataError
from polyhead.registry.toolkit.sentence_windows import cut_at

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Pair:
    """A source, the text to be written from it, and what stands around them."""

    source: str
    target: str | None = None
    before: str = ""
    """Text before the source: a prefix, an instruction. With a chat template: the beginning of the user's message."""
    after: str = ""
    """Text behind the source, the last of a decoder's prompt. With a chat template: the end of the user's message."""
    lead: str = ""
    """What a decoder's completion begins with before the target, such as a space; an answer in a chat has none."""
    target_prefix_ids: tuple[int, ...] = ()
    """Tokens that an encoder-decoder's text begins with, given and not written: a language token."""
    source_code: str = ""
    """The tokenizer's own name of the source's language, for tokenizers with a ``src_lang``."""
    rendered: bool = False
    """Whether the source is a whole chat that went through the chat template already (`chat_prompt`)."""
    id: str = ""
    """The example's name, for messages."""


@dataclass(frozen=True)
class SourceWindow:
    """The tokens of one window of a source, and where each stands in the source."""

    inputs: dict[str, list[int]]
    offsets: list[tuple[int, int]]

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.offsets)


@dataclass(frozen=True)
class SourceReader:
    """How sources and what stands around them are tokenised for one family of models."""

    settings: EncodeSettings
    leading: Sequence[int] = ()
    """What a decoder's sequence begins with: its token for the beginning, where it has one."""
    frame: tuple[str, str] = ("", "")
    """What the chat template writes around a message."""

    def read(self, pairs: Sequence[Pair], limits: Sequence[int]) -> Iterator[Iterator[SourceWindow]]:
        """Yield the windows of each pair's source, none longer than its limit; take them before the next pair's."""
        with _source_language(self.settings.tokenizer) as set_language:
            for pair, limit, whole in zip(pairs, limits, self._wholes(pairs, set_language), strict=True):
                yield iter((whole,)) if len(whole) <= limit else self._cut(pair, limit)

    def _wholes(self, pairs: Sequence[Pair], set_language: Callable[[str], None]) -> Iterator[SourceWindow]:
        """Yield each source as one window however long it is, tokenised in one call a language."""
        for code, group in groupby(pairs, key=lambda pair: pair.source_code):
            set_language(code)
            yield from self._tokenise([(pair, pair.source, 0) for pair in group])

    def _tokenise(self, parts: Sequence[tuple[Pair, str, int]]) -> Iterator[SourceWindow]:
        """Yield the window of each part of a source, given with its text and where it begins in the source."""
        decodes = self.settings.family == "decoder"
        frames = [("", "") if pair.rendered else self.frame for pair, _, _ in parts]
        befores = [opening + pair.before for (opening, _), (pair, _, _) in zip(frames, parts, strict=True)]
        texts = [
            before + text + pair.after + closing
            for before, (_, closing), (pair, text, _) in zip(befores, frames, parts, strict=True)
        ]
        found = self.settings.tokenizer(
            texts, add_special_tokens=not decodes, return_offsets_mapping=True, verbose=False
        )
        names = [name for name in found if name != "offset_mapping"]
        for row, (before, (_, text, start)) in enumerate(zip(befores, parts, strict=True)):
            offsets = _within(found["offset_mapping"][row], len(before), len(text), start)
            inputs = {name: list(found[name][row]) for name in names}
            if decodes:
                ids = [*self.leading, *inputs["input_ids"]]
                inputs = {"input_ids": ids, "attention_mask": [1] * len(ids)}
                offsets = [*((0, 0) for _ in self.leading), *offsets]
            yield SourceWindow(inputs, offsets)

    def _cut(self, pair: Pair, limit: int) -> Iterator[SourceWindow]:
        """Yield windows of whole sentences as far as possible, together all of the source but blanks at the cuts."""
        found = self.settings.tokenizer(
            pair.source, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        spans = [(start, end) for start, end in found["offset_mapping"] if start < end]
        (empty,) = self._tokenise([(pair, "", 0)])
        start = token = 0
        while start < len(pair.source):
            token = bisect_right(spans, start, lo=token, key=itemgetter(1))
            if token == len(spans):
                return  # nothing but blanks is left
            window, start = self._next(pair, start, spans[token:], (limit, limit - len(empty)))
            yield window

    def _next(self, pair: Pair, start: int, spans: Spans, limit_and_room: tuple[int, int]) -> tuple[SourceWindow, int]:
        """Return the window that begins at ``start``, and where it ends.

        Tokens can merge or split where a window meets what stands around it: what turns out too long is tried again
        with less room.
        """
        limit, room = limit_and_room
        while True:
            ends = _ends_of_characters(spans, room)
            if not ends:
                raise DataError(
                    f"example '{pair.id}': what stands around its source leaves no room for it in a window of "
                    f"{self.settings.max_length} tokens; raise data.max_length, or shorten the target or the prompt"
                )
            end = len(pair.source) if len(spans) <= room else cut_at(pair.source, start, ends)
            text = pair.source[start:end]
            blanks = len(text) - len(text.lstrip())
            (window,) = self._tokenise([(pair, text.strip(), start + blanks)])
            if len(window) <= limit:
                return window, end
            room = min(room, len(spans)) - (len(window) - limit)


def special_tokens(tokenizer: Any) -> list[int]:
    """Return the tokens that the tokenizer puts before a text."""
    with_special = tokenizer("a")["input_ids"]
    (first, *_) = plain_ids(tokenizer, "a")
    return list(with_special[: with_special.index(first)])


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a text and no others."""
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _ends_of_characters(spans: Spans, room: int) -> list[int]:
    """Return the ends of the first ``room`` tokens, of those that end a character: some are parts of one."""
    following = [*(start for start, _ in spans[1 : max(room, 0) + 1]), None]
    return [
        end for (_, end), after in zip(spans[: max(room, 0)], following, strict=False) if after is None or after >= end
    ]


def _within(spans: Spans, before: int, length: int, start: int) -> list[tuple[int, int]]:
    """Return spans of a whole text as spans of the source in it; (0, 0) for tokens of what stands around it."""
    moved = [(max(a - before, 0), min(b - before, length)) for a, b in spans]
    return [(start + a, start + b) if a < b else (0, 0) for a, b in moved]


@contextmanager
def _source_language(tokenizer: Any) -> Iterator[Callable[[str], None]]:
    """Give a function that sets a multilingual tokenizer's source language; put the old one back at the end."""
    old = getattr(tokenizer, "src_lang", None)

    def set_language(code: str) -> None:
        if code and code != tokenizer.src_lang:
            tokenizer.src_lang = code

    try:
        yield set_language
    finally:
        if old is not None and tokenizer.src_lang != old:
            tokenizer.src_lang = old
