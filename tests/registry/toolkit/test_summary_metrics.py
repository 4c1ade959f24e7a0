"""ROUGE equals rouge-score on real rows; Chinese goes by character."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from statistics import fmean

import pytest
from rouge_score import rouge_scorer

from polyhead.registry import DataError
from polyhead.registry.toolkit.sentence_windows import sentences
from polyhead.registry.toolkit.summary_metrics import summary_scores

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"
NAMES = {"rouge1": "rouge1", "rouge2": "rouge2", "rouge_l": "rougeL", "rouge_lsum": "rougeLsum"}


def rows(name: str, most: int) -> list[dict[str, str]]:
    with gzip.open(SAMPLES / name / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for _, line in zip(range(most), file, strict=False)]


class Characters:
    """What a plain reader would write down: Chinese characters one by one, runs of Latin letters and digits whole."""

    def tokenize(self, text: str) -> list[str]:
        spaced = "".join(f" {sign} " if "\u4e00" <= sign <= "\u9fff" else sign for sign in text.lower())
        return "".join(sign if sign.isalnum() else " " for sign in spaced).split()


def by_line(text: str) -> str:
    return "\n".join(sentences(text))


@pytest.mark.parametrize("stemmer", [True, False])
def test_english_equals_rouge_score(stemmer):
    found = rows("scitldr", 250)
    predictions = [" ".join(sentences(row["document"])[:2]) for row in found]
    references = [row["summary"] for row in found]
    scorer = rouge_scorer.RougeScorer(list(NAMES.values()), use_stemmer=stemmer)
    expected = [scorer.score(by_line(a), by_line(b)) for a, b in zip(references, predictions, strict=True)]
    scores = summary_scores(predictions, references, [row["document"] for row in found], stemmer=stemmer)
    assert len(found) == 250
    for name, theirs in NAMES.items():
        assert scores.values[name] == pytest.approx(100 * fmean(score[theirs].fmeasure for score in expected), abs=1e-9)
    assert f"|tokenizer:rouge-score|stemmer:{'yes' if stemmer else 'no'}|" in scores.signature


def test_chinese_equals_rouge_score_by_character():
    found = rows("csl_title", 200)
    predictions, references = [row["document"][:40] for row in found], [row["summary"] for row in found]
    scorer = rouge_scorer.RougeScorer(list(NAMES.values()), tokenizer=Characters())
    expected = [scorer.score(by_line(a), by_line(b)) for a, b in zip(references, predictions, strict=True)]
    scores = summary_scores(predictions, references, [row["document"] for row in found])
    assert len(found) == 200
    for name, theirs in NAMES.items():
        assert scores.values[name] == pytest.approx(100 * fmean(score[theirs].fmeasure for score in expected), abs=1e-9)
    assert "|tokenizer:character|stemmer:no|" in scores.signature


@pytest.mark.parametrize(
    "texts",
    [
        ["铁掺杂纳米TiO2的光催化研究。很好！", "ＡＢＣ全角与 BERT"],
        ["A warm film.", "It is long. It is dull."],
        ["Хороший фильм.", "Größe zählt"],
    ],
)
def test_identical_texts_score_100(texts):
    values = summary_scores(texts, texts, texts).values
    assert [values[name] for name in NAMES] == pytest.approx([100.0] * 4)


def test_the_scale_and_the_lengths():
    scores = summary_scores(["the cat"], ["the cat sat down"], ["a b c d e f g h"])
    assert scores.values["rouge1"] == pytest.approx(100 * 2 * 1.0 * 0.5 / 1.5)
    assert (scores.values["length"], scores.values["compression"]) == (2.0, 4.0)
    chinese = summary_scores(["好看"], ["很好看"], ["这部电影真好看"])
    assert (chinese.values["length"], chinese.values["compression"]) == (2.0, 3.5)


def test_the_language_can_be_said():
    assert summary_scores(["电影 x"], ["电影 y"], ["电影"], language="en").values["rouge1"] == 0.0
    assert summary_scores(["running"], ["runs"], ["run"], language="en").values["rouge1"] == pytest.approx(100.0)
    assert summary_scores(["running"], ["runs"], ["run"], language="zh").values["rouge1"] == 0.0


def test_each_reference_says_how_it_is_cut():
    texts = ["Pooling works.", "池化研究", "库 PyTorch Transformers Datasets"]
    scores = summary_scores(texts, texts, texts)
    assert scores.values["rouge1"] == pytest.approx(100.0)
    assert "|tokenizer:rouge-score+character|stemmer:yes|" in scores.signature


def test_nothing_written_and_nothing_to_score():
    values = summary_scores([""], ["a b"], ["a b c"]).values
    assert (values["rouge1"], values["length"], values["compression"]) == (0.0, 0.0, 0.0)
    with pytest.raises(DataError, match="nothing to score"):
        summary_scores([], [], [])
