"""How predictions are scored, and what they are compared with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from polyhead.registry import Scores, TaskSetup
from polyhead.registry.toolkit.answer_scores import (
    Language,
    answer_score,
    best_threshold,
    language_of,
    normalised,
    references_that_count,
    segments,
)
from polyhead.registry.toolkit.question_answering import (
    AnswerPrediction,
    FoundSpan,
    QuestionExample,
    no_answer_threshold,
)

__all__ = ["baseline", "calibrate", "headline", "score"]

_SENTENCE = re.compile(r"[^。！？!?\n]+?(?:[。！？!?]+[”’」』）]*|\.(?=\s|$)|(?=\n)|$)")


def score(predictions: Sequence[AnswerPrediction], examples: Sequence[QuestionExample], setup: TaskSetup) -> Scores:
    """Compute exact match and F1 as SQuAD 2.0 does, for Chinese as CMRC 2018 does."""
    from polyhead.registry.toolkit.answer_metrics import answer_scores  # heavy: imports evaluate

    chosen = "auto" if setup.options.language == "auto" else "set"
    settings = f"chosen:{chosen}|null_threshold:{no_answer_threshold(setup):.4g}"
    return answer_scores(predictions, examples, _language(examples, setup), settings)


def headline(setup: TaskSetup) -> str:  # noqa: ARG001 - the contract's form
    """Name the value that decides which model is best."""
    return "f1"


def calibrate(
    predictions: Sequence[AnswerPrediction], examples: Sequence[QuestionExample], setup: TaskSetup
) -> TaskSetup:
    """Choose the no-answer score above which a question stays unanswered, for the best F1.

    Nothing changes where the options give a threshold, where each question must be answered, or where all these
    questions have an answer.
    """
    free = setup.options.null_threshold is None and no_answer_threshold(setup) < float("inf")
    language = _language(examples, setup)
    given = [_texts(example, language) for example in examples]
    if not free or all(given):
        return setup
    scores = [answer_score(p.best_text, texts, language).f1 for p, texts in zip(predictions, given, strict=True)]
    threshold = best_threshold(scores, [p.no_answer_score for p in predictions], [bool(texts) for texts in given])
    return replace(setup, facts={**setup.facts, "null_threshold": threshold})


def baseline(examples: Sequence[QuestionExample], setup: TaskSetup) -> list[AnswerPrediction]:
    """Answer nothing, or the sentence that shares most words with the question: whichever has the better F1 here."""
    language = _language(examples, setup)
    nothing = [AnswerPrediction(example.id, "", None, None, None, 1.0, 0.0, ()) for example in examples]
    sentences = [_nearest_sentence(example, language) for example in examples]

    def f1(predictions: Sequence[AnswerPrediction]) -> float:
        return sum(
            answer_score(prediction.answer, _texts(example, language), language).f1
            for prediction, example in zip(predictions, examples, strict=True)
        )

    return max((nothing, sentences), key=f1)


def _language(examples: Sequence[QuestionExample], setup: TaskSetup) -> Language:
    """Return how these answers are compared: as the options say, or by the given answers themselves."""
    chosen: str = setup.options.language
    if chosen != "auto":
        return "zh" if chosen == "zh" else "en"
    given = [answer.text for example in examples for answer in example.answers or ()]
    return language_of(given or [context for example in examples for context in example.contexts])


def _texts(example: QuestionExample, language: Language) -> list[str]:
    return references_that_count((answer.text for answer in example.answers or ()), language)


def _nearest_sentence(example: QuestionExample, language: Language) -> AnswerPrediction:
    """Answer the first sentence among those with most of the question's words (Chinese: its characters)."""
    wanted = set(_words(example.question, language))
    sentences = list(_sentences(example))
    if not sentences:
        return AnswerPrediction(example.id, "", None, None, None, 1.0, 0.0, ())
    best = max(sentences, key=lambda span: len(wanted.intersection(_words(span.text, language))))
    return AnswerPrediction(example.id, best.text, best.start, best.end, best.paragraph, 1.0, 0.0, (best,))


def _sentences(example: QuestionExample) -> Iterator[FoundSpan]:
    for number, context in enumerate(example.contexts):
        for match in _SENTENCE.finditer(context):
            text = match.group().strip()
            if text:
                start = match.start() + match.group().index(text)
                yield FoundSpan(text, start, start + len(text), number, 1.0)


def _words(text: str, language: Language) -> Sequence[str]:
    return segments(text) if language == "zh" else normalised(text).split()
