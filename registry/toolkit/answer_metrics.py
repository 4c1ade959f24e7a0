"""Score answers to questions as SQuAD 2.0 and CMRC 2018 do, as a local `evaluate.Metric` class, with a table.

Import this module inside a function: `evaluate` takes seconds to load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import evaluate

from polyhead.registry.contracts import Scores, Table
from polyhead.registry.errors import DataError
from polyhead.registry.toolkit.answer_scores import AnswerScore, Language, answer_score, references_that_count
from polyhead.registry.toolkit.question_answering import AnswerPrediction, QuestionExample

SOURCES = {
    "en": "https://rajpurkar.github.io/SQuAD-explorer/",
    "zh": "https://github.com/ymcui/cmrc2018/blob/master/baseline/cmrc2018_evaluate.py",
}


class AnswerMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """Exact match and F1 of answers, of the answerable and the other questions apart, and by the best threshold."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="Exact match and F1 of answers, in percent, with and without the questions without an answer.",
            citation="",
            inputs_description="The answer, the best span even where it was not answered, and the no-answer score.",
            features=datasets.Features(
                {
                    "predictions": {"answer": text, "best": text, "no_answer_score": datasets.Value("float64")},
                    "references": {"answers": datasets.List(text)},
                }
            ),
            reference_urls=list(SOURCES.values()),
        )

    def _compute(
        self, predictions: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]], *, language: Language
    ) -> dict[str, float]:
        given = [references_that_count(reference["answers"], language) for reference in references]
        found = [answer_score(p["answer"], texts, language) for p, texts in zip(predictions, given, strict=True)]
        answerable = [bool(texts) for texts in given]
        values = _means("", found)
        for prefix, wanted in (("HasAns_", True), ("NoAns_", False)):
            part = [score for score, has in zip(found, answerable, strict=True) if has == wanted]
            values |= _means(prefix, part) if part else {}
        best = [answer_score(p["best"], texts, language) for p, texts in zip(predictions, given, strict=True)]
        points = [prediction["no_answer_score"] for prediction in predictions]
        answered = [bool(prediction["best"]) for prediction in predictions]
        for name in ("exact", "f1"):
            scores = [float(getattr(score, name)) for score in best]
            top, threshold = find_best_threshold(scores, points, answerable, answered)
            values |= {f"best_{name}": top, f"best_{name}_thresh": threshold}
        return values


def find_best_threshold(
    scores: Sequence[float], no_answer_scores: Sequence[float], answerable: Sequence[bool], answered: Sequence[bool]
) -> tuple[float, float]:
    """Return the best score in percent that a threshold on the no-answer scores reaches, and the lowest such threshold.

    This is ``find_best_thresh`` of SQuAD's script, but that where nothing should be answered the threshold lies below
    all scores (the script gives 0, which is right for probabilities only).
    """
    total = best = float(len(answerable) - sum(answerable))
    threshold = min(no_answer_scores) - 1.0
    for index in sorted(range(len(scores)), key=no_answer_scores.__getitem__):
        total += scores[index] if answerable[index] else -float(answered[index])
        if total > best:
            best, threshold = total, no_answer_scores[index]
    return 100.0 * best / len(scores), threshold


def answer_scores(
    predictions: Sequence[AnswerPrediction], examples: Sequence[QuestionExample], language: Language, settings: str
) -> Scores:
    """Score answers against the given ones.

    Values, in percent: ``exact`` and ``f1``, both again as ``HasAns_`` and ``NoAns_`` over the questions with and
    without an answer (absent where there are none), ``best_exact`` and ``best_f1`` by the best threshold on the
    no-answer scores, and these thresholds.

    Args:
        predictions: One for each example.
        examples: They hold the given answers.
        language: How answers are compared.
        settings: Further parts of the signature.

    Raises:
        DataError: There is nothing to score.

    """
    if not examples:
        raise DataError("nothing to score: there are no examples")
    rows = [{"answer": p.answer, "best": p.best_text, "no_answer_score": p.no_answer_score} for p in predictions]
    given = [{"answers": [answer.text for answer in example.answers or ()]} for example in examples]
    with TemporaryDirectory() as folder:  # evaluate always makes one, by default in the user's home
        values: dict[str, float] = AnswerMetric(cache_dir=folder, keep_in_memory=True, seed=0).compute(
            predictions=rows, references=given, language=language
        )
    definition = {"en": "squad-v2", "zh": "cmrc2018"}[language]
    signature = f"{definition}|language:{language}|scale:0-100|references:best|{settings}"
    return Scores(values, signature, (_table(values, predictions, examples),))


def _means(prefix: str, scores: Sequence[AnswerScore]) -> dict[str, float]:
    return {
        f"{prefix}{name}": 100.0 * sum(getattr(score, name) for score in scores) / len(scores)
        for name in ("exact", "f1")
    }


def _table(
    values: Mapping[str, float], predictions: Sequence[AnswerPrediction], examples: Sequence[QuestionExample]
) -> Table:
    """Say how many questions of each kind there are, how many were answered, and how well."""
    kinds = {"with an answer": ("HasAns_", True), "without an answer": ("NoAns_", False)}
    rows = []
    for kind, (prefix, wanted) in kinds.items():
        part = [p for p, example in zip(predictions, examples, strict=True) if bool(example.answers) == wanted]
        if f"{prefix}f1" in values:
            answered = sum(bool(prediction.answer) for prediction in part)
            rows.append((kind, len(part), answered, values[f"{prefix}exact"], values[f"{prefix}f1"]))
    return Table("Scores by kind of question", ("questions", "count", "answered", "exact", "f1"), tuple(rows))
