"""Heads, loss and decoding: which tokens are restored, and how likely the right ones are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from polyhead.plugins.pretraining.data import PretrainingExample
from polyhead.registry import HeadSpec, TaskSetup, Window
from polyhead.registry.toolkit.language_model import (
    NLL,
    RIGHT,
    TARGETS,
    causal_head,
    count_targets,
    default_head,
    label_fields,
    loss,
)

__all__ = ["causal_head", "count_targets", "decode", "default_head", "label_fields", "loss", "masked_head"]


@dataclass(frozen=True)
class PretrainingPrediction:
    """How well a document's tokens were restored, or foretold."""

    id: str
    nll: float
    """Negative log-likelihood of the right tokens, natural logarithm, summed."""
    tokens: int
    """How many tokens were to be restored."""
    right: int
    """How often the likeliest token was the right one."""
    perplexity: float | None = None


def masked_head(setup: TaskSetup) -> HeadSpec:  # noqa: ARG001 - the contract's form
    """Restore tokens with an encoder's own masked-language-model head."""
    return HeadSpec(size=1, auto_class="AutoModelForMaskedLM")


def decode(example: PretrainingExample, windows: Sequence[Window], setup: TaskSetup) -> PretrainingPrediction:  # noqa: ARG001
    """Add up the windows of a document."""
    nll = math.fsum(float(window.outputs[NLL]) for window in windows)
    tokens = sum(int(window.outputs[TARGETS]) for window in windows)
    right = sum(int(window.outputs[RIGHT]) for window in windows)
    perplexity = math.exp(min(nll / tokens, 700.0)) if tokens else None
    return PretrainingPrediction(example.id, nll, tokens, right, perplexity)
