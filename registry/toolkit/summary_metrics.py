"""Score summaries by rouge-score, as a local `evaluate.Metric` class, and tell how long they are.

Import this module inside a function: `evaluate` takes seconds to load.

rouge-score's own tokenizer drops everything but ASCII letters and digits, so that Chinese text scores 0 against
itself. Here Latin words stay whole (stemmed or not) and every character of Chinese, Japanese and other scripts is a
word of its own; on text of ASCII letters and digits the tokens are those of rouge-score.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence
from statistics import fmean
from tempfile import TemporaryDirectory

import datasets
import evaluate
from rouge_score import rouge_scorer, tokenizers

from polyhead.registry.contracts import Scores
from polyhead.registry.errors import DataError
from polyhead.registry.toolkit.sentence_windows import CJK, sentences, words_of

KINDS = {"rouge1": "rouge1", "rouge2": "rouge2", "rougeL": "rouge_l", "rougeLsum": "rouge_lsum"}
"""Names of rouge-score, and those of the values."""
ASCII_SHARE = 0.9
_LETTERS = re.compile(r"[^\W\d_]")
_CHARACTER = re.compile(f"[{CJK}]")


class CharacterTokenizer(tokenizers.Tokenizer):  # type: ignore[misc]  # rouge-score ships no types
    """Words of letters and digits whole, each character of Chinese and Japanese alone; marks are dropped."""

    def tokenize(self, text: str) -> list[str]:
        """Return the tokens in lower case."""
        return words_of(text.lower())


class SummaryMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """Mean ROUGE-1, 2, L and Lsum F of summaries with one reference each; 0 to 100."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum F as rouge-score computes them.",
            citation="",
            inputs_description="Summaries and one reference for each.",
            features=datasets.Features({"predictions": text, "references": text}),
            reference_urls=["https://github.com/google-research/google-research/tree/master/rouge"],
        )

    def _compute(
        self, predictions: Sequence[str], references: Sequence[str], *, language: str, stemmer: bool
    ) -> dict[str, float]:
        scorers = {
            words: rouge_scorer.RougeScorer(list(KINDS), tokenizer=tokenizer_for(words=words, stemmer=stemmer))
            for words in (True, False)
        }
        found = [
            scorers[goes_by_words(reference, language)].score(_by_line(reference), _by_line(prediction))
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        return {name: 100.0 * fmean(scores[kind].fmeasure for scores in found) for kind, name in KINDS.items()}


def tokenizer_for(*, words: bool, stemmer: bool) -> tokenizers.Tokenizer:
    """Return rouge-score's own tokenizer for ``words``, else the one that knows every script."""
    return tokenizers.DefaultTokenizer(use_stemmer=stemmer) if words else CharacterTokenizer()


def summary_scores(
    predicted: Sequence[str],
    expected: Sequence[str],
    documents: Sequence[str],
    *,
    language: str = "auto",
    stemmer: bool = True,
) -> Scores:
    """Score summaries against one reference each.

    Values: ``rouge1``, ``rouge2``, ``rouge_l`` and ``rouge_lsum`` (mean F, in percent), ``length`` (mean tokens of a
    summary: words, and characters of Chinese) and ``compression`` (how many times longer the documents are). With
    ``language`` ``auto`` each reference says how it is cut (`goes_by_words`). Raises `DataError` for an empty input.
    """
    if not expected:
        raise DataError("nothing to score: there are no examples")
    with TemporaryDirectory() as folder:  # evaluate always makes one, by default in the user's home
        metric = SummaryMetric(cache_dir=folder, keep_in_memory=True, seed=0)
        values: dict[str, float] = metric.compute(
            predictions=predicted, references=expected, language=language, stemmer=stemmer
        )
    lengths = [sum(len(words_of(text)) for text in texts) for texts in (predicted, documents)]
    values |= {"length": lengths[0] / len(predicted), "compression": lengths[1] / lengths[0] if lengths[0] else 0.0}
    kinds = {goes_by_words(reference, language) for reference in expected}
    names = "+".join(name for words, name in ((True, "rouge-score"), (False, "character")) if words in kinds)
    stems = "yes" if stemmer and True in kinds else "no"
    version = importlib.metadata.version("rouge-score")
    return Scores(
        values, f"rouge|rouge-score:{version}|tokenizer:{names}|stemmer:{stems}|lsum:sentences|average:mean F"
    )


def goes_by_words(reference: str, language: str) -> bool:
    """Tell whether rouge-score's own tokenizer (and stemmer) fits a reference.

    It does where nearly all letters are ASCII and none is Chinese or Japanese, or where the language is said to be
    English.
    """
    if language != "auto":
        return language == "en"
    letters = _LETTERS.findall(reference)
    ascii_letters = sum(letter.isascii() for letter in letters)
    return ascii_letters >= ASCII_SHARE * len(letters) and not any(_CHARACTER.match(letter) for letter in letters)


def _by_line(text: str) -> str:
    """Return the sentences of a text, one a line: how rouge-score wants them for ROUGE-Lsum."""
    return "\n".join(sentences(text))
