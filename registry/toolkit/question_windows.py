"""How a question and a paragraph become windows: the question whole in each, the paragraph cut with an overlap.

Question and paragraph are tokenised apart, each text once, and put together by ids: as the tokenizer puts pairs
together where it knows pairs, otherwise (and for decoders always) by a template of text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from polyhead.registry.contracts import EncodeSettings

OUTSIDE = (-1, -1)
"""The offset of a token that no answer may hold: the question, what stands around it, tokens without a character."""
NO_ANSWER = (-2, -2)
"""The offset of the token that start and end point to where a window holds no answer."""

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Tokens:
    """The tokens of a text, nothing around them, and the characters that each stands for."""

    ids: Sequence[int]
    spans: Spans


@dataclass(frozen=True)
class QuestionWindow:
    """One window: the model's inputs and, for each token, its characters in the paragraph."""

    inputs: dict[str, list[int]]
    offsets: list[tuple[int, int]]
    first: int
    """The paragraph's token that the window begins with."""
    stop: int
    """The paragraph's token that it ends before."""
    lead: int
    """Tokens in front of the paragraph."""
    no_answer: int
    """The token that stands for "no answer"."""


@dataclass(frozen=True)
class Frame:
    """What stands before the question, between it and the paragraph, and behind, the same in every window."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[int, ...] | None = None
    """Token types of: before, question, between, paragraph, after; None where the tokenizer gives none."""
    no_answer_last: bool = False
    """Whether the last token stands for "no answer" (it has read everything, whatever the mask), not the first."""

    @cached_property
    def size(self) -> int:
        """Return how many tokens these are together."""
        return len(self.before) + len(self.between) + len(self.after)

    def windows(
        self, question: Sequence[int], context: Tokens, max_length: int, stride: int
    ) -> Iterator[QuestionWindow]:
        """Yield the windows of one paragraph, as ``truncation="only_second"`` cuts it; none if there is no room."""
        room = max_length - self.size - len(question)
        if room < 1:
            return
        step = room - min(stride, room - 1)
        first = 0
        while True:
            stop = min(first + room, len(context.ids))
            yield self._window(question, context, first, stop)
            if stop == len(context.ids):
                return
            first += step

    def _window(self, question: Sequence[int], context: Tokens, first: int, stop: int) -> QuestionWindow:
        parts = (self.before, question, self.between, context.ids[first:stop], self.after)
        ids = [token for part in parts for token in part]
        inputs = {"input_ids": ids}
        if self.types is not None:
            inputs["token_type_ids"] = [kind for kind, part in zip(self.types, parts, strict=True) for _ in part]
        inputs["attention_mask"] = [1] * len(ids)
        lead = len(self.before) + len(question) + len(self.between)
        spans = [span if span[0] < span[1] else OUTSIDE for span in context.spans[first:stop]]
        offsets = [*[OUTSIDE] * lead, *spans, *[OUTSIDE] * len(self.after)]
        no_answer = len(ids) - 1 if self.no_answer_last else 0
        offsets[no_answer] = NO_ANSWER
        return QuestionWindow(inputs, offsets, first, stop, lead, no_answer)


def frame_of(settings: EncodeSettings, template: str) -> Frame:
    """Return what stands around question and paragraph for this tokenizer and family of models.

    Args:
        settings: Tokenizer and family.
        template: Text with ``{question}`` and then ``{context}``: for decoders, and for tokenizers without a form of
            their own for pairs.

    """
    tokenizer = settings.tokenizer
    knows_pairs = tokenizer.num_special_tokens_to_add(pair=True) > tokenizer.num_special_tokens_to_add(pair=False)
    if settings.family != "decoder" and knows_pairs:
        return _pair_frame(settings)
    before, rest = template.split("{question}")
    between, after = rest.split("{context}")
    single = tokenizer("a", add_special_tokens=True, return_special_tokens_mask=True, verbose=False)
    special, ids = single["special_tokens_mask"], single["input_ids"]
    text = [position for position, mark in enumerate(special) if not mark]
    parts = [
        tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"] if part else []
        for part in (before, between, after)
    ]
    return Frame(
        (*ids[: text[0]], *parts[0]),
        tuple(parts[1]),
        (*parts[2], *ids[text[-1] + 1 :]),
        (0,) * 5 if "token_type_ids" in single else None,
        no_answer_last=bool(parts[2]) or text[-1] + 1 < len(ids),
    )


def _pair_frame(settings: EncodeSettings) -> Frame:
    """Return what the tokenizer itself puts around the two texts of a pair."""
    pair = settings.tokenizer("a", "b", verbose=False)
    ids, sides = pair["input_ids"], pair.sequence_ids()
    places = [[position for position, side in enumerate(sides) if side == wanted] for wanted in (0, 1)]
    (first, second), (third, fourth) = ((found[0], found[-1] + 1) for found in places)
    kinds = pair.get("token_type_ids")

    def kind_at(position: int) -> int:
        return kinds[position] if kinds is not None and position < len(ids) else 0

    types = tuple(kind_at(position) for position in (0, first, second, third, fourth))
    return Frame(tuple(ids[:first]), tuple(ids[second:third]), tuple(ids[fourth:]), None if kinds is None else types)


def tokenise(settings: EncodeSettings, texts: Sequence[str]) -> dict[str, Tokens]:
    """Return the tokens of each of these texts, each tokenised once."""
    unique = list(dict.fromkeys(texts))
    found = settings.tokenizer(unique, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return {
        text: Tokens(ids, spans)
        for text, ids, spans in zip(unique, found["input_ids"], found["offset_mapping"], strict=True)
    }
