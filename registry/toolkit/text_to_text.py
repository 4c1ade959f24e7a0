"""How a source and the text to be written from it become features, for every way of reading; no torch needed.

An encoder-decoder reads ``before + source + after`` and has the target in its decoder. A decoder reads prompt and
completion in one sequence, tokenised apart, so that a prompt has the same tokens in training and when it is written
on from. A source too long for one window is cut between sentences, and each window carries ``before`` and ``after``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from polyhead.registry.contracts import EncodeSettings, Feature
from polyhead.registry.errors import DataError
from polyhead.registry.toolkit.chat_templates import chat_frame, uses_chat
from polyhead.registry.toolkit.source_windows import Pair, SourceReader, SourceWindow, plain_ids, special_tokens

__all__ = ["Pair", "encode_pairs", "encode_prompts_of"]

IGNORED = -100
"""The label of a position that predicts nothing that counts (as in `losses`, which loads torch)."""


def encode_pairs(
    pairs: Sequence[Pair], settings: EncodeSettings, *, chat: bool | None = None, system: str = ""
) -> list[Feature]:
    """Return one feature for each pair that has a target, for training and for the loss of known targets.

    Of a source that does not fit beside its target, the first window is taken, and a warning says how many these are.
    Where the features only serve to predict there are none.

    Args:
        pairs: Sources and targets; ``example`` of a feature is the position of its pair.
        settings: Tokenizer, window, and how the model reads.
        chat: ``options.chat``.
        system: A system message, for chat templates.

    Raises:
        DataError: A target leaves no room for its source, or ``chat`` asks for what is not there.

    """
    if settings.predicting:
        return []
    form = _Form.of(settings, chat, system)
    at = [position for position, pair in enumerate(pairs) if pair.target is not None]
    chosen = [pairs[position] for position in at]
    targets = form.targets(chosen)
    limits = [form.room_beside(pair, target) for pair, target in zip(chosen, targets, strict=True)]
    features, cut = [], 0
    for position, target, windows in zip(at, targets, form.reader.read(chosen, limits), strict=True):
        features.append(form.join(position, next(windows), target))
        cut += next(windows, None) is not None
    if cut:
        warnings.warn(
            f"{cut} of {len(chosen)} sources are longer than fits into {settings.max_length} tokens: training and loss "
            "see their first part only. Predictions read all of it, window by window",
            stacklevel=2,
        )
    return features


def encode_prompts_of(
    pairs: Sequence[Pair],
    settings: EncodeSettings,
    *,
    max_new_tokens: int,
    chat: bool | None = None,
    system: str = "",
) -> list[Feature]:
    """Return what the model writes on from: one feature for each window of each source, in order.

    ``offsets`` point into the source. The features of an encoder-decoder have ``decoder_input_ids`` where some pair
    has ``target_prefix_ids``. A decoder's window leaves room for ``max_new_tokens``. Other arguments and errors are
    those of `encode_pairs`.
    """
    form = _Form.of(settings, chat, system)
    limit = settings.max_length - (max_new_tokens if form.decodes else 0)
    if limit < 1:
        raise DataError(
            f"options.max_new_tokens={max_new_tokens} leaves no room for a prompt in a window of "
            f"{settings.max_length} tokens; lower it or raise data.max_length"
        )
    prefixed = not form.decodes and any(pair.target_prefix_ids for pair in pairs)
    features = []
    for position, windows in enumerate(form.reader.read(pairs, [limit] * len(pairs))):
        begun = [*form.start, *form.prefix(pairs[position])]
        for window in windows:
            inputs = {**window.inputs, "decoder_input_ids": begun} if prefixed else window.inputs
            features.append(Feature(position, inputs, {}, window.offsets))
    return features


@dataclass(frozen=True)
class _Form:
    """How sources and targets stand side by side for one family of models."""

    settings: EncodeSettings
    reader: SourceReader
    start: list[int]
    """What the decoder of an encoder-decoder begins with; a decoder has none."""
    opening: list[int]
    """What the tokenizer puts before the target of an encoder-decoder."""
    ending: list[int]
    """What ends a target."""
    chats: bool

    @classmethod
    def of(cls, settings: EncodeSettings, chat: bool | None, system: str) -> _Form:
        tokenizer, chats = settings.tokenizer, uses_chat(settings, chat)
        end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
        if end is None:
            raise DataError("the tokenizer of this backbone has no token that ends a text (eos or sep)")
        if chats:
            frame = chat_frame(tokenizer, system)
            turn = [token for token in plain_ids(tokenizer, frame.end) if token in tokenizer.all_special_ids][:1]
            ending = list(dict.fromkeys([*turn, end]))
            return cls(settings, SourceReader(settings, (), (frame.before, frame.after)), [], [], ending, chats)
        opening = special_tokens(tokenizer)
        if settings.family == "decoder":
            return cls(settings, SourceReader(settings, opening), [], [], [end], chats)
        start = [] if settings.decoder_start is None else [settings.decoder_start]
        own = [token for token in opening if [token] != start]
        return cls(settings, SourceReader(settings), start, own, [end], chats)

    @property
    def decodes(self) -> bool:
        return self.settings.family == "decoder"

    def prefix(self, pair: Pair) -> tuple[int, ...]:
        """Return the given first tokens of the target, less one that the decoder starts with anyway (mBART)."""
        given = pair.target_prefix_ids
        return given[1:] if [*given[:1]] == self.start else given

    def targets(self, pairs: Sequence[Pair]) -> list[list[int]]:
        """Return the tokens to be written for each pair, the end included."""
        if not pairs:
            return []
        tokenizer = self.settings.tokenizer
        if self.decodes:
            texts = [f"{'' if self.chats else pair.lead}{pair.target}" for pair in pairs]
            found = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            return [[*ids, *self.ending] for ids in found]
        texts = [str(pair.target) for pair in pairs]
        found = tokenizer(text_target=texts, add_special_tokens=False, verbose=False)["input_ids"]
        begun = [self.prefix(pair) if pair.target_prefix_ids else self.opening for pair in pairs]
        return [[*first, *ids, *self.ending] for first, ids in zip(begun, found, strict=True)]

    def room_beside(self, pair: Pair, target: Sequence[int]) -> int:
        """Return how many tokens of the window the target leaves for the prompt or source."""
        longest = self.settings.max_length
        room = longest - len(target) if self.decodes else longest
        if room < 1 or len(target) > longest:
            raise DataError(
                f"example '{pair.id}': its target has {len(target)} tokens, too many for a window of {longest}; "
                "raise data.max_length or shorten the target"
            )
        return room

    def join(self, position: int, window: SourceWindow, target: list[int]) -> Feature:
        """Return the feature of a source, or prompt, and its target."""
        if not self.decodes:
            begun = [*self.start, *target[:-1]]
            return Feature(position, {**window.inputs, "decoder_input_ids": begun}, {"labels": target})
        prompt = window.inputs["input_ids"]
        length = len(prompt) + len(target)
        inputs = {
            "input_ids": [*prompt, *target],
            "attention_mask": [1] * length,
            "position_ids": list(range(length)),
        }
        tokens = [*(IGNORED for _ in prompt), *target]
        return Feature(position, inputs, {"labels": [*tokens[1:], IGNORED]})  # each position predicts the next token
