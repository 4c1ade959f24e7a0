"""What sentiment is beyond classification: polarity, stars, order, numbers, aspects."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score, mean_absolute_error
from transformers import AutoTokenizer

from polyhead.backbone.options import build_options
from polyhead.registry import DataError, EncodeSettings, Feature, RowError, RunError, TextExample, Window

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"
NUMBERS = [("dull", 0.1), ("fine", 0.5), ("好看", 0.75), ("great", 1)]


@pytest.fixture(scope="module")
def task(registry: Any) -> Any:
    return registry.task("sentiment")


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Any) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def read(task: Any, rows: list[tuple[str, Any]], options: Any, **more: Any) -> list[TextExample]:
    return [
        task.to_example({"text": text, "label": label, **more}, str(n), options) for n, (text, label) in enumerate(rows)
    ]


def prepared(task: Any, labels: list[Any], **options: Any) -> Any:
    chosen = task.options(**options)
    return task.prepare(read(task, [("text", label) for label in labels], chosen), chosen)


def windows(*logits: list[float]) -> list[Window]:
    return [Window(Feature(0, {}), {"logits": np.array(row)}) for row in logits]


# ── polarity ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_prediction_bears_the_expected_polarity(task):
    setup = prepared(task, ["负面", "中性", "正面"])
    assert setup.labels == ("中性", "正面", "负面")
    found = task.decode(TextExample("a", "x"), windows([0.0, math.log(3), math.log(4)]), setup)
    assert (found.label, found.polarity) == ("负面", pytest.approx(3 / 8 - 4 / 8))
    written = json.loads(json.dumps(dataclasses.asdict(found)))
    assert list(written) == ["id", "label", "score", "scores", "polarity"]


def test_labels_of_unknown_meaning_have_no_polarity_unless_it_is_said(task):
    found = task.decode(TextExample("a", "x"), windows([0.0, 1.0]), prepared(task, ["anger", "joy"]))
    assert found.polarity is None
    said = prepared(task, ["anger", "joy"], polarity={"anger": -1, "joy": 0.5})
    assert task.decode(TextExample("a", "x"), windows([0.0, 0.0]), said).polarity == pytest.approx(-0.25)
    with pytest.raises(DataError, match=r"options.polarity: say a number from -1 to 1 for these labels too: joy"):
        prepared(task, ["anger", "joy"], polarity={"anger": -1})


def test_polarities_may_be_said_for_a_model_that_others_fine_tuned(task):
    setup = task.setup_from_labels(("LABEL_0", "LABEL_1"), task.options(polarity={"LABEL_0": -1, "LABEL_1": 1}))
    assert task.decode(TextExample("a", "x"), windows([0.0, 0.0]), setup).polarity == 0.0
    with pytest.raises(DataError, match=r"options.polarity: unknown label 'positive'"):
        task.setup_from_labels(("LABEL_0", "LABEL_1"), task.options(polarity={"positive": 1}))


# ── stars, order ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def graded(task: Any) -> tuple[Any, list[TextExample], list[Any]]:
    """Return a setup, 300 real reviews with stars (by label and length), and answers that are often nearly right."""
    lines = (SAMPLES / "rotten_tomatoes" / "test.jsonl").read_text(encoding="utf-8").splitlines()[:300]
    rows = [json.loads(line) for line in lines]
    steps = [min(2, len(row["text"]) // 80) for row in rows]
    stars = [5 - step if row["label"] == "positive" else 1 + step for row, step in zip(rows, steps, strict=True)]
    options = task.options(ordinal=True)
    examples = read(task, [(row["text"], star) for row, star in zip(rows, stars, strict=True)], options)
    setup, draw = task.prepare(examples, options), np.random.default_rng(2)
    logits = [(-((np.arange(1, 6) - star) ** 2) + draw.normal(size=5) * 3).tolist() for star in stars]
    return setup, examples, [task.decode(e, windows(row), setup) for e, row in zip(examples, logits, strict=True)]


def test_stars_are_scored_with_mae_and_kappa_as_scikit_learn_does(task, graded):
    setup, examples, predictions = graded
    values = task.metrics[0].compute(predictions, examples, setup).values
    expected = [int(example.labels[0]) for example in examples]
    predicted = [int(prediction.label) for prediction in predictions]
    assert values["mae"] == pytest.approx(mean_absolute_error(expected, predicted))
    assert values["kappa_quadratic"] == pytest.approx(cohen_kappa_score(expected, predicted, weights="quadratic"))
    assert 0.3 < values["accuracy"] < 0.9
    assert task.headline(setup) == "kappa_quadratic"
    assert "mae" in task.metrics[0].lower_is_better


def test_the_polarity_of_stars_is_the_expected_star(graded):
    _, _, predictions = graded
    for prediction in predictions:
        star = sum(int(label) * p for label, p in prediction.scores.items())
        assert prediction.polarity == pytest.approx((star - 3) / 2)


def test_model_and_baseline_give_the_same_values(task, graded):
    setup, examples, predictions = graded
    compute = task.metrics[0].compute
    baseline = compute(task.baseline(examples, setup), examples, setup).values
    assert baseline.keys() == compute(predictions, examples, setup).values.keys()
    assert baseline["kappa_quadratic"] == 0.0


def test_ordered_names_have_mae_and_two_labels_have_not(task):
    for labels, ordered in (
        (["差评", "中评", "好评"], True),
        (["差评", "好评"], False),
        (["fear", "joy", "rage"], False),
    ):
        examples = read(task, [("a", label) for label in labels], task.options())
        setup = task.prepare(examples, task.options())
        values = task.metrics[0].compute(task.baseline(examples, setup), examples, setup).values
        assert ("mae" in values) == ("kappa_quadratic" in values) == ordered
        assert task.headline(setup) == "accuracy"


@pytest.mark.parametrize("weights", [None, "balanced"])
def test_the_ordinal_loss_is_cross_entropy_with_soft_targets(task, weights):
    setup = prepared(task, [1, 2, 3, 5, 5], ordinal=True, class_weights=weights)
    assert setup.labels == ("1", "2", "3", "5")
    logits_BL, labels_B = torch.randn(3, 4), torch.tensor([0, 3, 1])
    distance = (torch.tensor([1.0, 5.0, 2.0])[:, None] - torch.tensor([1.0, 2.0, 3.0, 5.0])) ** 2
    losses = torch.nn.functional.cross_entropy(logits_BL, torch.softmax(-distance, 1), reduction="none")
    weight = torch.tensor(setup.facts["class_weights"])[labels_B] if weights else torch.ones(3)
    total, targets = task.loss((logits_BL,), (labels_B,), setup)
    torch.testing.assert_close(total / targets, (losses * weight).sum() / weight.sum())
    assert targets == task.count_targets((labels_B,), setup)


def test_without_the_option_stars_are_trained_as_labels(task):
    logits_BL, labels_B = torch.randn(3, 3), torch.tensor([0, 2, 1])
    total, targets = task.loss((logits_BL,), (labels_B,), prepared(task, [1, 3, 5]))
    torch.testing.assert_close(total / targets, torch.nn.CrossEntropyLoss()(logits_BL, labels_B))


def test_labels_without_order_cannot_be_ordinal(task):
    with pytest.raises(DataError) as caught:
        prepared(task, ["joy", "fear"], ordinal=True)
    assert str(caught.value) == (
        "options.ordinal: these labels have no order that is known; say one polarity from -1 to 1 for each, no two "
        "alike, with options.polarity: fear, joy"
    )
    setup = prepared(task, ["joy", "fear"], ordinal=True, polarity={"joy": 1, "fear": -1})
    assert task.headline(setup) == "kappa_quadratic"


def test_stars_that_are_none_are_refused(task):
    with pytest.raises(DataError, match=r"options.scale=stars: label '0' is no whole number from 1 to 5"):
        prepared(task, [0, 1, 2], scale="stars")


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────


def test_fractions_are_told_by_regression(task, registry, tokenizer):
    examples = read(task, NUMBERS, task.options())
    setup = task.prepare(examples, task.options())
    assert (setup.labels, dict(setup.facts)) == (
        (),
        {"range": [0.0, 1.0], "outputs": [-1.0, 1.0], "median": pytest.approx(0.625)},
    )
    for family in ("encoder", "decoder", "encoder-decoder"):
        spec = registry.head_factory("sentiment", family)(setup)
        assert (spec.size, spec.labels, spec.config) == (1, (), {"problem_type": "regression"})
    assert task.label_fields(setup)[0].dtype == "float"
    features = task.encode([*examples, TextExample("e", "x")], EncodeSettings(tokenizer, 16, 2, setup))
    assert [dict(feature.labels) for feature in features] == [
        {"labels": pytest.approx(value)} for value in (-0.8, 0.0, 0.5, 1.0)
    ] + [{}]
    outputs_B1, targets_B = torch.randn(4, 1), torch.tensor([-0.8, 0.0, 0.5, 1.0])
    total, count = task.loss((outputs_B1,), (targets_B,), setup)
    torch.testing.assert_close(total / count, torch.nn.MSELoss()(outputs_B1[:, 0], targets_B))
    assert count == task.count_targets((targets_B,), setup)
    json.dumps(dict(setup.facts))


def test_a_number_is_read_back_and_held_to_its_range(task):
    setup = prepared(task, [0.5, 9.5], range=(0, 10))
    found = task.decode(TextExample("a", "x"), windows([0.0], [1.0]), setup)
    assert dataclasses.asdict(found) == {"id": "a", "number": 7.5, "polarity": 0.5}
    assert task.decode(TextExample("a", "x"), windows([1.3]), setup).number == 10


def test_numbers_are_scored_beside_their_median(task):
    examples = read(task, NUMBERS, task.options())
    setup = task.prepare(examples, task.options())
    values = task.metrics[0].compute(task.baseline(examples, setup), examples, setup).values
    assert values == {
        "mae": pytest.approx((0.525 + 0.125 + 0.125 + 0.375) / 4),
        "rmse": pytest.approx(math.sqrt((0.525**2 + 2 * 0.125**2 + 0.375**2) / 4)),
        "pearson": 0.0,
        "accuracy_sign": pytest.approx(2 / 3),
    }
    assert task.headline(setup) == "mae"
    assert {"mae", "rmse"} <= task.metrics[0].lower_is_better


def test_many_whole_numbers_and_a_range_are_numbers_too(task):
    assert prepared(task, list(range(12))).facts["range"] == [0.0, 100.0]
    assert prepared(task, [0, 10], range=(0, 10)).facts["range"] == [0, 10]
    assert prepared(task, [0.0, 1.0]).labels == ("0", "1")
    assert prepared(task, [0, 1], scale="number").facts["range"] == [0.0, 1.0]


def test_a_number_beyond_the_range_does_not_fit(task):
    setup = prepared(task, [0.1, 0.9])
    task.check_example(TextExample("a", "b", labels=("0.5",)), setup)
    for label, problem in (
        ("1.5", "column 'label': 1.5 lies beyond the range from 0 to 1; options.range says another"),
        ("好", "column 'label': expected a number, found '好'"),
    ):
        with pytest.raises(RowError) as caught:
            task.check_example(TextExample("a", "b", labels=(label,)), setup)
        assert str(caught.value) == problem
    with pytest.raises(DataError, match=r"options.range: example '1' has the number 11, which lies beyond it"):
        prepared(task, [1, 11], range=(0, 10))
    with pytest.raises(DataError, match=r"options.scale=number: example '1' has the label '好', no number"):
        prepared(task, [1, "好"], scale="number")
    with pytest.raises(RowError, match="expected a label or a number, found nan"):
        task.to_example({"text": "a", "label": math.nan}, "x", task.options())


def test_a_regression_model_of_others_tells_its_own_numbers(task, tokenizer):
    setup = task.setup_from_labels(("LABEL_0",), task.options())
    found = task.decode(TextExample("a", "x"), windows([3.5]), setup)
    assert (found.number, found.polarity) == (3.5, None)
    ranged = task.setup_from_labels(("LABEL_0",), task.options(range=(1, 5)))
    found = task.decode(TextExample("a", "x"), windows([3.5]), ranged)
    assert (found.number, found.polarity) == (pytest.approx(3.5), pytest.approx(0.25))
    for foreign in (setup, ranged):
        (feature,) = task.encode([TextExample("a", "x", labels=("4",))], EncodeSettings(tokenizer, 16, 2, foreign))
        assert feature.labels["labels"] == pytest.approx(4)
        examples = [TextExample("a", "x", labels=("4",)), TextExample("b", "x", labels=("2",))]
        assert {answer.number for answer in task.baseline(examples, foreign)} == {3}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"scale": "stars", "range": [0, 1]}, "options: range goes with scale=number, not with scale=stars"),
        ({"range": [1, 0]}, "options: range must go from a lower to a higher number, not from (1.0, 0.0)"),
        ({"scale": "number", "ordinal": True}, "options: ordinal goes with labels, not with scale=number"),
        ({"range": [0, 1], "polarity": {"a": 1}}, "options: polarity goes with labels, not with scale=number"),
    ],
)
def test_options_that_do_not_go_together_are_refused(task, options, problem):
    with pytest.raises(RunError) as caught:
        build_options(task, options)
    assert str(caught.value) == problem


def test_numbers_found_in_the_data_refuse_what_goes_with_labels(task):
    with pytest.raises(DataError, match=r"options.ordinal goes with labels, but these are numbers"):
        prepared(task, [0.5, 0.7], ordinal=True)


# ── aspects ─────────────────────────────────────────────────────────────────────────────────────────────


def test_an_aspect_is_read_beside_its_text_and_comes_back(task, tokenizer):
    (example,) = read(task, [("电池很好,屏幕太暗", "负面")], task.options(), aspect="屏幕")
    assert example == TextExample("0", "电池很好,屏幕太暗", "屏幕", ("负面",))
    setup = task.setup_from_labels(("正面", "负面"), task.options())
    (feature,) = task.encode([example], EncodeSettings(tokenizer, 32, 4, setup))
    assert dict(feature.inputs) == dict(tokenizer(example.text, "屏幕"))
    found = task.decode(example, windows([0.0, 1.0]), setup)
    assert dataclasses.asdict(found)["aspect"] == "屏幕"
    number = task.decode(example, windows([0.5]), prepared(task, [0.5, 0.75]))
    assert dataclasses.asdict(number) == {"id": "0", "number": 0.75, "polarity": 0.5, "aspect": "屏幕"}
    with pytest.raises(RowError, match="column 'aspect'"):
        task.to_example({"text": "a", "aspect": 3}, "x", task.options())


def aspect_table(task: Any, setup: Any, examples: list[TextExample], predictions: list[Any]) -> Any:
    tables = task.metrics[0].compute(predictions, examples, setup).tables
    return next((table for table in tables if table.title == "Scores by aspect"), None)


def test_scores_by_aspect(task):
    setup = task.setup_from_labels(("正面", "负面"), task.options())
    rows = [("屏幕", "正面", 0), ("屏幕", "负面", 0), ("屏幕", "正面", 0), ("电池", "负面", 1)]
    examples = [TextExample(str(n), "x", aspect, (label,)) for n, (aspect, label, _) in enumerate(rows)]
    logits = ([1.0, 0.0], [0.0, 1.0])
    predictions = [task.decode(e, windows(logits[row[2]]), setup) for e, row in zip(examples, rows, strict=True)]
    assert aspect_table(task, setup, examples, predictions).rows == (
        ("屏幕", 3, pytest.approx(2 / 3), pytest.approx(0.4)),
        ("电池", 1, 1.0, 1.0),
    )
    many = [TextExample(str(n), "x", f"aspect {n}", ("正面",)) for n in range(21)]
    answers = [task.decode(example, windows(logits[0]), setup) for example in many]
    assert aspect_table(task, setup, many, answers) is None
    assert len(aspect_table(task, setup, many[:20], answers[:20]).rows) == 20


def test_numbers_by_aspect(task):
    examples = read(task, NUMBERS, task.options(), aspect="plot")
    setup = task.prepare(examples, task.options())
    table = aspect_table(task, setup, examples, task.baseline(examples, setup))
    assert (table.columns, table.rows[0][:2]) == (("aspect", "count", "mae", "pearson"), ("plot", 4))
