"""What classification learns from validation data: thresholds by label, temperature, rejection."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support, roc_auc_score
from transformers import AutoTokenizer

from polyhead.backbone.options import build_options
from polyhead.registry import DataError, EncodeSettings, Feature, RowError, RunError, TaskSetup, TextExample, Window

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"
OUTSIDE = "out_of_scope"


@pytest.fixture(scope="module")
def task(registry: Any) -> Any:
    return registry.task("classification")


@pytest.fixture(scope="module")
def banking() -> list[tuple[str, str]]:
    """Return 500 real questions with their intents."""
    lines = (SAMPLES / "banking77" / "test.jsonl").read_text(encoding="utf-8").splitlines()[:500]
    return [(row["text"], row["label"]) for row in map(json.loads, lines)]


def answered(task: Any, setup: TaskSetup, examples: list[TextExample], seed: int = 0, sharp: float = 4.0) -> list[Any]:
    """Return what a model says that is often right and too sure of itself; of what is out of scope it knows nothing."""
    draw = np.random.default_rng(seed)
    predictions = []
    for example in examples:
        logits = draw.normal(size=len(setup.labels))
        for label in example.labels or ():
            if label in setup.labels:
                logits[setup.labels.index(label)] += draw.uniform(0, 6)
        predictions.append(task.decode(example, [Window(Feature(0, {}), {"logits": logits * sharp})], setup))
    return predictions


def values_of(task: Any, predictions: list[Any], examples: list[TextExample], setup: TaskSetup) -> dict[str, float]:
    return dict(task.metrics[0].compute(predictions, examples, setup).values)


def single(task: Any, banking: list[tuple[str, str]], outside: int = 0, **options: Any) -> tuple[Any, list[Any]]:
    """Return setup and examples of one label each, every ``outside``-th one labelled out of scope."""
    chosen = task.options(**options)
    known = [task.to_example({"text": text, "label": label}, str(n), chosen) for n, (text, label) in enumerate(banking)]
    setup = task.prepare(known, chosen)
    marked = [
        dataclasses.replace(example, labels=(OUTSIDE,)) if outside and n % outside == 0 else example
        for n, example in enumerate(known)
    ]
    return setup, marked


# ── one label, as it was ────────────────────────────────────────────────────────────────────────────────


def test_real_rows_are_scored_as_scikit_learn_does(task, banking):
    setup, examples = single(task, banking)
    predictions = answered(task, setup, examples)
    expected, predicted = [label for _, label in banking], [answer.label for answer in predictions]
    values = values_of(task, predictions, examples, setup)
    for average in ("macro", "micro", "weighted"):
        wanted = precision_recall_fscore_support(expected, predicted, average=average, zero_division=0)[:3]
        assert [values[f"{name}_{average}"] for name in ("precision", "recall", "f1")] == pytest.approx(list(wanted))
    assert values["accuracy"] == pytest.approx(accuracy_score(expected, predicted))
    assert 0.5 < values["accuracy"] < 0.95


def test_the_calibration_error_is_always_there(task, banking):
    setup, examples = single(task, banking)
    predictions = answered(task, setup, examples)
    error = 0.0
    for low in range(15):
        inside = [
            (answer.score, answer.label == label)
            for answer, (_, label) in zip(predictions, banking, strict=True)
            if low / 15 < answer.score <= (low + 1) / 15
        ]
        error += abs(sum(score - right for score, right in inside)) / len(banking)
    assert values_of(task, predictions, examples, setup)["ece"] == pytest.approx(error)
    assert "ece" in task.metrics[0].lower_is_better


def test_nothing_is_calibrated_unless_it_is_asked_for(task, banking):
    setup, examples = single(task, banking)
    assert task.calibrate(answered(task, setup, examples), examples, setup) is setup


# ── temperature ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_temperature_makes_the_probabilities_honest(task, banking):
    setup, examples = single(task, banking, calibrated=True)
    before = answered(task, setup, examples)
    fitted = task.calibrate(before, examples, setup)
    assert fitted.facts["temperature"] > 1.5
    json.dumps(dict(fitted.facts))
    after = answered(task, fitted, examples)
    assert [answer.label for answer in after] == [answer.label for answer in before]
    raw, values = values_of(task, before, examples, setup), values_of(task, after, examples, fitted)
    assert values["ece"] < 0.7 * raw["ece"]
    assert values["ece_uncalibrated"] == pytest.approx(raw["ece"], abs=1e-6)
    scores = task.metrics[0].compute(after, examples, fitted)
    assert "temperature:" in scores.signature
    assert "Confidence and accuracy" in [table.title for table in scores.tables]


def test_calibrating_again_gives_the_same(task, banking):
    """At the second evaluation of a run predictions may bear the first one's temperature."""
    setup, examples = single(task, banking, outside=4, reject="auto")
    once = task.calibrate(answered(task, setup, examples), examples, setup)
    twice = task.calibrate(answered(task, once, examples), examples, once)
    assert twice.facts["temperature"] == pytest.approx(once.facts["temperature"], rel=1e-4)
    assert twice.facts["reject_below"] == pytest.approx(once.facts["reject_below"], abs=1e-4)


