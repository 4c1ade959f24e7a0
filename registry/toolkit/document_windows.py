"""How whole documents become features for language modelling: every token is predicted once, and nothing is cut off.

A decoder reads a document in windows and predicts each next token: also a window's last position does, the token that
the following window begins with, so that windows need no overlap. Where they do overlap, only the later positions
count. An encoder-decoder reads the first half of each window and writes the second (prefix language modelling).

``offsets`` hold the characters of each token that is read, so that it can be told which part of the text is predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from polyhead.registry.contracts import EncodeSettings, Feature
from polyhead.registry.errors import DataError

IGNORED = -100
"""The label of a position that predicts nothing that counts (as in `losses`, which loads torch)."""
MOST_TOKENS_OF_A_CHARACTER = 4
"""Its bytes in UTF-8: room is left for moving a cut to the beginning of a character."""


def encode_documents(
    texts: Sequence[tuple[int, str]], settings: EncodeSettings, *, end_token: bool = False
) -> list[Feature]:
    """Return the features of documents, in order; none for one of a single token, which predicts nothing.

    Args:
        texts: The documents, each with the position of its example.
        settings: Tokenizer, window and overlap, and how the model reads.
        end_token: Whether a decoder's document ends with the token that ends a text, where the tokenizer puts none.

    Raises:
        DataError: ``end_token`` is wanted, and the tokenizer has no such token.

    """
    if not texts:
        return []
    tokenizer = settings.tokenizer
    found = tokenizer([text for _, text in texts], return_offsets_mapping=True, verbose=False)
    features: list[Feature] = []
    for (position, _), ids, spans in zip(texts, found["input_ids"], found["offset_mapping"], strict=True):
        if settings.family == "decoder":
            end = [end_of(tokenizer)] if end_token and ids[-1:] != [end_of(tokenizer)] else []
            features.extend(_running([*ids, *end], [*spans, *((0, 0) for _ in end)], position, settings))
        else:
            features.extend(_Halves.of(settings).features(ids, spans, position))
    return features


def predicted_spans(text: str, features: Sequence[Feature]) -> list[tuple[int, int]]:
    """Return which characters of a document its features predict.

    Of a decoder: all behind the first token, which nothing predicts. Of an encoder-decoder: the second half of each
    window.
    """
    if not features:
        return []
    if "decoder_input_ids" not in features[0].inputs:
        return [(features[0].offsets[0][1], len(text))]
    reads = [[span for span in feature.offsets if span[0] < span[1]] or [(0, 0)] for feature in features]
    ends = [*(spans[0][0] for spans in reads[1:]), len(text)]
    return [(spans[-1][1], end) for spans, end in zip(reads, ends, strict=True)]


def _running(
    ids: Sequence[int], spans: Sequence[tuple[int, int]], position: int, settings: EncodeSettings
) -> Iterator[Feature]:
    """Yield the windows of a decoder: labels are the tokens that follow, each counted in one window only."""
    start, overlap = 0, min(settings.stride, settings.max_length - 1)
    last = len(ids) - 1  # predicts nothing
    while start < last:
        end = min(start + settings.max_length, last)
        shared = overlap if start else 0
        inputs = {
            "input_ids": ids[start:end],
            "attention_mask": [1] * (end - start),
            "position_ids": list(range(end - start)),
        }
        labels = [*(IGNORED for _ in range(shared)), *ids[start + shared + 1 : end + 1]]
        yield Feature(position, inputs, {"labels": labels}, spans[start:end])
        if end == last:
            return
        start = end - overlap


@dataclass(frozen=True)
class _Halves:
    """How an encoder-decoder takes a window of a document: what stands around each half, and how much they hold."""

    settings: EncodeSettings
    before: list[int]
    after: list[int]
    opening: list[int]
    """What the decoder's own text begins with, behind its start token."""
    start: list[int]
    end: int

    @classmethod
    def of(cls, settings: EncodeSettings) -> _Halves:
        tokenizer = settings.tokenizer
        whole, bare = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
        at = whole.index(bare[0])
        before, after = whole[:at], whole[at + len(bare) :]
        start = [] if settings.decoder_start is None else [settings.decoder_start]
        opening = [token for token in before if [token] != start]
        return cls(settings, before, after, opening, start, end_of(tokenizer))

    def features(self, ids: Sequence[int], spans: Sequence[tuple[int, int]], position: int) -> Iterator[Feature]:
        """Yield the windows of one document; halves part, and windows meet, between whole characters."""
        inner = slice(len(self.before), len(ids) - len(self.after))
        ids, spans = ids[inner], spans[inner]
        longest = self.settings.max_length
        room = longest - max(len(self.before) + len(self.after), len(self.opening) + 1)
        most, begin = 2 * (room - MOST_TOKENS_OF_A_CHARACTER), 0
        chunk = max(2, most - MOST_TOKENS_OF_A_CHARACTER)
        while begin + 1 < len(ids):
            end = _between_characters(spans, min(begin + chunk, len(ids)), range(begin + 2, begin + chunk + 1))
            left = len(ids) - end
            if left == 1 or (left <= MOST_TOKENS_OF_A_CHARACTER and len(ids) - begin <= most):
                end = len(ids)  # a last character by itself cannot be divided
            middle = _between_characters(spans, (begin + end) // 2, range(begin + 1, end))
            source = [*self.before, *ids[begin:middle], *self.after]
            target = [*self.opening, *ids[middle:end], *([self.end] if end == len(ids) else [])]
            inputs = {name: [0] * len(source) for name in self.settings.tokenizer.model_input_names}
            inputs |= {"input_ids": source, "attention_mask": [1] * len(source)}
            inputs["decoder_input_ids"] = [*self.start, *target[:-1]]
            around = [*((0, 0) for _ in self.before), *spans[begin:middle], *((0, 0) for _ in self.after)]
            yield Feature(position, inputs, {"labels": target}, around)
            begin = end


def _between_characters(spans: Sequence[tuple[int, int]], at: int, allowed: range) -> int:
    """Return the cut nearest to ``at`` that divides no character between tokens; ``at`` where none is allowed."""
    near = range(MOST_TOKENS_OF_A_CHARACTER)
    cuts = [cut for step in near for cut in (at - step, at + step) if cut in allowed]
    return next((cut for cut in cuts if cut >= len(spans) or spans[cut][0] >= spans[cut - 1][1]), at)


def end_of(tokenizer: Any) -> int:
    """Return the token that ends a text.

    Raises:
        DataError: The tokenizer has none.

    """
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    if end is None:
        raise DataError("the tokenizer of this backbone has no token that ends a text (eos or sep)")
    return int(end)
