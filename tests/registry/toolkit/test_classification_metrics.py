"""The shared classification metrics: equal to scikit-learn's, right in small cases, clear about bad input."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn
from sklearn import metrics as reference
from sklearn.preprocessing import MultiLabelBinarizer

from polyhead.registry import DataError, Table
from polyhead.registry.toolkit.classification_metrics import multi_label_scores, single_label_scores

LABELS = ("negative", "neutral", "positive", "正面")


def draw_labels(seed: int, count: int, labels: tuple[str, ...] = LABELS) -> list[str]:
    generator = random.Random(seed)
    return [generator.choice(labels) for _ in range(count)]


def draw_label_sets(seed: int, count: int) -> list[tuple[str, ...]]:
    generator = random.Random(seed)
    return [tuple(generator.sample(LABELS, generator.randint(0, 3))) for _ in range(count)]


def table(tables: tuple[Table, ...], title: str) -> Table:
    return next(found for found in tables if found.title == title)


def averages(expected, predicted) -> dict[str, float]:
    """Return what scikit-learn says on the strings (or indicators) themselves."""
    functions = {
        "precision": reference.precision_score,
        "recall": reference.recall_score,
        "f1": reference.f1_score,
    }
    return {
        f"{name}_{average}": function(expected, predicted, average=average, zero_division=0)
        for name, function in functions.items()
        for average in ("micro", "macro", "weighted")
    }


# ── one label an example ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(3))
def test_single_label_values_equal_scikit_learn(seed: int):
    expected, predicted = draw_labels(seed, 200), draw_labels(seed + 100, 200)

    scores = single_label_scores(predicted, expected, LABELS)

    assert scores.values == pytest.approx(
        {
            "accuracy": reference.accuracy_score(expected, predicted),
            "mcc": reference.matthews_corrcoef(expected, predicted),
            **averages(expected, predicted),
        }
    )
    assert {type(value) for value in scores.values.values()} == {float}


def test_single_label_values_by_hand():
    scores = single_label_scores(["好", "好", "坏", "坏"], ["好", "坏", "坏", "坏"], ("好", "坏"))

    # 好: precision 1/2, recall 1/1, F1 2/3; 坏: precision 2/2, recall 2/3, F1 4/5
    assert scores.values["accuracy"] == 0.75
    assert scores.values["precision_macro"] == 0.75
    assert scores.values["recall_macro"] == pytest.approx(5 / 6)
    assert scores.values["f1_macro"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores.values["f1_micro"] == 0.75
    assert scores.values["f1_weighted"] == pytest.approx((2 / 3 + 3 * 4 / 5) / 4)
    # tp 1, fp 1, fn 0, tn 2
    assert scores.values["mcc"] == pytest.approx((1 * 2 - 1 * 0) / (2 * 1 * 3 * 2) ** 0.5)
    assert table(scores.tables, "Scores by label").rows == (
        ("好", 0.5, 1.0, pytest.approx(2 / 3), 1),
        ("坏", 1.0, pytest.approx(2 / 3), pytest.approx(4 / 5), 3),
    )


def test_macro_average_leaves_out_labels_that_never_occur():
    scores = single_label_scores(["positive", "negative"], ["positive", "negative"], LABELS)

    assert scores.values["f1_macro"] == 1.0
    by_label = table(scores.tables, "Scores by label")
    assert [row[0] for row in by_label.rows] == ["negative", "positive"]


def test_macro_average_counts_a_label_that_is_only_predicted():
    scores = single_label_scores(["positive", "neutral"], ["positive", "positive"], LABELS)

    assert scores.values["f1_macro"] == pytest.approx((2 / 3 + 0) / 2)


def test_a_constant_answer_has_no_correlation_and_no_warning():
    scores = single_label_scores(["positive"] * 4, ["positive"] * 4, LABELS)

    assert (scores.values["accuracy"], scores.values["mcc"]) == (1.0, 0.0)


def test_more_labels_than_half_the_examples_give_no_warning():
    labels = tuple(f"意图{number}" for number in range(40))

    assert single_label_scores(labels, labels, labels).values["accuracy"] == 1.0


def test_confusion_matrix_holds_every_label_of_the_setup():
    scores = single_label_scores(["正面", "neutral", "正面"], ["正面", "正面", "neutral"], LABELS)

    confusion = table(scores.tables, "Confusion matrix")
    assert confusion.columns == ("expected \\ predicted", "negative", "neutral", "positive", "正面")
    assert confusion.rows == (
        ("negative", 0, 0, 0, 0),
        ("neutral", 0, 0, 0, 1),
        ("positive", 0, 0, 0, 0),
        ("正面", 0, 1, 0, 1),
    )


def test_many_labels_list_the_most_confused_pairs():
    labels = tuple(f"intent_{number:02}" for number in range(31))
    expected = ["intent_00"] * 4 + ["intent_01"] * 2 + list(labels)
    predicted = ["intent_05"] * 3 + ["intent_00"] + ["intent_00"] * 2 + list(labels)

    scores = single_label_scores(predicted, expected, labels)

    assert [found.title for found in scores.tables] == ["Scores by label", "Most confused pairs"]
    assert scores.tables[1].rows == (
        ("intent_00", "intent_05", 3, 3 / 5),
        ("intent_01", "intent_00", 2, 2 / 3),
    )


def test_many_labels_without_mistakes_have_no_table_of_pairs():
    labels = tuple(f"intent_{number:02}" for number in range(31))

    assert [found.title for found in single_label_scores(labels, labels, labels).tables] == ["Scores by label"]


def test_most_confused_pairs_are_cut():
    labels = tuple(f"intent_{number:02}" for number in range(31))

    pairs = table(single_label_scores(labels[1:] + labels[:1], labels, labels).tables, "Most confused pairs")

    assert len(pairs.rows) == 20


def test_single_label_signature_says_what_was_computed():
    scores = single_label_scores(["neutral"], ["neutral"], LABELS)

    version = sklearn.__version__
    assert scores.signature == (f"accuracy+prf+mcc|scikit-learn:{version}|zero_division:0|macro:occurring|labels:4")


# ── label sets ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(3))
def test_multi_label_values_equal_scikit_learn(seed: int):
    expected, predicted = draw_label_sets(seed, 200), draw_label_sets(seed + 100, 200)
    binarizer = MultiLabelBinarizer(classes=LABELS)
    gold, guess = binarizer.fit_transform(expected), binarizer.transform(predicted)

    scores = multi_label_scores(predicted, expected, LABELS)

    assert scores.values == pytest.approx(
        {
            "subset_accuracy": reference.accuracy_score(gold, guess),
            "hamming_loss": reference.hamming_loss(gold, guess),
            **averages(gold, guess),
        }
    )
    assert {type(value) for value in scores.values.values()} == {float}
    precision, recall, f1, support = reference.precision_recall_fscore_support(gold, guess, zero_division=0)
    assert scores.tables[0].columns == ("label", "precision", "recall", "f1", "support")
    assert scores.tables[0].rows == tuple(zip(LABELS, precision, recall, f1, support, strict=True))


def test_multi_label_values_by_hand():
    expected = [("体育", "财经"), ("财经",), ()]
    predicted = [{"体育"}, {"财经", "体育"}, set()]

    scores = multi_label_scores(predicted, expected, ("体育", "财经", "科技"))

    # 体育: one right, one wrong; 财经: one right, one missed; 科技 never occurs
    assert scores.values["precision_micro"] == pytest.approx(2 / 3)
    assert scores.values["recall_micro"] == pytest.approx(2 / 3)
    assert scores.values["f1_macro"] == pytest.approx(2 / 3)
    assert scores.values["subset_accuracy"] == pytest.approx(1 / 3)
    assert scores.values["hamming_loss"] == pytest.approx(2 / 9)
    assert scores.tables[0].rows == (
        ("体育", 0.5, 1.0, pytest.approx(2 / 3), 1),
        ("财经", 1.0, 0.5, pytest.approx(2 / 3), 2),
    )


def test_one_single_label_is_a_label_set_too():
    scores = multi_label_scores([["spam"], [], ["spam"]], [["spam"], ["spam"], []], ("spam",))

    assert scores.values["hamming_loss"] == pytest.approx(2 / 3)
    assert scores.values["subset_accuracy"] == pytest.approx(1 / 3)
    assert scores.values["f1_macro"] == 0.5


def test_label_sets_that_are_all_empty_are_all_right():
    scores = multi_label_scores([(), ()], [(), ()], LABELS)

    assert scores.values["subset_accuracy"] == 1.0
    assert scores.values["hamming_loss"] == 0.0
    assert scores.values["f1_macro"] == 0.0


def test_multi_label_signature_says_what_was_computed():
    scores = multi_label_scores([("neutral",)], [("neutral",)], LABELS)

    version = sklearn.__version__
    assert scores.signature == (
        f"subset_accuracy+prf+hamming_loss|scikit-learn:{version}|zero_division:0|macro:occurring|labels:4"
    )


# ── input that cannot be scored ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("score", [single_label_scores, multi_label_scores])
def test_nothing_to_score_is_said(score):
    with pytest.raises(DataError, match=r"^nothing to score: there are no examples$"):
        score([], [], LABELS)


def test_unknown_labels_are_named_with_their_side():
    with pytest.raises(DataError, match=r"unknown predicted label 'positiv'. Did you mean 'positive'\?"):
        single_label_scores(["positiv"], ["positive"], LABELS)
    with pytest.raises(DataError, match="unknown expected label '负面'"):
        multi_label_scores([()], [("负面",)], LABELS)


@pytest.mark.parametrize("score", [single_label_scores, multi_label_scores])
def test_a_prediction_too_few_is_an_error(score):
    with pytest.raises(ValueError, match="Mismatch"):
        score(["neutral"] * 3, ["neutral"] * 4, LABELS) if score is single_label_scores else score(
            [()] * 3, [()] * 4, LABELS
        )


# ── cost ────────────────────────────────────────────────────────────────────────────────────────────────


def test_scoring_writes_nothing_to_the_home_folder_and_prints_nothing(tmp_path: Path):
    code = (
        "from polyhead.registry.toolkit.classification_metrics import single_label_scores\n"
        "single_label_scores(['a'], ['a'], ('a', 'b'))\n"
    )
    environment = {"HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": ""}

    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [str(path) for path in tmp_path.rglob("*")] == []
