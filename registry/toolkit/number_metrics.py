"""Score grades and numbers by scikit-learn and scipy: how far off, and how well in step.

Import this module inside a function: `evaluate` takes seconds to load. A correlation or an agreement that is not
defined, because one side is always the same, is 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import datasets
import evaluate
import scipy
import sklearn
from scipy.stats import ConstantInputWarning, NearConstantInputWarning, pearsonr
from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error, root_mean_squared_error

from polyhead.registry.contracts import Scores
from polyhead.registry.toolkit.classification_metrics import metric_info, run_metric


class OrdinalMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """Mean absolute error and quadratic weighted kappa of whole numbers on one scale."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info("Mean absolute error, quadratic weighted kappa.", datasets.Value("int64"))

    def _compute(
        self, predictions: Sequence[int], references: Sequence[int], *, lowest: int, highest: int
    ) -> dict[str, float]:
        kappa = 0.0
        if len({*predictions, *references}) > 1:
            grades = list(range(lowest, highest + 1))
            kappa = float(cohen_kappa_score(references, predictions, labels=grades, weights="quadratic"))
        return {"mae": float(mean_absolute_error(references, predictions)), "kappa_quadratic": kappa}


class NumberMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """Mean absolute and root mean squared error, Pearson's correlation, and on which side of the middle numbers lie."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info("MAE, RMSE, Pearson's correlation, accuracy of the sign.", datasets.Value("float64"))

    def _compute(self, predictions: Sequence[float], references: Sequence[float], *, middle: float) -> dict[str, float]:
        sided = [(p > middle, r > middle) for p, r in zip(predictions, references, strict=True) if r != middle]
        values = {
            "mae": float(mean_absolute_error(references, predictions)),
            "rmse": float(root_mean_squared_error(references, predictions)),
            "pearson": _pearson(references, predictions),
        }
        if sided:
            values["accuracy_sign"] = float(accuracy_score([r for _, r in sided], [p for p, _ in sided]))
        return values


def ordinal_scores(predicted: Sequence[int], expected: Sequence[int], ranks: Sequence[int]) -> Scores:
    """Score grades: ``mae`` and ``kappa_quadratic``.

    Args:
        predicted: The grade of each prediction.
        expected: The grade of each reference.
        ranks: All grades there are; the scale runs from the lowest to the highest in steps of 1.

    """
    values = run_metric(OrdinalMetric, predicted, expected, lowest=min(ranks), highest=max(ranks))
    signature = f"mae+kappa|scikit-learn:{sklearn.__version__}|weights:quadratic|grades:{min(ranks)}-{max(ranks)}"
    return Scores(values, signature)


def number_scores(predicted: Sequence[float], expected: Sequence[float], middle: float) -> Scores:
    """Score numbers: ``mae``, ``rmse``, ``pearson`` and ``accuracy_sign``.

    The last one is the share of predictions on the right side of ``middle``, of references off it; left out where all
    of these lie on it.
    """
    values = run_metric(NumberMetric, predicted, expected, middle=middle)
    versions = f"scikit-learn:{sklearn.__version__}|scipy:{scipy.__version__}"
    return Scores(values, f"mae+rmse+pearson+sign|{versions}|middle:{middle:g}")


def _pearson(references: Sequence[float], predictions: Sequence[float]) -> float:
    if len(set(references)) == 1 or len(set(predictions)) == 1:
        return 0.0
    with warnings.catch_warnings():  # nearly constant: the value is what it is
        warnings.simplefilter("ignore", (ConstantInputWarning, NearConstantInputWarning))
        return float(pearsonr(references, predictions).statistic)
