"""Heads, loss, writing and decoding: the next token, and the texts that windows were translated into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polyhead.plugins.translation.data import Passage, TranslationExample
from polyhead.registry import GenerationSettings, TaskSetup, Window
from polyhead.registry.toolkit.language_model import causal_head, count_targets, default_head, label_fields, loss
from polyhead.registry.toolkit.writing_options import generation_settings
from polyhead.registry.toolkit.written_texts import WrittenText, by_source, generated_windows, join_windows

__all__ = ["causal_head", "count_targets", "decode", "default_head", "generation", "label_fields", "loss"]


@dataclass(frozen=True)
class Translated:
    """A translation in one direction."""

    translation: str
    source_language: str
    target_language: str
    log_probability: float
    """Natural logarithm, summed over all tokens of all windows."""
    tokens: int
    finished: bool
    """False where ``max_new_tokens`` cut it off."""
    windows: int
    """From how many parts of the source it was joined."""
    candidates: tuple[WrittenText, ...] = ()
    """All that were written, best first, where there are several."""


@dataclass(frozen=True)
class TranslationPrediction:
    """The translation of a row; of several directions, that of the first, and all of them."""

    id: str
    translation: str
    log_probability: float
    finished: bool
    translations: tuple[Translated, ...]

    @classmethod
    def of(cls, example_id: str, translations: Sequence[Translated]) -> TranslationPrediction:
        """Return the prediction that these translations make."""
        first = translations[0]
        return cls(example_id, first.translation, first.log_probability, first.finished, tuple(translations))


def generation(setup: TaskSetup) -> GenerationSettings:
    """Return how translations are written."""
    return generation_settings(setup.options)


def decode(example: TranslationExample, windows: Sequence[Window], setup: TaskSetup) -> TranslationPrediction:  # noqa: ARG001
    """Join the translations of the windows of each direction; empty where nothing was written."""
    groups = by_source(generated_windows(windows)) or [[] for _ in example.passages]
    found = tuple(_translated(passage, group) for passage, group in zip(example.passages, groups, strict=True))
    return TranslationPrediction.of(example.id, found)


def _translated(passage: Passage, windows: Sequence[Window]) -> Translated:
    written = join_windows(windows)
    best = written.best
    return Translated(
        translation=best.text,
        source_language=passage.source_language,
        target_language=passage.target_language,
        log_probability=best.log_probability,
        tokens=best.tokens,
        finished=best.finished,
        windows=written.windows,
        candidates=written.candidates if len(written.candidates) > 1 else (),
    )
