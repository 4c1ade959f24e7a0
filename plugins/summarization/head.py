"""Heads, loss, writing and decoding: the next token, and the summary of a document's windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polyhead.plugins.summarization.data import SummarizationExample
from polyhead.registry import GenerationSettings, TaskSetup, Window
from polyhead.registry.toolkit.language_model import causal_head, count_targets, default_head, label_fields, loss
from polyhead.registry.toolkit.writing_options import generation_settings
from polyhead.registry.toolkit.written_texts import WrittenText, generated_windows, join_windows

__all__ = ["causal_head", "count_targets", "decode", "default_head", "generation", "label_fields", "loss"]


@dataclass(frozen=True)
class SummaryPrediction:
    """The summary of a document."""

    id: str
    summary: str
    log_probability: float
    """Natural logarithm, summed over all tokens of the last round."""
    tokens: int
    finished: bool
    """False where ``max_new_tokens`` cut it off."""
    windows: int
    """From how many parts it was joined, in the last round."""
    rounds: int
    """How often the document was summarised: more than once where it was longer than a window."""
    candidates: tuple[WrittenText, ...] = ()
    """All that were written, best first, where there are several."""


def generation(setup: TaskSetup) -> GenerationSettings:
    """Return how summaries are written."""
    return generation_settings(setup.options)


def decode(example: SummarizationExample, windows: Sequence[Window], setup: TaskSetup) -> SummaryPrediction:  # noqa: ARG001
    """Join the summaries of the document's windows; empty where nothing was written."""
    written = join_windows(generated_windows(windows))
    best = written.best
    return SummaryPrediction(
        id=example.id,
        summary=best.text,
        log_probability=best.log_probability,
        tokens=best.tokens,
        finished=best.finished,
        windows=written.windows,
        rounds=example.rounds + 1,
        candidates=written.candidates if len(written.candidates) > 1 else (),
    )
