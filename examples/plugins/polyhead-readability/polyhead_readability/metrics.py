"""How predictions are scored, and what they are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from polyhead.registry import DataError, Scores, TaskSetup
from polyhead_readability.data import GradedText
from polyhead_readability.head import Readability


def score(predictions: Sequence[Readability], examples: Sequence[GradedText], setup: TaskSetup) -> Scores:  # noqa: ARG001
    """Compute Pearson's and Spearman's correlation and the mean absolute error.

    A correlation with something that never changes is not defined; it counts as 0.
    """
    import scipy  # heavy: kept out of plugin discovery
    import sklearn
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import mean_absolute_error

    predicted, expected = _pairs(predictions, examples)
    varies = len(set(predicted)) > 1 and len(set(expected)) > 1
    values = {
        "pearson": float(pearsonr(predicted, expected).statistic) if varies else 0.0,
        "spearman": float(spearmanr(predicted, expected).statistic) if varies else 0.0,
        "mae": float(mean_absolute_error(expected, predicted)),
    }
    return Scores(values, f"pearson+spearman+mae|scipy:{scipy.__version__}|scikit-learn:{sklearn.__version__}")


def reference(
    predictions: Sequence[Readability],
    examples: Sequence[GradedText],
    setup: TaskSetup,  # noqa: ARG001 - the contract's form
) -> Mapping[str, float]:
    """Compute the same values from their definitions, without a library."""
    predicted, expected = _pairs(predictions, examples)
    return {
        "pearson": _correlation(predicted, expected),
        "spearman": _correlation(_ranks(predicted), _ranks(expected)),
        "mae": fmean(abs(p - e) for p, e in zip(predicted, expected, strict=True)),
    }


def headline(setup: TaskSetup) -> str:  # noqa: ARG001 - the contract's form
    """Name the value that decides which model is best."""
    return "spearman"


def baseline(examples: Sequence[GradedText], setup: TaskSetup) -> list[Readability]:
    """Answer the mean of the training data to everything."""
    return [Readability(example.id, setup.facts["mean"]) for example in examples]


def _pairs(predictions: Sequence[Readability], examples: Sequence[GradedText]) -> tuple[list[float], list[float]]:
    if not predictions:
        raise DataError("readability: there is nothing to score")
    return [each.score for each in predictions], [each.score or 0.0 for each in examples]


def _correlation(ones: Sequence[float], others: Sequence[float]) -> float:
    mean, other_mean = fmean(ones), fmean(others)
    together = sum((one - mean) * (other - other_mean) for one, other in zip(ones, others, strict=True))
    alone = sum((one - mean) ** 2 for one in ones) * sum((other - other_mean) ** 2 for other in others)
    return float(together / alone**0.5) if alone > 0 else 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the place of each value from 1; equal values share the mean of their places."""
    return [sum(other < value for other in values) + (values.count(value) + 1) / 2 for value in values]
