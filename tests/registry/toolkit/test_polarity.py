"""What labels mean: names in several languages, grades, numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhead.registry import DataError
from polyhead.registry.toolkit.polarity import (
    NAMES,
    STRENGTHS,
    from_polarity,
    label_scale,
    number_in,
    scale_of,
    to_polarity,
    usual_range,
)


@pytest.mark.parametrize(
    ("labels", "polarities", "ranks"),
    [
        (("negative", "positive"), (-1, 1), (0, 1)),
        (("正面", "负面"), (1, -1), (1, 0)),
        (("中性", "消极", "积极"), (0, -1, 1), (1, 0, 2)),
        (("差评", "好评"), (-1, 1), (0, 1)),
        (("Neutral", "POSITIVE", "Negative"), (0, 1, -1), (1, 2, 0)),
        (("NEG", "NEU", "POS"), (-1, 0, 1), (0, 1, 2)),
        (("negative", "neutral", "positive", "very negative", "very_positive"), (-0.5, 0, 0.5, -1, 1), (1, 2, 3, 0, 4)),
        (("mixed", "negative", "neutral", "positive"), (0, -1, 0, 1), None),
        (("0", "1"), (-1, 1), (0, 1)),
        (("-1", "0", "1"), (-1, 0, 1), (-1, 0, 1)),
        (("0", "1", "2", "3", "4"), (-1, -0.5, 0, 0.5, 1), (0, 1, 2, 3, 4)),
        (("1", "3", "5"), (-1, 0, 1), (1, 3, 5)),
        (("2", "3", "4"), (-0.5, 0, 0.5), (2, 3, 4)),
        (("1 star", "2 stars", "3 stars", "4 stars", "5 stars"), (-1, -0.5, 0, 0.5, 1), (1, 2, 3, 4, 5)),
        (("1星", "５星", "３星"), (-1, 1, 0), (1, 5, 3)),
        (("anger", "joy"), None, None),
        (("joy", "positive"), None, None),
        (("LABEL_0", "LABEL_1"), None, None),
    ],
)
def test_what_labels_mean(labels, polarities, ranks):
    found = label_scale(labels)
    assert (found.polarities, found.ranks) == (polarities, ranks)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("1", "2", "3"), "stars"),
        (("1", "2", "3", "4", "5"), "stars"),
        (("1.0", "2.0", "5.0"), "stars"),
        (("1", "5"), "labels"),
        (("0", "1"), "labels"),
        (("0", "1", "2", "3", "4"), "labels"),
        (("1", "2", "2.5"), "number"),
        (("0.25", "1"), "number"),
        (tuple(str(number) for number in range(12)), "number"),
        (("1", "2", "positive"), "labels"),
        (("nan", "1", "2"), "labels"),
    ],
)
def test_the_scale_is_told_from_the_labels(labels, expected):
    assert scale_of(labels) == expected


def test_stars_may_be_told():
    assert label_scale(("1", "2"), "stars").polarities == (-1, -0.5)
    assert label_scale(("1", "2")).polarities == (-1, 1)
    with pytest.raises(DataError) as caught:
        label_scale(("1", "6"), "stars")
    assert str(caught.value) == "options.scale=stars: label '6' is no whole number from 1 to 5"


def test_overrides_stand_before_names():
    found = label_scale(("anger", "joy", "negative"), overrides={"anger": -0.8, "joy": 1})
    assert (found.polarities, found.ranks) == ((-0.8, 1, -1), (1, 2, 0))


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"angry": -1}, "options.polarity: unknown label 'angry'. Did you mean 'anger'? Available: anger, fear, joy."),
        ({"joy": 2}, "options.polarity.joy: expected a number from -1 to 1, found 2"),
        ({"joy": 1}, "options.polarity: say a number from -1 to 1 for these labels too: anger, fear"),
    ],
)
def test_overrides_that_make_no_sense_are_refused(overrides, problem):
    with pytest.raises(DataError) as caught:
        label_scale(("anger", "fear", "joy"), overrides=overrides)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("label", "expected"),
    [("4", 4), (" -0.5 ", -0.5), ("４", 4), ("3 stars", 3), ("4星", 4), ("好", None), ("inf", None)],
)
def test_numbers_in_labels(label, expected):
    assert number_in(label) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.3, 0.9], (0, 1)),
        ([-0.2, 0.5], (-1, 1)),
        ([1, 4.5], (1, 5)),
        ([0.5, 4.5], (0, 5)),
        ([3, 8.5], (1, 10)),
        ([0, 99], (0, 100)),
        ([-500, 3], (-500, 3)),
    ],
)
def test_the_usual_range(values, expected):
    assert usual_range(values) == expected


@given(st.floats(-1, 1), st.sampled_from([(0, 1), (-1, 1), (1, 5), (0, 10)]))
def test_a_polarity_comes_back_from_its_number(polarity, span):
    number = from_polarity(polarity, span)
    assert span[0] <= number <= span[1]
    assert to_polarity(number, span) == pytest.approx(polarity, abs=1e-9)


def test_no_name_has_two_strengths():
    names = [name for line in NAMES.values() for name in line.split(",")]
    assert len(names) == len(set(names)) > 80
    assert set(STRENGTHS.values()) == {-2, -1, 0, 1, 2}
