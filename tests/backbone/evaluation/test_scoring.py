"""Scores of all metrics together, beside the baseline; and which of two is better."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from polyhead.backbone.evaluation.scoring import evaluate_predictions, is_better, score, value_of
from polyhead.registry import Metric, PluginError, RunError, Scores, Table, TextExample
from polyhead.registry.toolkit.label_predictions import LabelPrediction

EXAMPLES = [TextExample(str(n), "x", labels=(label,)) for n, label in enumerate(("好", "好", "差", "好"))]
ANSWERS = [LabelPrediction(str(n), label, 1.0, {}) for n, label in enumerate(("好", "差", "差", "差"))]


@pytest.fixture(scope="module")
def task(registry: Any) -> Any:
    return registry.task("sentiment")


@pytest.fixture(scope="module")
def setup(task: Any) -> Any:
    return task.prepare(EXAMPLES, task.options())


def fixed(name: str, **values: float) -> Metric[Any, Any]:
    table = Table(f"table of {name}", ("a",), ((1,),))
    return Metric(
        name, lambda predictions, examples, setup: Scores(values, f"{name}|1", (table,)), frozenset({"error"})
    )


def test_values_signatures_and_tables_of_all_metrics(task, setup):
    values, signature, tables = score(task, [fixed("one", a=1.0), fixed("two", b=2.0)], ANSWERS, EXAMPLES, setup)
    assert values == {"a": 1.0, "b": 2.0}
    assert signature == "one|1 two|1"
    assert [table.title for table in tables] == ["table of one", "table of two"]


def test_two_metrics_of_one_value_name_clash(task, setup):
    with pytest.raises(PluginError) as caught:
        score(task, [fixed("one", a=1.0, b=0.0), fixed("two", b=2.0)], ANSWERS, EXAMPLES, setup)
    assert str(caught.value) == "task 'sentiment': two metrics give a value named 'b'; one must go"


def test_the_loss_is_the_engines_own(task, setup):
    with pytest.raises(PluginError, match="a value named 'loss', which is the engine's own"):
        evaluate_predictions(task, [*task.metrics, fixed("one", loss=1.0)], ANSWERS, EXAMPLES, setup, split="test")


def test_an_evaluation_holds_scores_and_baseline(task, setup):
    metrics = [*task.metrics, fixed("mine", cost=3.0)]
    found = evaluate_predictions(task, metrics, ANSWERS, EXAMPLES, setup, split="test", loss=0.75, skipped=2)
    assert (found.values["accuracy"], found.values["cost"], found.values["loss"]) == (0.5, 3.0, 0.75)
    assert found.baseline["accuracy"] == 0.75  # 好, the majority
    assert "cost" not in found.baseline
    assert (found.headline, found.baseline_name, found.examples, found.skipped) == ("accuracy", "majority class", 4, 2)
    assert "loss" not in evaluate_predictions(task, metrics, ANSWERS, EXAMPLES, setup, split="test").values


def test_the_json_is_plain(task, setup):
    found = evaluate_predictions(task, task.metrics, ANSWERS, EXAMPLES, setup, split="test")
    as_json = json.loads(json.dumps(found.to_json()))
    assert as_json == found.to_json()
    assert "perturbed" not in as_json
    changed = dataclasses.replace(found, perturbed={"typos": {"accuracy": 0.25}}).to_json()
    assert changed["perturbed"] == {"typos": {"accuracy": 0.25}}


@pytest.mark.parametrize(
    ("name", "new", "old", "expected"),
    [
        ("accuracy", 0.1, None, True),
        ("accuracy", 0.6, 0.5, True),
        ("accuracy", 0.5, 0.5, False),
        ("loss", 0.4, 0.5, True),
        ("loss", 0.6, 0.5, False),
        ("error", 0.4, 0.5, True),
        ("error", 0.5, 0.5, False),
    ],
)
def test_which_is_better(name, new, old, expected):
    assert is_better([fixed("one", error=1.0)], name, new, old) is expected


def test_a_value_by_name():
    assert value_of({"a": 1.0}, "a") == 1.0
    with pytest.raises(RunError) as caught:
        value_of({"f1_macro": 1.0, "accuracy": 0.0}, "f1_makro")
    assert str(caught.value) == (
        "training.metric: no value 'f1_makro'. Did you mean 'f1_macro'? Available: accuracy, f1_macro"
    )
