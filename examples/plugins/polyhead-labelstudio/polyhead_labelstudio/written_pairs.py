"""What each task that writes texts has written, beside what was expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Pairs = list[tuple[str, str]]
"""Written and expected texts."""
PairsOf = Callable[[Sequence[Any], Sequence[Any]], Pairs]


def _translations(predictions: Sequence[Any], examples: Sequence[Any]) -> Pairs:
    return [
        (written.translation, passage.target)
        for prediction, example in zip(predictions, examples, strict=True)
        for written, passage in zip(prediction.translations, example.passages, strict=True)
        if passage.target is not None
    ]


def _summaries(predictions: Sequence[Any], examples: Sequence[Any]) -> Pairs:
    return [
        (prediction.summary, example.summary)
        for prediction, example in zip(predictions, examples, strict=True)
        if example.summary is not None
    ]


def _completions(predictions: Sequence[Any], examples: Sequence[Any]) -> Pairs:
    return [
        (prediction.text, example.completion)
        for prediction, example in zip(predictions, examples, strict=True)
        if example.completion is not None and prediction.tokens
    ]


PAIRS_OF: Mapping[str, PairsOf] = {
    "translation": _translations,
    "summarization": _summaries,
    "generation": _completions,
}
