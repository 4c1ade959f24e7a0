"""The sentiment task, function by function: from a row to a scored prediction."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from transformers import AutoTokenizer

from polyhead.registry import DataError, EncodeSettings, RowError, TaskSetup, TextExample, Window

ROWS = [
    ("a warm film", "positive"),
    ("dull", "negative"),
    ("funny", "positive"),
    ("a joy", "positive"),
]


@pytest.fixture(scope="module")
def task(registry: Any) -> Any:
    return registry.task("sentiment")


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Any) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def read(task: Any, *rows: tuple[str, str], **options: Any) -> list[TextExample]:
    chosen = task.options(**options)
    return [task.to_example({"text": text, "label": label}, str(n), chosen) for n, (text, label) in enumerate(rows)]


def test_a_row_becomes_an_example(task):
    assert task.to_example({"text": "好看", "label": "正面"}, "x:1", task.options()) == TextExample(
        "x:1", "好看", labels=("正面",)
    )
    assert task.to_example({"text": "好看"}, "x:2", task.options()) == TextExample("x:2", "好看")


@pytest.mark.parametrize("row", [{"label": "positive"}, {"text": 3}, {"text": "a", "label": ["positive"]}])
def test_a_row_that_makes_no_sense_is_refused(task, row):
    with pytest.raises(RowError):
        task.to_example(row, "x", task.options())


def test_preparing_learns_labels_and_majority(task):
    assert task.prepare(read(task, *ROWS), task.options()) == TaskSetup(
        task.options(), ("negative", "positive"), {"majority_label": "positive"}
    )
    chinese = task.prepare(read(task, ("好看", "正面"), ("无聊", "负面")), task.options())
    assert chinese.labels == ("正面", "负面")


def test_preparing_needs_two_labels(task):
    with pytest.raises(DataError):
        task.prepare(read(task, ("a", "positive")), task.options())


def test_balanced_class_weights_are_scikit_learns(task):
    options = task.options(class_weights="balanced")
    facts = task.prepare(read(task, *ROWS), options).facts
    classes = np.array(["negative", "positive"])
    expected = compute_class_weight("balanced", classes=classes, y=[label for _, label in ROWS])
    assert facts["class_weights"] == pytest.approx(expected.tolist())


def test_an_unknown_label_does_not_fit(task):
    setup = task.setup_from_labels(("negative", "positive"), task.options())
    task.check_example(TextExample("a", "b", labels=("positive",)), setup)
    with pytest.raises(RowError, match="unknown label 'positiv'"):
        task.check_example(TextExample("a", "b", labels=("positiv",)), setup)


def test_encoding_numbers_the_label_on_every_window(task, tokenizer):
    setup = task.setup_from_labels(("差", "好"), task.options())
    settings = EncodeSettings(tokenizer, 12, 2, setup)
    features = task.encode([TextExample("a", "很好看" * 10, labels=("好",)), TextExample("b", "x")], settings)
    assert {feature.example: feature.labels for feature in features} == {0: {"labels": 1}, 1: {}}
    assert len(features) > 3


@pytest.mark.parametrize("weights", [None, "balanced", {"positive": 3.0}])
def test_the_loss_is_torchs_mean_and_its_count_is_known_before(task, weights):
    setup = task.prepare(read(task, *ROWS), task.options(class_weights=weights))
    logits_BL, labels_B = torch.randn(4, 2), torch.tensor([1, 0, 1, 1])
    total, targets = task.loss((logits_BL,), (labels_B,), setup)
    weight = torch.tensor(setup.facts["class_weights"]) if weights else None
    torch.testing.assert_close(total / targets, torch.nn.CrossEntropyLoss(weight=weight)(logits_BL, labels_B))
    assert targets == task.count_targets((labels_B,), setup)


def test_decoding_merges_windows(task, tokenizer):
    setup = task.setup_from_labels(("差", "好"), task.options())
    features = task.encode([TextExample("a", "x")], EncodeSettings(tokenizer, 12, 2, setup))
    windows = [Window(features[0], {"logits": np.array(row)}) for row in ([5.0, 0.0], [0.0, 1.0], [0.0, 1.0])]
    found = task.decode(TextExample("a", "x"), windows, setup)
    assert (found.id, found.label) == ("a", "差")
    assert found.score == pytest.approx(1 / (1 + np.exp(-1.0)))


def test_scores_and_baseline(task):
    examples = read(task, *ROWS)
    setup = task.prepare(examples, task.options())
    (metric,) = task.metrics
    baseline = task.baseline(examples, setup)
    assert [(answer.id, answer.label) for answer in baseline] == [(str(n), "positive") for n in range(4)]
    values = metric.compute(baseline, examples, setup).values
    assert (values["accuracy"], values["mcc"]) == (0.75, 0.0)
    assert task.headline(setup) in values


def test_the_baseline_of_a_foreign_model_takes_the_examples_majority(task):
    setup = task.setup_from_labels(("negative", "positive"), task.options())
    assert {answer.label for answer in task.baseline(read(task, *ROWS), setup)} == {"positive"}


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder-decoder"])
def test_the_heads_fit_the_labels(task, registry, family):
    setup = task.setup_from_labels(("差", "中", "好"), task.options())
    for name in ("default", "pooled"):
        spec = registry.head_factory("sentiment", family, name)(setup)
        assert (spec.size, spec.labels, spec.outputs[0].name) == (3, ("差", "中", "好"), "logits")
        assert spec.build is not None
    assert registry.head_factory("sentiment", family, "pooled")(setup).auto_class is None


def test_perturbing_leaves_the_aspect(registry):
    change = registry.perturbations("sentiment")["lowercase"]
    assert change.apply(TextExample("a", "GOOD", "Battery"), random.Random(0)) == TextExample("a", "good", "Battery")
