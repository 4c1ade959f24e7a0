"""Score similarities by scipy and scikit-learn, as local `evaluate.Metric` classes.

Import this module inside a function: `evaluate` takes seconds to load.

What has no answer is 0 and said in the signature: the correlation with numbers that are all the same, precision and
recall without a positive pair. Shapes: Q queries, N candidates, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import evaluate
import numpy as np
import scipy
import sklearn
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, precision_recall_curve

from polyhead.registry.contracts import Scores
from polyhead.registry.errors import DataError

QUERIES_AT_ONCE = 1_000

SCIPY = "https://docs.scipy.org/doc/scipy/reference/stats.html"
SKLEARN = "https://scikit-learn.org/stable/modules/model_evaluation.html"


class CorrelationMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """Rank and linear correlation of similarities with gold scores."""

    def _info(self) -> evaluate.MetricInfo:
        return _info("Spearman and Pearson correlation.", "float64", "float64", SCIPY)

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        if len(set(predictions)) < 2 or len(set(references)) < 2:
            return {"spearman": 0.0, "pearson": 0.0}
        return {
            "spearman": float(spearmanr(predictions, references).statistic),
            "pearson": float(pearsonr(predictions, references).statistic),
        }


class PairLabelMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """Accuracy and F1 of pairs above a threshold, and the average precision over all thresholds."""

    def _info(self) -> evaluate.MetricInfo:
        return _info("Accuracy, F1, average precision of pairs.", "float64", "int64", SKLEARN)

    def _compute(
        self, predictions: Sequence[float], references: Sequence[int], *, threshold: float
    ) -> dict[str, float]:
        positive = [int(similarity >= threshold) for similarity in predictions]
        return {
            "average_precision": float(average_precision_score(references, predictions)) if any(references) else 0.0,
            "accuracy": float(accuracy_score(references, positive)),
            "f1": float(f1_score(references, positive, zero_division=0)),
        }


class RankMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """Recall at 1 and mean reciprocal rank; a prediction is how many candidates are nearer than the right one."""

    def _info(self) -> evaluate.MetricInfo:
        return _info("Recall at 1, mean reciprocal rank.", "int64", "int64", "https://aclanthology.org/L00-1018/")

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        nearer = np.asarray(predictions) - np.asarray(references)
        return {"recall_at_1": float(np.mean(nearer == 0)), "mrr": float(np.mean(1.0 / (1.0 + nearer)))}


class TripletMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """How often the positive is nearer than the negative; equally near is not."""

    def _info(self) -> evaluate.MetricInfo:
        return _info("Accuracy of triplets.", "float64", "float64", SKLEARN)

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        return {"triplet_accuracy": float(np.mean(np.asarray(predictions) > np.asarray(references)))}


def correlation_scores(similarities: Sequence[float], scores: Sequence[float]) -> Scores:
    """Correlate similarities with gold scores: ``spearman``, ``pearson``."""
    values = _run(CorrelationMetric, similarities, scores)
    constant = [name for name, side in (("predicted", similarities), ("gold", scores)) if len(set(side)) < 2]
    note = f"|constant:{'+'.join(constant)}" if constant else ""
    return Scores(values, f"spearman+pearson|scipy:{scipy.__version__}{note}")


def pair_label_scores(similarities: Sequence[float], positive: Sequence[bool], threshold: float | None) -> Scores:
    """Score pairs as similar or not: ``average_precision``, ``accuracy``, ``f1``.

    Without a threshold it is the one with the best F1 on these pairs themselves, and the signature says so.
    """
    chosen = best_threshold(similarities, positive) if threshold is None else threshold
    values = _run(PairLabelMetric, similarities, [int(truth) for truth in positive], threshold=chosen)
    origin = "best-f1-on-these-pairs" if threshold is None else "from-validation"
    note = "" if any(positive) else "|no-positive-pair"
    signature = f"ap+accuracy+f1|scikit-learn:{sklearn.__version__}|threshold:{chosen:.4f}:{origin}{note}"
    return Scores(values, signature)


def triplet_scores(positive: Sequence[float], negative: Sequence[float]) -> Scores:
    """Compare the similarity of each positive with that of a negative: ``triplet_accuracy``."""
    return Scores(_run(TripletMetric, positive, negative), "triplet_accuracy|strict:yes")


def retrieval_scores(queries: Sequence[Any], candidates: Sequence[Any], texts: Sequence[str]) -> Scores:
    """Look for each query's own candidate among all: ``recall_at_1``, ``mrr``.

    Args:
        queries: One vector each, dense or a sparse row, of length 1.
        candidates: The same for what belongs to each query, in the same order.
        texts: The candidates' texts: one that reads the same as the right one is no mistake.

    """
    nearer = _nearer_candidates(_matrix(queries), _matrix(candidates), texts)
    values = _run(RankMetric, nearer, [0] * len(nearer))
    return Scores(values, f"recall@1+mrr|candidates:{len(set(texts))}|ties:right-one-first")


def best_threshold(similarities: Sequence[float], positive: Sequence[bool]) -> float:
    """Return the threshold with the best F1: halfway between the two similarities that it parts.

    Without any positive pair it lies above all similarities.
    """
    ordered = np.unique(np.asarray(similarities, dtype=np.float64))
    if not any(positive):
        return float(ordered[-1]) + 1e-6
    precision, recall, thresholds = precision_recall_curve([int(truth) for truth in positive], similarities)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = float(thresholds[int(np.argmax(f1[:-1]))])
    below = ordered[ordered < best]
    return (best + float(below[-1])) / 2 if len(below) else best


def _run(
    metric: type[evaluate.Metric], predictions: Sequence[Any], references: Sequence[Any], **settings: float
) -> Mapping[str, float]:
    if not len(references):
        raise DataError("nothing to score: there are no examples")
    with TemporaryDirectory() as folder:  # evaluate always makes one, by default in the user's home
        computed: dict[str, float] = metric(cache_dir=folder, keep_in_memory=True, seed=0).compute(
            predictions=predictions, references=references, **settings
        )
    return computed


def _info(description: str, predicted: str, expected: str, source: str) -> evaluate.MetricInfo:
    return evaluate.MetricInfo(
        description=description,
        citation="",
        inputs_description="Similarities, and what is known of the same pairs.",
        features=datasets.Features({"predictions": datasets.Value(predicted), "references": datasets.Value(expected)}),
        reference_urls=[source],
    )


def _matrix(rows: Sequence[Any]) -> Any:
    """Stack vectors, dense or sparse."""
    return scipy.sparse.vstack(rows).tocsr() if scipy.sparse.issparse(rows[0]) else np.stack(rows)


def _nearer_candidates(queries_QD: Any, candidates_ND: Any, texts: Sequence[str]) -> list[int]:
    """Count for each query the distinct texts that are nearer than its own candidate."""
    distinct = list({text: position for position, text in reversed(list(enumerate(texts)))}.values())
    place = {texts[position]: column for column, position in enumerate(distinct)}
    own_Q = np.array([place[text] for text in texts])
    nearer: list[int] = []
    for start in range(0, len(texts), QUERIES_AT_ONCE):
        similarity_QN = queries_QD[start : start + QUERIES_AT_ONCE] @ candidates_ND[distinct].T
        if scipy.sparse.issparse(similarity_QN):
            similarity_QN = similarity_QN.toarray()
        own_Q1 = np.take_along_axis(similarity_QN, own_Q[start : start + QUERIES_AT_ONCE, None], axis=1)
        nearer += (similarity_QN > own_Q1).sum(1).tolist()
    return nearer
