"""How translations are scored, by direction, and what they are compared with: the source itself."""

from __future__ import annotations

from collections.abc import Sequence

from polyhead.plugins.translation.data import TranslationExample
from polyhead.plugins.translation.head import Translated, TranslationPrediction
from polyhead.registry import DataError, Scores, Table, TaskSetup


def score(
    predictions: Sequence[TranslationPrediction], examples: Sequence[TranslationExample], setup: TaskSetup
) -> Scores:
    """Compute BLEU, chrF, chrF++ and TER; with several directions their mean, and those of each (TER in the table)."""
    from polyhead.registry.toolkit.translation_metrics import translation_scores  # heavy: imports evaluate

    scores = {
        name: translation_scores(predicted, expected, language=language, bleu_tokenizer=setup.options.bleu_tokenizer)
        for name, (language, predicted, expected) in _by_direction(predictions, examples).items()
    }
    if len(scores) == 1:
        return next(iter(scores.values()))
    names = list(next(iter(scores.values())).values)
    values = {name: sum(found.values[name] for found in scores.values()) / len(scores) for name in names}
    rows: list[tuple[str | float, ...]] = []
    for direction, found in scores.items():
        values |= {f"{name}_{direction}": found.values[name] for name in names if name != "ter"}
        rows.append((direction, *(found.values[name] for name in names)))
    signature = " ".join(f"{direction}: {found.signature}" for direction, found in scores.items())
    return Scores(values, signature, (Table("Scores by direction", ("direction", *names), tuple(rows)),))


def headline(setup: TaskSetup) -> str:  # noqa: ARG001 - the contract's form
    """Name the value that decides which model is best: chrF needs no words, so it compares all languages."""
    return "chrf"


def baseline(examples: Sequence[TranslationExample], setup: TaskSetup) -> list[TranslationPrediction]:  # noqa: ARG001
    """Give back the source as it is."""
    return [
        TranslationPrediction.of(
            example.id,
            [
                Translated(passage.source, passage.source_language, passage.target_language, 0.0, 0, True, 1)
                for passage in example.passages
            ],
        )
        for example in examples
    ]


def _by_direction(
    predictions: Sequence[TranslationPrediction], examples: Sequence[TranslationExample]
) -> dict[str, tuple[str, list[str], list[str]]]:
    """Return for each direction its target language, the translations and their references."""
    found: dict[str, tuple[str, list[str], list[str]]] = {}
    for prediction, example in zip(predictions, examples, strict=True):
        for translated, passage in zip(prediction.translations, example.passages, strict=True):
            _, predicted, expected = found.setdefault(passage.direction.name, (passage.target_language, [], []))
            predicted.append(translated.translation)
            expected.append(passage.target or "")
    if not found:
        raise DataError("nothing to score: there are no examples")
    return found
