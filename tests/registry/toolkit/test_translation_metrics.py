"""BLEU, chrF, chrF++ and TER equal those of the sacrebleu command on real rows, English and Chinese."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polyhead.registry import DataError
from polyhead.registry.toolkit import translation_metrics
from polyhead.registry.toolkit.translation_metrics import tokenizer_for, translation_scores

ROWS = 240
SAMPLE = Path(__file__).parents[3] / "configs" / "samples" / "tatoeba_en_zh" / "test.jsonl.gz"


def translations(language: str) -> tuple[list[str], list[str]]:
    """Return references, and what a model might have written: a word cut out, or another sentence altogether."""
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as file:
        references = [json.loads(line)["translation"][language] for _, line in zip(range(ROWS), file, strict=False)]
    cut = [text[: len(text) // 3] + text[len(text) // 2 :] for text in references]
    return references, [references[at - 1] if at % 5 == 0 else text for at, text in enumerate(cut)]


def run_sacrebleu(folder: Path, references: list[str], predictions: list[str], *arguments: str) -> dict[str, Any]:
    for name, texts in (("references", references), ("predictions", predictions)):
        (folder / name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", str(folder / "references"), "-i", str(folder / "predictions")]
    found = subprocess.run([*command, "-w", "6", *arguments], capture_output=True, text=True, check=True, timeout=120)
    scores = json.loads(found.stdout)
    return {score["name"]: score for score in (scores if isinstance(scores, list) else [scores])}


@pytest.mark.parametrize(
    ("language", "tokenizer", "ter"),
    [("en", "13a", ()), ("zh", "zh", ("--ter-normalized", "--ter-asian-support"))],
)
def test_scores_equal_those_of_the_command(tmp_path, language, tokenizer, ter):
    references, predictions = translations(language)
    assert len(references) == ROWS
    found = run_sacrebleu(tmp_path, references, predictions, "-m", "bleu", "chrf", "ter", "--tokenize", tokenizer, *ter)
    plus = run_sacrebleu(tmp_path, references, predictions, "-m", "chrf", "--chrf-word-order", "2")
    scores = translation_scores(predictions, references, language=language)
    assert scores.values["bleu"] == pytest.approx(found["BLEU"]["score"], abs=1e-5)
    assert scores.values["chrf"] == pytest.approx(found["chrF2"]["score"], abs=1e-5)
    assert scores.values["ter"] == pytest.approx(found["TER"]["score"], abs=1e-5)
    assert scores.values["chrf_pp"] == pytest.approx(plus["chrF2++"]["score"], abs=1e-5)
    for name, score in (("bleu", found["BLEU"]), ("chrf", found["chrF2"]), ("ter", found["TER"])):
        assert f"{name}|{score['signature']}" in scores.signature.split(" ")
    assert f"chrf_pp|{plus['chrF2++']['signature']}" in scores.signature.split(" ")
    assert 5 < scores.values["bleu"] < 95


def test_one_changed_character_is_a_small_mistake_in_chinese():
    right, wrong = "我今天早上去公园散步了。", "我今天早上去公园跑步了。"
    values = translation_scores([wrong], [right], language="zh").values
    assert values["bleu"] > 60
    assert values["ter"] == pytest.approx(100 / 12)
    assert translation_scores([wrong], [right], language="").values == values  # the script tells
    assert translation_scores([wrong], [right], language="zh", bleu_tokenizer="13a").values["bleu"] == 0.0


def test_identical_texts_are_perfect():
    for texts in (["我在家。", "ＡＢＣ，好！"], ["I was at home.", "A 👩‍👧 film"]):
        values = translation_scores(texts, texts, language="").values
        assert values == pytest.approx({"bleu": 100.0, "chrf": 100.0, "chrf_pp": 100.0, "ter": 0.0})


def test_an_empty_translation_scores_nothing():
    assert translation_scores([""], ["I was at home."], language="en").values == {
        "bleu": 0.0,
        "chrf": 0.0,
        "chrf_pp": 0.0,
        "ter": 100.0,
    }


def test_each_language_gets_a_tokenizer_that_is_there(monkeypatch, tmp_path):
    monkeypatch.setattr(translation_metrics, "SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr(translation_metrics, "_has_mecab", lambda language: False)
    codes = ("zh", "zh-TW", "en", "de", "", "ja", "ko", "th", "my")
    assert [tokenizer_for(code) for code in codes] == ["zh", "zh", "13a", "13a", "13a", "char", "char", "char", "char"]
    monkeypatch.setattr(translation_metrics, "_has_mecab", lambda language: True)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "flores200sacrebleuspm").touch()
    assert [tokenizer_for(code) for code in ("ja", "ko", "th")] == ["ja-mecab", "ko-mecab", "flores200"]


@pytest.mark.parametrize(("name", "said"), [("flores200", "its model is not at"), ("ja-mecab", "not installed")])
def test_a_tokenizer_that_is_not_there_is_refused(monkeypatch, tmp_path, name, said):
    monkeypatch.setattr(translation_metrics, "SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr(translation_metrics, "_has_mecab", lambda language: False)
    with pytest.raises(DataError, match=f"bleu_tokenizer={name}: {said}"):
        translation_scores(["a"], ["a"], language="en", bleu_tokenizer=name)


def test_nothing_to_score_is_an_error():
    with pytest.raises(DataError, match="nothing to score"):
        translation_scores([], [], language="en")
