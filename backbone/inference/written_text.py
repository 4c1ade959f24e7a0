"""The text that tokens make: behind its prompt, up to a stop string, and piece by piece while it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

CONTEXT = 8
"""Tokens of the prompt that new ones are decoded behind: enough to hold a whole character of any script."""
BROKEN = "�"
"""What a tokenizer gives for bytes that make no character (yet)."""


class Continuation:
    """Turns the tokens that follow a prompt into text, so that prompt and text join without a seam.

    (Decoded alone, a first word would lose the space before it, or show the ``##`` of a word's inner piece.)
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._context = [int(token) for token in prompt[-CONTEXT:]]
        self._before = self._decode(self._context)

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of new tokens."""
        joined = self._decode([*self._context, *tokens])
        return joined[len(self._before) :] if joined.startswith(self._before) else self._decode(tokens)

    def _decode(self, tokens: Sequence[int]) -> str:
        decoded: str = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return decoded


def cut(text: str, stop: Sequence[str]) -> str:
    """Return a text up to where the first stop string begins."""
    return text[: min((text.find(end) for end in stop if end in text), default=len(text))]


def ends(tokens: Sequence[int], continuation: Continuation, stop: Sequence[str], stop_ids: Sequence[int]) -> int | None:
    """Return how many of the tokens belong to the text, the end token or stop string included; None: no end is there.

    What follows an end is padding, or was written past it.
    """
    wanted = set(stop_ids)
    last = next((position + 1 for position, token in enumerate(tokens) if token in wanted), None)
    found = tokens if last is None else tokens[:last]
    if stop and any(end in continuation.text(found) for end in stop):
        counts = range(1, len(found) + 1)
        return next(n for n in counts if any(end in continuation.text(found[:n]) for end in stop))
    return last


class StopTexts(StoppingCriteria):  # type: ignore[misc]  # transformers' types are not followed
    """Ends a row once its new text holds a stop string.

    ``transformers``' own criterion looks at tokens one by one and misses characters that are made of several.
    """

    def __init__(self, continuations: Sequence[Continuation], prompt_length: int, stop: Sequence[str]) -> None:
        self._continuations, self._prompt_length, self._stop = continuations, prompt_length, stop

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Tell which rows have ended."""
        del scores
        rows_per_prompt = len(input_ids) // len(self._continuations)  # several under beam search
        texts = [
            self._continuations[row // rows_per_prompt].text(tokens)
            for row, tokens in enumerate(input_ids[:, self._prompt_length :].tolist())
        ]
        found = [any(end in text for end in self._stop) for text in texts]
        return torch.tensor(found, device=input_ids.device)


class Streamer(BaseStreamer):  # type: ignore[misc]  # transformers' types are not followed
    """Hands on the text of one prompt as it grows: whole characters only, and nothing of a stop string."""

    def __init__(self, give: Callable[[str], None], continuation: Continuation, stop: Sequence[str]) -> None:
        self._give, self._continuation, self._stop = give, continuation, stop
        self._tokens: list[int] = []
        self._given = ""
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt first, then each new token."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self._tokens += value.flatten().tolist()
        self._emit(_settled(self._continuation.text(self._tokens), self._stop))

    def end(self) -> None:
        """Hand on what was held back."""
        self._emit(cut(self._continuation.text(self._tokens), self._stop))

    def _emit(self, text: str) -> None:
        if len(text) > len(self._given):
            self._give(text[len(self._given) :])
            self._given = text


def _settled(text: str, stop: Sequence[str]) -> str:
    """Return the part of a text that later tokens cannot change: no half character, no beginning of a stop string."""
    short = cut(text, stop)
    if len(short) < len(text):
        return short
    whole = text.rstrip(BROKEN)
    longest = max((len(end) for end in stop), default=1) - 1
    beginnings = (n for n in range(min(longest, len(whole)), 0, -1) if any(end.startswith(whole[-n:]) for end in stop))
    return whole[: len(whole) - next(beginnings, 0)]
