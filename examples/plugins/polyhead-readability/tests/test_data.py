"""Rows, windows and numbers of the task, and the formula that makes labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polyhead.registry import DataError, Feature, RowError, RunError, TaskSetup, Window
from polyhead_readability import data, head, metrics
from polyhead_readability.data import GradedText
from polyhead_readability.flesch import reading_ease, syllables
from polyhead_readability.head import Readability
from polyhead_readability.make_data import main

SETUP = TaskSetup(None, (), {"mean": 50.0, "deviation": 10.0})


def windows(*found: tuple[int, float]) -> list[Window]:
    """Return windows of so many tokens with their outputs."""
    import numpy as np

    return [Window(Feature(0, {"input_ids": [1] * size}), {"logits": np.array([value])}) for size, value in found]


def test_a_long_text_is_the_mean_of_its_windows_weighted_by_their_tokens() -> None:
    example = GradedText("1", "a text")
    assert head.decode(example, windows((30, 1.0), (10, -1.0)), SETUP) == Readability("1", 55.0)


@pytest.mark.parametrize("score", [7, 7.0, "7", " 7.0 "])
def test_a_number_may_be_written_as_text(score: Any) -> None:
    assert data.to_example({"text": "好", "score": score}, "1", None).score == 7.0


@pytest.mark.parametrize("score", ["hard", float("nan"), float("inf"), True, [1]])
def test_what_is_no_number_is_refused(score: Any) -> None:
    with pytest.raises(RowError, match="expected a number"):
        data.to_example({"text": "a", "score": score}, "1", None)


def test_what_is_learned_of_the_training_data() -> None:
    texts = [GradedText(str(number), "a", score=number) for number in (1.0, 3.0)]
    assert data.prepare(texts, None).facts == {"mean": 2.0, "deviation": 1.0}
    with pytest.raises(DataError, match="one score only"):
        data.prepare(texts[:1], None)
    with pytest.raises(RowError, match="has none"):
        data.prepare([GradedText("1", "a")], None)


def test_a_model_of_others_has_one_output() -> None:
    assert data.setup_from_labels(("LABEL_0",), None).facts == {"mean": 0.0, "deviation": 1.0}
    with pytest.raises(RunError, match="3 labels"):
        data.setup_from_labels(("a", "b", "c"), None)


@pytest.mark.parametrize("predicted", [[1.0, 2.0, 4.0, 4.0], [3.0, 3.0, 3.0, 3.0], [9.0, -1.0, 0.0, 2.5]])
def test_the_metric_equals_its_definition(predicted: list[float]) -> None:
    predictions = [Readability(str(number), value) for number, value in enumerate(predicted)]
    examples = [GradedText(str(number), "a", score=value) for number, value in enumerate([1.0, 2.0, 2.0, 6.0])]
    found = metrics.score(predictions, examples, SETUP)
    assert found.values == pytest.approx(metrics.reference(predictions, examples, SETUP), abs=1e-9)
    with pytest.raises(DataError, match="nothing to score"):
        metrics.score([], [], SETUP)


def test_flesch() -> None:
    words = ("the", "cat", "table", "readable", "make", "agree")
    assert [syllables(word) for word in words] == [1, 1, 2, 3, 1, 2]
    assert reading_ease("The cat sat on the mat.") == pytest.approx(206.835 - 1.015 * 6 - 84.6)
    assert reading_ease("One. Two words here!") == pytest.approx(206.835 - 1.015 * 2 - 84.6 * 4 / 4)
    assert reading_ease("42") is None


def test_data_are_written(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out" / "train.jsonl"
    rows = [{"context": "The cat sat\u2028on the mat."}, {"context": "The cat sat\u2028on the mat."}, {"context": "1"}]
    source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert main(["flesch", str(output), str(source), "--column", "context"]) == 0
    assert json.loads(output.read_text(encoding="utf-8")) == {"text": "The cat sat\u2028on the mat.", "score": 116.15}
