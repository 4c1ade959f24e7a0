"""What a row may say as text and label, the label set, and class weights."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from polyhead.registry import DataError, RowError, TaskSetup, TextExample
from polyhead.registry.toolkit.labels import (
    check_known,
    check_labels,
    class_weights,
    label_counts,
    label_of,
    labels_of,
    learn_labels,
    majority_labels,
    text_of,
)


def examples(*labels: tuple[str, ...] | None) -> list[TextExample]:
    return [TextExample(str(number), "text", labels=found) for number, found in enumerate(labels)]


def test_a_text_comes_as_it_stands():
    assert text_of({"text": " 很好看 "}, "text") == " 很好看 "


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({}, "column 'text': expected a text, found nothing"),
        ({"text": 5}, "column 'text': expected a text, found int 5"),
        ({"text": ["a"]}, "column 'text': expected a text, found list ['a']"),
        ({"text": " \u3000"}, "column 'text': the text is empty"),
    ],
)
def test_what_is_no_text_is_refused(row, problem):
    with pytest.raises(RowError) as caught:
        text_of(row, "text")
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("positive", "positive"),
        (" 正面 ", "正面"),
        (3, "3"),
        (True, "true"),
        (False, "false"),
        ("", None),
        (None, None),
    ],
)
def test_a_label_is_text(value, expected):
    assert label_of({"label": value}) == expected


@pytest.mark.parametrize("value", [0.5, ["a"], {"a": 1}])
def test_what_is_no_label_is_refused(value):
    with pytest.raises(RowError, match=r"column 'stars': expected one label, found"):
        label_of({"stars": value}, "stars")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a|b", ("a", "b")),
        (" 好看 | 好笑 ", ("好看", "好笑")),
        (["b", "a", "b"], ("b", "a")),
        ([1, True], ("1", "true")),
        ([], ()),
        ("", ()),
        (None, None),
    ],
)
def test_several_labels(value, expected):
    assert labels_of({"labels": value}) == expected


@pytest.mark.parametrize("value", [5, {"a": 1}, [0.5], [["a"]]])
def test_what_are_no_labels_is_refused(value):
    with pytest.raises(RowError, match="column 'labels': expected"):
        labels_of({"labels": value})


def test_the_label_set_is_sorted():
    assert learn_labels(examples(("b",), None, ("a", "中"), ("b",), ())) == ("a", "b", "中")


@pytest.mark.parametrize(("labels", "found"), [([None], "0 labels (none)"), ([("好",), ("好",)], "1 label (好)")])
def test_too_few_labels_are_refused(labels, found):
    with pytest.raises(DataError) as caught:
        learn_labels(examples(*labels))
    assert str(caught.value) == f"the training data holds {found}; at least 2 are needed"


def test_an_unknown_label_is_refused_with_the_nearest():
    setup = TaskSetup(None, ("negative", "positive"))
    check_labels(examples(("positive",))[0], setup)
    check_labels(examples(None)[0], setup)
    with pytest.raises(RowError) as caught:
        check_labels(examples(("Positve",))[0], setup)
    assert str(caught.value) == (
        "column 'label': unknown label 'Positve'. Did you mean 'positive'? Available: negative, positive."
    )


@pytest.mark.parametrize("seed", range(3))
def test_balanced_weights_are_scikit_learns(seed):
    drawn = np.random.default_rng(seed).choice(["a", "b", "中"], p=[0.7, 0.2, 0.1], size=200).tolist()
    labels = ("a", "b", "中")
    expected = compute_class_weight("balanced", classes=np.array(labels), y=drawn)
    assert class_weights("balanced", labels, Counter(drawn)) == pytest.approx(expected.tolist(), rel=1e-12)


def test_weights_by_label_leave_the_others_at_1():
    assert class_weights({"b": 2.5, "中": 3}, ("a", "b", "中"), {}) == [1.0, 2.5, 3.0]


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ("balance", "options.class_weights: expected 'balanced' or weights by label, found 'balance'"),
        ({"c": 1.0}, "options.class_weights: unknown label 'c'. Available: a, b."),
        ({"a": 0.0}, "options.class_weights.a: expected a number above 0, found 0.0"),
        ({"b": float("nan")}, "options.class_weights.b: expected a number above 0, found nan"),
    ],
)
def test_wrong_weights_are_refused(wanted, problem):
    with pytest.raises(DataError) as caught:
        class_weights(wanted, ("a", "b"), {"a": 1, "b": 1})
    assert str(caught.value) == problem


def test_counts_and_majorities():
    several = examples(("b", "a"), ("b",), ("b", "c"), (), None)
    assert label_counts(several) == {"a": 1, "b": 3, "c": 1}
    assert majority_labels({"b": 3, "a": 3, "c": 1}, 7, multi_label=False) == ["a"]
    assert majority_labels({"b": 3, "a": 3, "c": 2}, 5, multi_label=True) == ["a", "b"]
    assert majority_labels({}, 5, multi_label=True) == []


def test_an_option_that_names_an_unknown_label_is_refused():
    check_known("options.threshold", ["b"], ("a", "b"))
    with pytest.raises(DataError) as caught:
        check_known("options.threshold", ["b", "负"], ("a", "b"))
    assert str(caught.value) == "options.threshold: unknown label '负'. Available: a, b."
