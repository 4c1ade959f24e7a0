"""The classification task, function by function: one label of many, or several at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from transformers import AutoTokenizer

from polyhead.registry import EncodeSettings, Feature, RowError, TaskSetup, TextExample, Window

ROWS = [("卡丢了", "挂失"), ("查余额", "余额"), ("钱还有多少", "余额"), ("transfer", "转账")]
SEVERAL = [("a", ["x", "y"]), ("b", ["x"]), ("c", []), ("d", "x|中")]


@pytest.fixture(scope="module")
def task(registry: Any) -> Any:
    return registry.task("classification")


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Any) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


@pytest.fixture
def several(task: Any) -> Any:
    return task.options(multi_label=True)


def read(task: Any, rows: list[tuple[str, Any]], options: Any) -> list[TextExample]:
    return [task.to_example({"text": text, "label": label}, str(n), options) for n, (text, label) in enumerate(rows)]


def windows(*logits: list[float]) -> list[Window]:
    return [Window(Feature(0, {}), {"logits": np.array(row)}) for row in logits]


def test_rows_of_one_label(task):
    options = task.options()
    assert read(task, ROWS[:1], options) == [TextExample("0", "卡丢了", labels=("挂失",))]
    assert task.to_example({"text": "a", "text_pair": "乙", "label": 3}, "x", options) == TextExample(
        "x", "a", "乙", ("3",)
    )
    assert task.to_example({"text": "a", "text_pair": None}, "x", options) == TextExample("x", "a")
    with pytest.raises(RowError):
        task.to_example({"text": "a", "text_pair": 5}, "x", options)
    with pytest.raises(RowError):
        task.to_example({"text": "a", "label": ["b"]}, "x", options)


def test_rows_of_several_labels(task, several):
    assert [example.labels for example in read(task, SEVERAL, several)] == [("x", "y"), ("x",), (), ("x", "中")]
    assert task.to_example({"text": "a"}, "x", several).labels is None


def test_preparing_learns_labels_and_majority(task, several):
    options = task.options()
    assert task.prepare(read(task, ROWS, options), options) == TaskSetup(
        options, ("余额", "挂失", "转账"), {"majority_labels": ["余额"]}
    )
    setup = task.prepare(read(task, SEVERAL, several), several)
    assert (setup.labels, setup.facts) == (("x", "y", "中"), {"majority_labels": ["x"]})


def test_one_label_is_enough_where_a_text_may_bear_none(task, several):
    assert task.prepare(read(task, [("a", ["x"]), ("b", [])], several), several).labels == ("x",)


def test_balanced_class_weights_are_scikit_learns(task):
    options = task.options(class_weights="balanced")
    setup = task.prepare(read(task, ROWS, options), options)
    expected = compute_class_weight("balanced", classes=np.array(setup.labels), y=[label for _, label in ROWS])
    assert setup.facts["class_weights"] == pytest.approx(expected.tolist())


@pytest.mark.parametrize("threshold", [0, 1, -0.5, 2, {"x": 0.5, "y": 1}])
def test_a_threshold_is_a_probability(task, threshold):
    with pytest.raises(ValueError, match="threshold must lie between 0 and 1"):
        task.options(multi_label=True, threshold=threshold)


def test_an_unknown_label_does_not_fit(task, several):
    setup = task.setup_from_labels(("x", "中"), several)
    task.check_example(TextExample("a", "b", labels=("x", "中")), setup)
    task.check_example(TextExample("a", "b", labels=()), setup)
    with pytest.raises(RowError, match="unknown label 'z'"):
        task.check_example(TextExample("a", "b", labels=("x", "z")), setup)


def test_encoding_numbers_one_label(task, tokenizer):
    settings = EncodeSettings(tokenizer, 32, 8, task.setup_from_labels(("余额", "挂失"), task.options()))
    features = task.encode([TextExample("a", "卡丢了", "真的", ("挂失",)), TextExample("b", "x")], settings)
    assert [feature.labels for feature in features] == [{"labels": 1}, {}]
    assert dict(features[0].inputs) == dict(tokenizer("卡丢了", "真的"))


def test_encoding_marks_several_labels(task, tokenizer, several):
    settings = EncodeSettings(tokenizer, 32, 8, task.setup_from_labels(("x", "y", "中"), several))
    features = task.encode([*read(task, SEVERAL, several), TextExample("e", "x")], settings)
    marks = [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0]]
    assert [feature.labels for feature in features] == [*({"labels": row} for row in marks), {}]


def test_label_fields_say_the_shape(task, several):
    fields = [task.label_fields(TaskSetup(options, ("x", "y")))[0] for options in (task.options(), several)]
    assert [(field.name, field.dtype, field.shape) for field in fields] == [
        ("labels", "int", "scalar"),
        ("labels", "float", "vector"),
    ]


@pytest.mark.parametrize("weights", [None, "balanced", {"余额": 0.25}])
def test_the_loss_of_one_label_is_torchs_mean(task, weights):
    options = task.options(class_weights=weights)
    setup = task.prepare(read(task, ROWS, options), options)
    logits_BL, labels_B = torch.randn(5, 3), torch.tensor([1, 0, 0, 2, 1])
    total, targets = task.loss((logits_BL,), (labels_B,), setup)
    weight = torch.tensor(setup.facts["class_weights"]) if weights else None
    torch.testing.assert_close(total / targets, torch.nn.CrossEntropyLoss(weight=weight)(logits_BL, labels_B))
    assert targets == task.count_targets((labels_B,), setup)


@pytest.mark.parametrize("weights", [None, "balanced", {"中": 4.0}])
def test_the_loss_of_several_labels_is_torchs_mean(task, weights):
    options = task.options(multi_label=True, class_weights=weights)
    setup = task.prepare(read(task, SEVERAL, options), options)
    logits_BL, labels_BL = torch.randn(5, 3), torch.randint(2, (5, 3)).float()
    total, targets = task.loss((logits_BL,), (labels_BL,), setup)
    weight = torch.tensor(setup.facts["class_weights"]) if weights else None
    torch.testing.assert_close(total / targets, torch.nn.BCEWithLogitsLoss(pos_weight=weight)(logits_BL, labels_BL))
    assert targets == task.count_targets((labels_BL,), setup) == 15


def test_decoding_one_and_several_labels(task):
    example, labels = TextExample("a", "x"), ("x", "y", "中")
    one = task.decode(example, windows([0.0, 1.0, 3.0], [0.0, 3.0, 0.0]), TaskSetup(task.options(), labels))
    assert (one.id, one.label, list(one.scores)) == ("a", "y", list(labels))
    bold = task.options(multi_label=True, threshold=0.3)
    assert task.decode(example, windows([-5.0, -0.5, 2.0]), TaskSetup(bold, labels)).labels == ("y", "中")
    shy = task.options(multi_label=True, threshold=0.9)
    assert task.decode(example, windows([-5.0, -0.5, 2.0]), TaskSetup(shy, labels)).labels == ()


def test_scores_and_baseline_of_one_label(task):
    options = task.options()
    examples = read(task, ROWS, options)
    setup = task.prepare(examples, options)
    values = task.metrics[0].compute(task.baseline(examples, setup), examples, setup).values
    assert values["accuracy"] == 0.5
    assert task.headline(setup) in values


def test_scores_and_baseline_of_several_labels(task, several):
    examples = read(task, SEVERAL, several)
    setup = task.prepare(examples, several)
    baseline = task.baseline(examples, setup)
    assert [answer.labels for answer in baseline] == [("x",)] * 4
    values = task.metrics[0].compute(baseline, examples, setup).values
    assert values["subset_accuracy"] == 0.25
    assert values["hamming_loss"] == pytest.approx(3 / 12)
    assert task.headline(setup) in values
    assert "hamming_loss" in task.metrics[0].lower_is_better


@pytest.mark.parametrize(("rows", "expected"), [(SEVERAL, ("x",)), ([("a", []), ("b", [])], ())])
def test_the_baseline_of_a_foreign_model_takes_the_examples_majority(task, several, rows, expected):
    setup = task.setup_from_labels(("x", "y", "中"), several)
    assert {answer.labels for answer in task.baseline(read(task, rows, several), setup)} == {expected}
    one = task.setup_from_labels(("余额", "挂失", "转账"), task.options())
    assert {answer.label for answer in task.baseline(read(task, ROWS, task.options()), one)} == {"余额"}


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder-decoder"])
def test_the_heads_say_which_problem_it_is(task, registry, several, family):
    kinds = {"single_label_classification": task.options(), "multi_label_classification": several}
    for kind, options in kinds.items():
        spec = registry.head_factory("classification", family)(TaskSetup(options, ("x", "y")))
        assert (spec.size, spec.config["problem_type"]) == (2, kind)
        assert spec.build is not None
        assert registry.head_factory("classification", family, "pooled")(TaskSetup(options, ("x", "y"))).size == 2
