"""Temperatures, calibration error and thresholds, against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from polyhead.registry.toolkit import calibration


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(11)


def softmax(logits: np.ndarray) -> np.ndarray:
    return torch.softmax(torch.tensor(logits), -1).numpy()


def error_by_loop(confidences: list[float], correct: list[bool], bins: int) -> float:
    """Guo et al., equation 3, row by row: bin m holds confidences in ((m - 1) / M, m / M]."""
    total = 0.0
    for number in range(1, bins + 1):
        rows = [at for at, c in enumerate(confidences) if (number - 1) / bins < c <= number / bins]
        if rows:
            accuracy = sum(correct[at] for at in rows) / len(rows)
            confidence = sum(confidences[at] for at in rows) / len(rows)
            total += len(rows) / len(confidences) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_the_calibration_error_is_that_of_the_paper(draw, bins):
    confidences = draw.uniform(0.05, 1.0, 500).tolist()
    correct = (draw.uniform(size=500) < 0.8).tolist()
    found = calibration.reliability(confidences, correct, bins)
    assert found.error == pytest.approx(error_by_loop(confidences, correct, bins), rel=1e-12)
    assert sum(row[1] for row in found.table.rows) == 500


@pytest.mark.parametrize(("confidence", "correct", "expected"), [(1.0, True, 0.0), (1.0, False, 1.0), (0.5, True, 0.5)])
def test_the_error_of_one_answer(confidence, correct, expected):
    assert calibration.reliability([confidence], [correct]).error == pytest.approx(expected)


@pytest.mark.parametrize("sharpened", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_made_logits_too_sharp(draw, sharpened):
    logits = draw.normal(size=(4000, 5)) * 2
    labels = [int(draw.choice(5, p=row)) for row in softmax(logits)]
    found = calibration.fit_temperature(logits * sharpened, labels)
    assert found == pytest.approx(sharpened, rel=0.08)
    log_probabilities = np.log(softmax(logits * sharpened))
    assert calibration.fit_temperature(log_probabilities, labels) == pytest.approx(found, rel=1e-4)


def test_the_temperature_makes_the_labels_likeliest(draw):
    logits = draw.normal(size=(200, 4)) * 3
    labels = [int(draw.choice(4, p=row)) for row in softmax(logits / 2)]
    found = calibration.fit_temperature(logits, labels)

    def loss(temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(torch.tensor(logits) / temperature, torch.tensor(labels)))

    assert loss(found) <= min(loss(found * 1.02), loss(found / 1.02))


def test_right_answers_alone_leave_a_temperature_within_bounds():
    assert 0.09 < calibration.fit_temperature(np.array([[5.0, 0.0], [0.0, 5.0]]), [0, 1]) < 0.2


def test_logits_come_back_from_the_probabilities_of_any_temperature(draw):
    logits, labels = draw.normal(size=(20, 3)) * 4, ("差", "中", "好")
    scores = [dict(zip(labels, row, strict=True)) for row in softmax(logits / 1.7).tolist()]
    found = calibration.log_scores(scores, labels, 1.7)
    np.testing.assert_allclose(found - found[:, :1], logits - logits[:, :1], atol=1e-9)
    np.testing.assert_allclose(calibration.confidences_at(found, 1.0), softmax(logits).max(1), rtol=1e-9)
    assert np.isfinite(calibration.log_scores([{"差": 1.0, "中": 0.0, "好": 0.0}], labels)).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_best_threshold_is_no_worse_than_any(seed):
    draw = np.random.default_rng(seed)
    scores, positive = draw.uniform(size=80).round(1), draw.uniform(size=80) < 0.3
    scores = np.clip(scores + 0.2 * positive, 0, 1).round(1)  # many equal ones
    found = calibration.best_f1_threshold(scores.tolist(), positive.tolist())
    reached = f1_score(positive, scores >= found)
    assert reached == max(f1_score(positive, scores >= t, zero_division=0) for t in np.arange(0, 1.1, 0.05))


def test_the_threshold_lies_between_scores():
    assert calibration.best_f1_threshold([0.2, 0.9, 0.7], [False, True, True]) == pytest.approx(0.45)
    assert calibration.best_f1_threshold([0.4, 0.8], [True, True]) == pytest.approx(0.2)


def test_each_label_has_its_threshold_and_rare_ones_share():
    scores = [{"a": n / 10, "b": 1 - n / 10, "稀": n / 20} for n in range(10)]
    expected = [("a",) if n > 2 else ("b",) for n in range(10)]
    expected[9] = ("a", "稀")
    found = calibration.label_thresholds(scores, expected, ("a", "b", "稀"))
    assert found["a"] == pytest.approx(0.25)
    flat = [(score, label in bears) for of, bears in zip(scores, expected, strict=True) for label, score in of.items()]
    shared = calibration.best_f1_threshold([score for score, _ in flat], [positive for _, positive in flat])
    assert found["b"] == found["稀"] == shared  # three and one positives: too few for a threshold of their own


def test_hardly_any_positives_leave_a_half():
    assert calibration.label_thresholds([{"a": 0.1}, {"a": 0.9}], [("a",), ()], ("a",)) == {"a": 0.5}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.9])
def test_at_most_the_share_is_rejected(draw, share):
    confidences = draw.uniform(size=137).tolist()
    threshold = calibration.rejection_by_share(confidences, share)
    rejected = sum(confidence < threshold for confidence in confidences)
    assert share * 137 - 1 < rejected <= share * 137


def test_equal_confidences_are_not_rejected_beyond_the_share():
    assert calibration.rejection_by_share([0.5] * 10, 0.3) == 0.5


def test_rejection_finds_what_is_out_of_scope():
    confidences, outside = [0.9, 0.3, 0.8, 0.4], [False, True, False, True]
    assert calibration.rejection_by_f1(confidences, outside) == pytest.approx(0.6)
    assert calibration.rejection_by_f1([0.2, 0.3], [True, True]) == pytest.approx((0.3 + 1) / 2)
