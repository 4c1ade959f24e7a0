"""Scores, calibration and the baseline of the similarity task, on real rows and in small cases."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator, TripletEvaluator

from polyhead.registry import DataError, Feature, TaskSetup, Window

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"


@pytest.fixture(scope="module")
def task(registry: Any) -> Any:
    return registry.task("similarity")


def rows_of(sample: str) -> list[dict[str, Any]]:
    with gzip.open(SAMPLES / sample / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def examples_of(task: Any, rows: list[dict[str, Any]]) -> list[Any]:
    return [task.to_example(row, str(number), task.options()) for number, row in enumerate(rows)]


def vectors_for(texts: list[str], width: int = 8) -> dict[str, np.ndarray]:
    """Return one vector a text: the same for the same text, near for texts that share characters."""
    return {
        text: np.sum([np.random.default_rng(ord(letter)).normal(size=width) for letter in text], 0).astype(np.float32)
        for text in texts
    }


def decoded(task: Any, examples: list[Any], setup: TaskSetup) -> list[Any]:
    vectors = vectors_for(sorted({text for example in examples for text in example.texts}))
    weight = np.ones(1, dtype=np.float32)
    return [
        task.decode(
            example,
            [
                Window(Feature(0, {}, {}, [(0, 0)]), {"embedding": vectors[text], "weight": weight})
                for text in example.texts
            ],
            setup,
        )
        for example in examples
    ]


class Encoder:
    """What the evaluators of `sentence-transformers` ask of a model."""

    similarity_fn_name = "cosine"
    model_card_data = type("Card", (), {"set_evaluation_metrics": lambda *_, **__: None})()

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        self.vectors = vectors

    def encode(self, sentences: list[str], **_: Any) -> np.ndarray:
        return np.stack([self.vectors[sentence] for sentence in sentences])

    encode_query = encode_document = encode


@pytest.mark.parametrize("sample", ["stsb_en", "stsb_zh"])
def test_scores_of_real_rows_are_those_of_the_evaluator(task, sample):
    rows = rows_of(sample)[:300]
    examples = examples_of(task, rows)
    setup = task.prepare(examples, task.options(scale=(0, 5)))
    found = task.metrics[0].compute(decoded(task, examples, setup), examples, setup)
    first, second, gold = ([row[name] for row in rows] for name in ("sentence1", "sentence2", "score"))
    evaluator = EmbeddingSimilarityEvaluator(first, second, gold, similarity_fn_names=["cosine"], write_csv=False)
    theirs = evaluator(Encoder(vectors_for([*first, *second])))
    assert found.values == pytest.approx(
        {"spearman": theirs["spearman_cosine"], "pearson": theirs["pearson_cosine"]}, abs=1e-6
    )


def test_triplets_of_real_rows_are_those_of_the_evaluator(task):
    rows = rows_of("stsb_zh")
    columns = [
        [row["sentence1"] for row in rows[:250]],
        [row["sentence2"] for row in rows[:250]],
        [row["sentence2"] for row in rows[1:251]],
    ]
    names = ("anchor", "positive", "negative")
    examples = examples_of(task, [dict(zip(names, texts, strict=True)) for texts in zip(*columns, strict=True)])
    setup = task.prepare(examples, task.options())
    found = task.metrics[0].compute(decoded(task, examples, setup), examples, setup)
    evaluator = TripletEvaluator(*columns, write_csv=False, similarity_fn_names=["cosine"])
    theirs = evaluator(Encoder(vectors_for([text for column in columns for text in column])))
    assert found.values == {"triplet_accuracy": pytest.approx(theirs["cosine_accuracy"])}


@pytest.mark.parametrize(("sample", "spearman"), [("stsb_en", 0.755), ("stsb_zh", 0.688)])
def test_the_baseline_is_the_cosine_of_character_ngrams(task, sample, spearman):
    examples = examples_of(task, rows_of(sample))
    setup = task.prepare(examples, task.options())
    found = task.metrics[0].compute(task.baseline(examples, setup), examples, setup)
    assert found.values["spearman"] == pytest.approx(spearman, abs=2e-3)


def labelled(sample: str, names: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [
        {"sentence1": row["sentence1"], "sentence2": row["sentence2"], "label": names[row["score"] >= 3]}
        for row in rows_of(sample)
    ]


@pytest.mark.parametrize("names", [(0, 1), (False, True), ("不同", "相似")])
def test_the_threshold_comes_from_validation(task, names):
    examples = examples_of(task, labelled("stsb_zh", names))
    validation, test = examples[:300], examples[300:]
    setup = task.prepare(validation, task.options())
    before = task.metrics[0].compute(decoded(task, test, setup), test, setup)
    assert "best-f1-on-these-pairs" in before.signature
    calibrated = task.calibrate(decoded(task, validation, setup), validation, setup)
    assert set(calibrated.facts) == {"kind", "loss", "threshold"}
    predictions = decoded(task, test, calibrated)
    found = task.metrics[0].compute(predictions, test, calibrated)
    assert "from-validation" in found.signature
    right = [prediction.label == example.label for prediction, example in zip(predictions, test, strict=True)]
    assert found.values["accuracy"] == pytest.approx(np.mean(right))
    assert found.values["average_precision"] == before.values["average_precision"]
    assert found.values["f1"] <= before.values["f1"]


def test_the_scale_of_scores_is_fitted_on_validation(task):
    examples = examples_of(task, rows_of("stsb_en")[:200])
    setup = task.prepare(examples, task.options(scale=(0, 5)))
    predictions = decoded(task, examples, setup)
    calibrated = task.calibrate(predictions, examples, setup)
    again = decoded(task, examples, calibrated)
    gold = [example.score for example in examples]
    assert [p.similarity for p in again] == [p.similarity for p in predictions]
    errors = [np.mean([(p.score - g) ** 2 for p, g in zip(found, gold, strict=True)]) for found in (predictions, again)]
    assert errors[1] < errors[0]
    assert json.loads(json.dumps(calibrated.facts))["line"] == list(calibrated.facts["line"])


def test_nothing_is_learned_from_similarities_that_say_nothing(task):
    examples = examples_of(task, [{"sentence1": "a", "sentence2": "b", "score": score} for score in (1, 2)])
    setup = task.prepare(examples, task.options())
    assert task.calibrate(decoded(task, examples, setup), examples, setup) is setup


def test_every_kind_of_row_is_scored(task):
    rows = [
        *rows_of("stsb_en")[:20],
        *labelled("stsb_en", ("other", "same"))[:20],
        {"anchor": "a cat", "positive": "the cat", "negative": "一条狗"},
        {"anchor": "一只猫", "positive": "猫", "negatives": ["a dog", "a car"]},
        {"sentence1": "how are you", "sentence2": "how do you do"},
        {"sentence1": "你好", "sentence2": "您好"},
    ]
    examples = examples_of(task, rows)
    setup = TaskSetup(task.options())  # a model that others trained: nothing is known of the data
    for predictions in (decoded(task, examples, setup), task.baseline(examples, setup)):
        found = task.metrics[0].compute(predictions, examples, setup)
        assert list(found.values) == [
            "spearman",
            "pearson",
            "average_precision",
            "accuracy",
            "f1",
            "triplet_accuracy",
            "recall_at_1",
            "mrr",
        ]
        assert all(-1 <= value <= 1 for value in found.values.values())
    baseline = task.metrics[0].compute(task.baseline(examples, setup), examples, setup)
    assert baseline.values["triplet_accuracy"] == baseline.values["recall_at_1"] == 1.0


def test_constant_scores_are_zero_and_said(task):
    examples = examples_of(task, [{"sentence1": "a", "sentence2": "b", "score": 2}] * 3)
    setup = TaskSetup(task.options())
    found = task.metrics[0].compute(decoded(task, examples, setup), examples, setup)
    assert found.values == {"spearman": 0.0, "pearson": 0.0}
    assert "constant:predicted+gold" in found.signature


def test_what_cannot_be_scored(task):
    setup = TaskSetup(task.options(architecture="cross-encoder"))
    pairs = examples_of(task, [{"sentence1": "a", "sentence2": "b"}])
    windows = [Window(Feature(0, {}, {}, [(0, 0)]), {"logits": np.zeros(1)})]
    with pytest.raises(DataError, match="a cross-encoder has none"):
        task.metrics[0].compute([task.decode(pairs[0], windows, setup)], pairs, setup)
    with pytest.raises(DataError, match="nothing to score"):
        task.metrics[0].compute([], [], setup)


def test_headlines_are_values(task):
    for rows in (
        rows_of("stsb_en")[:20],
        labelled("stsb_en", (0, 1))[:20],
        [{"anchor": "a", "positive": "b", "negative": "c"}],
        [{"anchor": "a", "positive": "b"}],
    ):
        examples = examples_of(task, rows)
        setup = task.prepare(examples, task.options())
        assert task.headline(setup) in task.metrics[0].compute(decoded(task, examples, setup), examples, setup).values


def test_scipy_says_the_same_of_the_predictions(task):
    examples = examples_of(task, rows_of("stsb_zh"))
    setup = task.prepare(examples, task.options())
    predictions = task.baseline(examples, setup)
    found = task.metrics[0].compute(predictions, examples, setup).values
    similarities, gold = [p.similarity for p in predictions], [example.score for example in examples]
    assert found["spearman"] == pytest.approx(spearmanr(similarities, gold)[0])
    assert found["pearson"] == pytest.approx(pearsonr(similarities, gold)[0])
