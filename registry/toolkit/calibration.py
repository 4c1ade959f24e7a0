"""How sure a classifier may be: temperature, calibration error, and thresholds chosen on validation data.

Import this module inside a function: it loads numpy. Shapes: N examples, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from polyhead.registry.contracts import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

BINS = 15
"""Equal bins of confidence for the calibration error, as Guo et al. (2017) take them."""
FEWEST_POSITIVES = 5
"""A label borne by fewer validation examples gets no threshold of its own: it would fit the noise."""
LEAST_TEMPERATURE, GREATEST_TEMPERATURE = 0.1, 10.0
SMALLEST_PROBABILITY = 1e-300
"""Stands for a probability that came out as 0, which has no logarithm."""


@dataclass(frozen=True)
class Reliability:
    """How confidence and accuracy go together."""

    error: float
    """Expected calibration error: mean distance of confidence and accuracy over the bins, weighted by their counts."""
    table: Table
    """Confidence, accuracy and count by bin."""


def reliability(confidences: Sequence[float], correct: Sequence[bool], bins: int = BINS) -> Reliability:
    """Compare confidence with accuracy in equal bins ``(low, high]`` of confidence.

    Definition: Guo et al. 2017, On Calibration of Modern Neural Networks, equations 2 and 3.
    """
    confidence_N, correct_N = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=float)
    bin_N = np.clip(np.ceil(confidence_N * bins).astype(int) - 1, 0, bins - 1)
    error, rows = 0.0, []
    for number in range(bins):
        inside_N = bin_N == number
        count = int(inside_N.sum())
        if count:
            confidence, accuracy = float(confidence_N[inside_N].mean()), float(correct_N[inside_N].mean())
            error += abs(confidence - accuracy) * count / len(confidence_N)
            rows.append((f"{number / bins:.3f}-{(number + 1) / bins:.3f}", count, confidence, accuracy))
    columns = ("confidence from-to", "count", "mean confidence", "accuracy")
    return Reliability(error, Table("Confidence and accuracy", columns, tuple(rows)))


def fit_temperature(log_probabilities_NL: Numbers, labels_N: Sequence[int]) -> float:
    """Return the temperature that, dividing the logits, makes the labels likeliest; between 0.1 and 10.

    Logits may be given less any constant a row, as log-probabilities are. Definition: Guo et al. 2017, section 4.2.
    """
    from scipy.optimize import minimize_scalar  # heavy

    logits_NL, rows_N = np.asarray(log_probabilities_NL, dtype=float), np.arange(len(labels_N))

    def mean_loss(log_temperature: float) -> float:
        scaled_NL = logits_NL / np.exp(log_temperature)
        return float((_log_sum_exp(scaled_NL) - scaled_NL[rows_N, labels_N]).mean())

    bounds = (np.log(LEAST_TEMPERATURE), np.log(GREATEST_TEMPERATURE))
    return float(np.exp(minimize_scalar(mean_loss, bounds=bounds, method="bounded").x))


def log_scores(scores: Sequence[Mapping[str, float]], labels: Sequence[str], temperature: float = 1.0) -> Numbers:
    """Return the logits (less a constant a row) ``[N, L]`` behind probabilities that this temperature gave.

    A label that is not named has the probability 0.
    """
    probabilities_NL = np.array([[of.get(label, 0.0) for label in labels] for of in scores], dtype=float)
    logits_NL: Numbers = np.log(np.maximum(probabilities_NL, SMALLEST_PROBABILITY)) * temperature
    return logits_NL


def confidences_at(logits_NL: Numbers, temperature: float) -> Numbers:
    """Return the probability of the likeliest label of each row under a temperature."""
    scaled_NL = logits_NL / temperature
    confidence_N: Numbers = np.exp(scaled_NL.max(axis=1) - _log_sum_exp(scaled_NL))
    return confidence_N


def best_f1_threshold(scores: Sequence[float], positive: Sequence[bool], floor: float = 0.0) -> float:
    """Return the threshold ``t`` at which the rule ``score >= t`` has the best F1.

    It lies half way to the next lower score (or to ``floor``), so that scores that come out a hair lower still count;
    among equals the highest is taken. At least one row must be positive.
    """
    score_N, positive_N = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    order_N = np.argsort(-score_N, kind="stable")
    sorted_N = score_N[order_N]
    hits_N, chosen_N = np.cumsum(positive_N[order_N]), np.arange(1, len(sorted_N) + 1)
    f1_N = 2 * hits_N / (chosen_N + positive_N.sum())
    f1_N[:-1][sorted_N[:-1] == sorted_N[1:]] = -1.0  # equal scores are chosen together or not at all
    best = int(np.argmax(f1_N))
    lower = sorted_N[best + 1] if best + 1 < len(sorted_N) else floor
    return float((sorted_N[best] + lower) / 2)


def label_thresholds(
    scores: Sequence[Mapping[str, float]], expected: Sequence[Sequence[str]], labels: Sequence[str]
) -> dict[str, float]:
    """Return the probability from which each label is given, by the best F1 on these examples.

    A label that fewer than `FEWEST_POSITIVES` of them bear takes the threshold with the best micro F1 of all labels
    (the fallback of SCutFBR: Yang 2001, A Study of Thresholding Strategies for Text Categorization); with fewer
    positives than that in all, every threshold is 0.5.
    """
    score_NL = np.array([[of[label] for label in labels] for of in scores], dtype=float)
    positive_NL = np.array([[label in bears for label in labels] for bears in expected], dtype=bool)
    if positive_NL.sum() < FEWEST_POSITIVES:
        return dict.fromkeys(labels, 0.5)
    shared = best_f1_threshold(score_NL.ravel().tolist(), positive_NL.ravel().tolist())
    return {
        label: best_f1_threshold(score_NL[:, at].tolist(), positive_NL[:, at].tolist())
        if positive_NL[:, at].sum() >= FEWEST_POSITIVES
        else shared
        for at, label in enumerate(labels)
    }


def rejection_by_share(confidences: Sequence[float], share: float) -> float:
    """Return the highest threshold below which at most this share of the confidences lies."""
    ordered = sorted(confidences)
    return float(ordered[int(share * len(ordered))])


def rejection_by_f1(confidences: Sequence[float], out_of_scope: Sequence[bool]) -> float:
    """Return the confidence below which rejecting finds the out-of-scope rows with the best F1."""
    return -best_f1_threshold([-confidence for confidence in confidences], out_of_scope, floor=-1.0)


def _log_sum_exp(values_NL: Numbers) -> Numbers:
    greatest_N1 = values_NL.max(axis=1, keepdims=True)
    summed_N: Numbers = greatest_N1[:, 0] + np.log(np.exp(values_NL - greatest_N1).sum(axis=1))
    return summed_N
