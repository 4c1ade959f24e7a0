"""Scores of grades and numbers equal those of the reference libraries, on real rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, mean_squared_error

from polyhead.registry import DataError
from polyhead.registry.toolkit.number_metrics import number_scores, ordinal_scores

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"


@pytest.fixture(scope="module")
def stars() -> list[int]:
    """Grades of 400 real reviews: 1 or 5 by their label, less where the text is long, so that all five occur."""
    lines = (SAMPLES / "rotten_tomatoes" / "test.jsonl").read_text(encoding="utf-8").splitlines()[:400]
    rows = [json.loads(line) for line in lines]
    steps = [min(2, len(row["text"]) // 80) for row in rows]
    return [5 - step if row["label"] == "positive" else 1 + step for row, step in zip(rows, steps, strict=True)]


def test_grades_are_scored_as_scikit_learn_does(stars):
    moved = np.random.default_rng(3).integers(-2, 3, size=len(stars))
    predicted = np.clip(np.array(stars) + moved, 1, 5).tolist()
    scores = ordinal_scores(predicted, stars, (1, 2, 3, 4, 5))
    assert scores.values == {
        "mae": pytest.approx(mean_absolute_error(stars, predicted)),
        "kappa_quadratic": pytest.approx(cohen_kappa_score(stars, predicted, weights="quadratic")),
    }
    assert "weights:quadratic|grades:1-5" in scores.signature


def test_kappa_by_its_definition():
    predicted, expected = [1, 2, 5, 4, 1, 5], [1, 1, 5, 5, 2, 4]
    observed = sum((p - e) ** 2 for p, e in zip(predicted, expected, strict=True)) / 6
    by_chance = sum((p - e) ** 2 for p in predicted for e in expected) / 36
    assert ordinal_scores(predicted, expected, range(1, 6)).values["kappa_quadratic"] == pytest.approx(
        1 - observed / by_chance
    )


def test_a_grade_that_does_not_occur_keeps_its_place():
    """Between 2 and 5 lie three steps, though neither 3 nor 4 occurs."""
    wide = ordinal_scores([1, 5, 2, 5], [1, 2, 2, 5], (1, 2, 5)).values
    assert wide["mae"] == 0.75
    assert wide["kappa_quadratic"] == pytest.approx(
        cohen_kappa_score([1, 2, 2, 5], [1, 5, 2, 5], weights="quadratic", labels=[1, 2, 3, 4, 5])
    )


@pytest.mark.parametrize("grades", [[3, 3, 3], [2]])
def test_one_grade_alone_has_no_agreement(grades):
    assert ordinal_scores(grades, grades, (1, 5)).values == {"mae": 0.0, "kappa_quadratic": 0.0}


def test_numbers_are_scored_as_scipy_and_scikit_learn_do(stars):
    expected = [star + len(str(at)) / 10 for at, star in enumerate(stars)]
    predicted = (np.array(expected) + np.random.default_rng(5).normal(size=len(expected))).tolist()
    values = number_scores(predicted, expected, 3.0).values
    off = [at for at, number in enumerate(expected) if number != 3]
    assert values == {
        "mae": pytest.approx(mean_absolute_error(expected, predicted)),
        "rmse": pytest.approx(mean_squared_error(expected, predicted) ** 0.5),
        "pearson": pytest.approx(pearsonr(expected, predicted).statistic),
        "accuracy_sign": pytest.approx(np.mean([(predicted[at] > 3) == (expected[at] > 3) for at in off])),
    }


def test_a_constant_correlates_with_nothing():
    assert number_scores([0.5, 0.5], [0.1, 0.9], 0.5).values["pearson"] == 0.0


def test_numbers_in_the_middle_have_no_side():
    assert number_scores([0.4, 0.9, 0.1], [0.5, 0.8, 0.7], 0.5).values["accuracy_sign"] == 0.5
    assert "accuracy_sign" not in number_scores([0.4], [0.5], 0.5).values


@pytest.mark.parametrize("score", [lambda: ordinal_scores([], [], (1, 5)), lambda: number_scores([], [], 0.0)])
def test_nothing_has_no_score(score):
    with pytest.raises(DataError, match="nothing to score"):
        score()
