"""Heads, loss, writing and decoding: the next token, how likely a known text is, and what was written on."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from polyhead.plugins.generation.data import GenerationExample
from polyhead.registry import Generated, GenerationSettings, TaskSetup, Window
from polyhead.registry.toolkit.document_windows import predicted_spans
from polyhead.registry.toolkit.language_model import (
    NLL,
    TARGETS,
    causal_head,
    count_targets,
    default_head,
    label_fields,
    loss,
)
from polyhead.registry.toolkit.sentence_windows import CJK
from polyhead.registry.toolkit.writing_options import generation_settings
from polyhead.registry.toolkit.written_texts import WrittenText, generated_windows, tidy

__all__ = ["causal_head", "count_targets", "decode", "default_head", "generation", "label_fields", "loss"]

_TOUCHING, _APART = re.compile(rf"[{CJK}](?=[{CJK}])"), re.compile(rf"[{CJK}] +(?=[{CJK}])")


@dataclass(frozen=True)
class Likelihood:
    """How likely the model finds the known text of an example: a document, or a completion."""

    nll: float
    """Negative log-likelihood, natural logarithm, summed over the scored tokens."""
    tokens: int
    """How many tokens are scored; 0 where it was not tokens (the baseline's characters)."""
    characters: int
    """How many characters these tokens cover."""
    bytes: int
    """How many bytes of UTF-8 these characters are."""

    @property
    def perplexity(self) -> float:
        """Return the exponential of the mean over the tokens."""
        return math.exp(min(self.nll / self.tokens, 700.0)) if self.tokens else math.nan


@dataclass(frozen=True)
class GenerationPrediction:
    """What was written on from a prompt, and how likely the model finds the known text, where there is one."""

    id: str
    prompt: str
    text: str
    log_probability: float
    """Natural logarithm, summed over the tokens of ``text``, the end token included."""
    tokens: int
    finished: bool
    """False where ``max_new_tokens`` cut it off."""
    candidates: tuple[WrittenText, ...] = ()
    """All that were written, best first, where there are several."""
    likelihood: Likelihood | None = None
    perplexity: float | None = None


def generation(setup: TaskSetup) -> GenerationSettings:
    """Return how texts are written."""
    return generation_settings(setup.options)


def decode(example: GenerationExample, windows: Sequence[Window], setup: TaskSetup) -> GenerationPrediction:  # noqa: ARG001
    """Add up the likelihood of the known text over its windows, and take what was written."""
    written = [_written(text) for window in generated_windows(windows) for text in window.generated]
    best = written[0] if written else WrittenText("", 0.0, 0, finished=False)
    likelihood = _likelihood(example, [window for window in windows if NLL in window.outputs])
    return GenerationPrediction(
        id=example.id,
        prompt=example.asked if written or example.text is None else "",
        text=best.text,
        log_probability=best.log_probability,
        tokens=best.tokens,
        finished=best.finished,
        candidates=tuple(written) if len(written) > 1 else (),
        likelihood=likelihood,
        perplexity=likelihood.perplexity if likelihood is not None and likelihood.tokens else None,
    )


def _likelihood(example: GenerationExample, windows: Sequence[Window]) -> Likelihood | None:
    tokens = sum(int(window.outputs[TARGETS]) for window in windows)
    if not tokens:
        return None
    covered = example.completion or ""
    if example.text is not None:
        spans = predicted_spans(example.text, [window.feature for window in windows])
        covered = "".join(example.text[start:end] for start, end in spans)
    nll = sum(float(window.outputs[NLL]) for window in windows)
    return Likelihood(nll, tokens, len(covered), len(covered.encode()))


def _written(generated: Generated) -> WrittenText:
    text = tidy(generated.text) if _is_spaced_out(generated.text) else generated.text
    return WrittenText(text, generated.log_probability, generated.tokens, generated.finished)


def _is_spaced_out(text: str) -> bool:
    """Tell whether all neighbouring Chinese characters have blanks between them, as WordPiece gives them back."""
    return _APART.search(text) is not None and _TOUCHING.search(text) is None