# ── rejection ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("reject", "share"), [(0.2, 0.2), ("auto", 0.05)])
def test_at_most_the_share_is_rejected(task, banking, reject, share):
    setup, examples = single(task, banking, reject=reject)
    assert all(answer.label == answer.candidate for answer in answered(task, setup, examples))
    fitted = task.calibrate(answered(task, setup, examples), examples, setup)
    predictions = answered(task, fitted, examples)
    rejected = [answer for answer in predictions if answer.label == OUTSIDE]
    assert share * 500 - 1 <= len(rejected) <= share * 500
    assert all(answer.score < fitted.facts["reject_below"] for answer in rejected)
    assert OUTSIDE not in {answer.candidate for answer in predictions}
    values = values_of(task, predictions, examples, fitted)
    assert values["coverage"] == pytest.approx(1 - len(rejected) / 500)
    right = sum(answer.label == label for answer, (_, label) in zip(predictions, banking, strict=True))
    assert values["accuracy"] == values["accuracy_in_scope"] == pytest.approx(right / 500)
    assert values["accuracy_answered"] == pytest.approx(right / (500 - len(rejected)))
    assert values["accuracy_answered"] > values["accuracy_in_scope"]
    assert not [name for name in values if name.startswith(OUTSIDE)]


def test_rows_out_of_scope_set_the_threshold_and_are_scored(task, banking):
    setup, examples = single(task, banking, outside=4, reject="auto")
    fitted = task.calibrate(answered(task, setup, examples), examples, setup)
    predictions = answered(task, fitted, examples)
    outside = [example.labels == (OUTSIDE,) for example in examples]
    rejected = [answer.label == OUTSIDE for answer in predictions]
    confidences = [answer.score for answer in predictions]
    reached = f1_score(outside, rejected)
    assert reached == max(f1_score(outside, [c < t for c in confidences]) for t in [*confidences, 1.1])
    values = values_of(task, predictions, examples, fitted)
    precision, recall, f1, _ = precision_recall_fscore_support(outside, rejected, average="binary")
    assert [values[f"{OUTSIDE}_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(
        [precision, recall, f1]
    )
    assert values[f"{OUTSIDE}_auroc"] == pytest.approx(roc_auc_score(outside, [-c for c in confidences]))
    inside = [at for at, out in enumerate(outside) if not out]
    expected, predicted = [example.labels[0] for example in examples], [answer.label for answer in predictions]
    assert values["accuracy"] == pytest.approx(accuracy_score(expected, predicted))
    assert values["accuracy_in_scope"] == pytest.approx(np.mean([expected[at] == predicted[at] for at in inside]))


def test_model_and_baseline_give_the_same_values(task, banking):
    for outside, options in ((0, {}), (0, {"calibrated": True}), (0, {"reject": 0.1}), (4, {"reject": 0.1})):
        setup, examples = single(task, banking, outside, **options)
        baseline = task.baseline(examples, setup)
        model = values_of(task, answered(task, setup, examples), examples, setup)
        assert values_of(task, baseline, examples, setup).keys() == model.keys()


def test_a_rejecting_prediction_is_plain_json(task):
    options = task.options(reject=0.1, out_of_scope="其他")
    setup = TaskSetup(options, ("余额", "挂失"), {"temperature": 2.0, "reject_below": 0.9})
    window = Window(Feature(0, {}), {"logits": np.array([2.0, 0.0])})
    found = task.decode(TextExample("a", "天气怎么样"), [window], setup)
    assert json.loads(json.dumps(dataclasses.asdict(found))) == {
        "id": "a",
        "label": "其他",
        "score": pytest.approx(1 / (1 + np.exp(-1))),
        "scores": {"余额": pytest.approx(1 / (1 + np.exp(-1))), "挂失": pytest.approx(1 / (1 + np.exp(1)))},
        "candidate": "余额",
    }


def test_out_of_scope_is_a_label_of_rows_that_are_not_trained_on(task, tiny_bert):
    setup = TaskSetup(task.options(reject=0.1), ("余额", "挂失"))
    example = TextExample("a", "天气怎么样", labels=(OUTSIDE,))
    task.check_example(example, setup)
    with pytest.raises(RowError, match="unknown label 'out_of_scop'"):
        task.check_example(TextExample("a", "b", labels=("out_of_scop",)), setup)
    with pytest.raises(RowError, match="unknown label 'out_of_scope'"):
        task.check_example(example, TaskSetup(task.options(), setup.labels))
    settings = EncodeSettings(AutoTokenizer.from_pretrained(tiny_bert), 32, 8, setup)
    features = task.encode([example, TextExample("b", "x", labels=("挂失",)), TextExample("c", "x")], settings)
    assert [feature.labels for feature in features] == [{"labels": -100}, {"labels": 1}, {}]
    with pytest.raises(DataError, match=r"training rows are labelled 'out_of_scope': with options.reject only"):
        task.prepare([example, TextExample("b", "x", labels=("挂失",))], setup.options)
    with pytest.raises(DataError, match="every validation row is labelled out of scope"):
        task.calibrate(answered(task, setup, [example]), [example], setup)


@pytest.mark.parametrize(("options", "name"), [({"reject": "auto"}, "reject"), ({"calibrated": True}, "calibrated")])
def test_a_model_that_others_fine_tuned_has_nothing_to_reject_by(task, options, name):
    with pytest.raises(DataError, match=rf"options.{name}: this model comes without what finetune learns"):
        task.setup_from_labels(("x", "y"), task.options(**options))


# ── thresholds ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def tagged(task: Any, banking: list[tuple[str, str]]) -> tuple[TaskSetup, list[TextExample]]:
    """Setup and 500 real questions, each labelled with the words of some that its intent is made of."""
    words, options = ("card", "transfer", "top", "cash", "exchange", "pin"), task.options(multi_label=True)
    rows = [{"text": text, "label": [w for w in words if w in intent.split("_")]} for text, intent in banking]
    examples = [task.to_example(row, str(n), options) for n, row in enumerate(rows)]
    return task.prepare(examples, options), examples


def test_thresholds_are_tuned_by_label(task, tagged):
    setup, examples = tagged
    before = answered(task, setup, examples, sharp=1.0)
    tuned = task.calibrate(before, examples, setup)
    assert set(tuned.facts["thresholds"]) == set(setup.labels)
    json.dumps(dict(tuned.facts))
    after = answered(task, tuned, examples, sharp=1.0)
    assert [answer.scores for answer in after] == [answer.scores for answer in before]
    old, new = (values_of(task, answers, examples, tuned) for answers in (before, after))
    assert new["f1_macro"] > old["f1_macro"]
    for label in setup.labels:
        truth = [label in example.labels for example in examples]
        best = max(f1_score(truth, [a.scores[label] >= t for a in after]) for t in np.arange(0.01, 1, 0.01))
        assert f1_score(truth, [label in answer.labels for answer in after]) >= best


def test_thresholds_may_be_given(task, tagged):
    setup, examples = tagged
    tuned = task.calibrate(answered(task, setup, examples), examples, setup)
    for threshold in (0.3, {"card": 0.8}):
        given = dataclasses.replace(tuned, options=task.options(multi_label=True, threshold=threshold))
        assert task.calibrate(answered(task, given, examples), examples, given) is given
        for answer in answered(task, given, examples):
            least = {**dict.fromkeys(setup.labels, 0.5), **(threshold if isinstance(threshold, dict) else {})}
            least = least if isinstance(threshold, dict) else dict.fromkeys(setup.labels, threshold)
            assert answer.labels == tuple(label for label in setup.labels if answer.scores[label] >= least[label])


def test_a_threshold_of_an_unknown_label_is_refused_wherever_it_is_said(task, tagged):
    setup, examples = tagged
    options = task.options(multi_label=True, threshold={"crad": 0.3})
    problem = "options.threshold: unknown label 'crad'. Did you mean 'card'?"
    with pytest.raises(DataError, match=problem):
        task.prepare(examples, options)
    with pytest.raises(DataError, match=problem):
        task.setup_from_labels(setup.labels, options)
    with pytest.raises(DataError, match=problem):
        answered(task, dataclasses.replace(setup, options=options), examples[:1])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"threshold": 0.3}, "threshold goes with multi_label=true; for answers out of scope say reject"),
        (
            {"multi_label": True, "reject": 0.1},
            "reject and calibrated go with one label per text, not with multi_label=true",
        ),
        ({"reject": 1.0}, "reject must be auto or lie between 0 and 1, not 1.0"),
        ({"reject": 0.1, "out_of_scope": " "}, "out_of_scope must be a name"),
    ],
)
def test_options_that_do_not_go_together_are_refused(task, options, problem):
    with pytest.raises(RunError) as caught:
        build_options(task, options)
    assert str(caught.value) == f"options: {problem}"


@pytest.mark.parametrize(
    ("written", "expected"), [("tuned", "tuned"), (0.25, 0.25), ("0.25", 0.25), ({"x": 0.25}, {"x": 0.25})]
)
def test_thresholds_as_a_config_writes_them(task, written, expected):
    assert build_options(task, {"multi_label": True, "threshold": written}).threshold == expected
