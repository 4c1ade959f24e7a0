"""How documents become windows that are restored: no token is left out, none is in two, and words stay whole.

Each window says of its tokens which word and which sentence they belong to, so that hiding some of them later needs no
text any more. Import this module inside a function: it loads numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from polyhead.registry.contracts import EncodeSettings, Feature
from polyhead.registry.errors import DataError
from polyhead.registry.toolkit.document_windows import end_of
from polyhead.registry.toolkit.sentence_windows import sentence_ends
from polyhead.registry.toolkit.word_boundaries import WordCutter, words_of_tokens

AROUND = -1
"""The word and the sentence of a token that the tokenizer puts around a text."""


@dataclass(frozen=True)
class Frame:
    """What a tokenizer puts around a text."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Any) -> Frame:
        """Return what stands around a text of this tokenizer."""
        whole, bare = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
        at = whole.index(bare[0])
        return cls(tuple(whole[:at]), tuple(whole[at + len(bare) :]))

    def __len__(self) -> int:
        """Return how many tokens stand around a text."""
        return len(self.before) + len(self.after)

    def around(self, values: Sequence[int], fill: int | None = None) -> list[int]:
        """Return token ids with what stands around them, or other values of tokens with a filling there."""
        if fill is None:
            return [*self.before, *values, *self.after]
        return [*(fill for _ in self.before), *values, *(fill for _ in self.after)]


@dataclass(frozen=True)
class PairFrame:
    """What stands around a text that is read and one that is written, on an encoder-decoder."""

    reading: Frame
    start: tuple[int, ...]
    """What the decoder begins with."""
    opening: tuple[int, ...]
    """What a written text begins with."""
    end: int

    @classmethod
    def of(cls, settings: EncodeSettings) -> PairFrame:
        """Return what stands around the texts of these settings; found out once for each tokenizer."""
        return _pair_frame(settings.tokenizer, settings.decoder_start)

    @property
    def most(self) -> int:
        """Return how many tokens stand around a text at most."""
        return max(len(self.reading), len(self.opening) + 1)

    def written_length(self, length: int) -> int:
        """Return how many tokens the decoder reads of a written text."""
        return len(self.start) + len(self.opening) + length

    def feature(self, example: int, read: Sequence[int], written: Sequence[int], tokenizer: Any) -> Feature:
        """Return the feature that reads one text and writes another."""
        target = [*self.opening, *written, self.end]
        inputs = model_inputs(self.reading.around(read), tokenizer)
        return Feature(example, {**inputs, "decoder_input_ids": [*self.start, *target[:-1]]}, {"labels": target})


@lru_cache(maxsize=8)
def _pair_frame(tokenizer: Any, decoder_start: int | None) -> PairFrame:
    frame = Frame.of(tokenizer)
    start = () if decoder_start is None else (decoder_start,)
    opening = tuple(token for token in frame.before if (token,) != start)
    return PairFrame(frame, start, opening, end_of(tokenizer))


def model_inputs(ids: Sequence[int], tokenizer: Any) -> dict[str, list[int]]:
    """Return tokens as inputs of a model, under all names that the tokenizer gives."""
    inputs = {name: [0] * len(ids) for name in tokenizer.model_input_names}
    return {**inputs, "input_ids": list(ids), "attention_mask": [1] * len(ids)}


@dataclass(frozen=True)
class TextWindow:
    """A part of a document, without what the tokenizer puts around a text."""

    example: int
    ids: list[int]
    words: list[int]
    """The number of each token's word."""
    sentences: list[int]
    """The number of each token's sentence."""


def text_windows(
    texts: Sequence[str], settings: EncodeSettings, cutter: WordCutter | None, *, around: int
) -> Iterator[TextWindow]:
    """Yield the windows of documents, in order; none for one without tokens.

    Args:
        texts: The documents.
        settings: Tokenizer and window length; windows do not overlap.
        cutter: Tells words apart; None: each token is a word.
        around: How many tokens of a window are needed for what stands around a text.

    Raises:
        DataError: No token of a text would fit into a window.

    """
    room = settings.max_length - around
    if room < 1:
        raise DataError(f"data.max_length: {settings.max_length} leaves no room for text; {around + 1} is the least")
    found = settings.tokenizer(
        list(texts), add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False
    )
    for example, (text, ids, spans) in enumerate(zip(texts, found["input_ids"], found["offset_mapping"], strict=True)):
        if not ids:
            continue
        words = np.arange(len(ids)) if cutter is None else words_of_tokens(text, spans, cutter)
        starts = np.asarray(spans, dtype=np.int64)[:, 0]
        sentences = np.searchsorted(np.asarray(sentence_ends(text)), starts, side="right")
        begin = 0
        while begin < len(ids):
            end = _end_of_window(words, begin, room)
            part = slice(begin, end)
            yield TextWindow(
                example, ids[part], (words[part] - words[begin]).tolist(), (sentences[part] - sentences[begin]).tolist()
            )
            begin = end


def _end_of_window(words: np.ndarray[Any, np.dtype[np.int64]], begin: int, room: int) -> int:
    """Return where a window ends: between two words, unless one word alone fills it."""
    end = min(begin + room, len(words))
    if end == len(words) or words[end] != words[end - 1]:
        return end
    word_begins = int(np.searchsorted(words, words[end]))
    return word_begins if word_begins > begin else end
