"""Score classifications by scikit-learn, as local `evaluate.Metric` classes, with tables for the report.

Import this module inside a function: `evaluate` takes seconds to load.

``macro`` averages over the labels that occur, in a reference or in a prediction, as is scikit-learn's default
for single labels: a label that a small test file happens not to hold would otherwise pull the average down
with an F1 of 0. (``micro`` and ``weighted`` are the same either way.) A score without cases is 0:
``zero_division=0``; so is Matthews' correlation where one label is all there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import evaluate
import sklearn
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    hamming_loss,
    matthews_corrcoef,
    precision_recall_fscore_support,
    roc_auc_score,
)
from sklearn.preprocessing import MultiLabelBinarizer

from polyhead.registry.contracts import Scores, Table
from polyhead.registry.errors import DataError
from polyhead.registry.names import available, did_you_mean

LARGEST_CONFUSION_MATRIX = 30
"""With more labels than this, the report lists the most confused pairs instead."""
MOST_CONFUSED_PAIRS = 20


class SingleLabelMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """Accuracy, averaged precision, recall and F1, and Matthews' correlation of label numbers."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info("Accuracy, precision, recall, F1, MCC; one label each.", datasets.Value("int64"))

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        occurring = sorted({*predictions, *references})
        return {
            "accuracy": float(accuracy_score(references, predictions)),
            **_averages(references, predictions, occurring),
            "mcc": float(matthews_corrcoef(references, predictions)) if len(occurring) > 1 else 0.0,
        }


class MultiLabelMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """Averaged precision, recall and F1, subset accuracy and Hamming loss of sets of label numbers."""

    def _info(self) -> evaluate.MetricInfo:
        number_sets = datasets.List(datasets.Value("int64"))
        return metric_info("Precision, recall, F1, subset accuracy, Hamming loss; label sets.", number_sets)

    def _compute(
        self, predictions: Sequence[Sequence[int]], references: Sequence[Sequence[int]], *, label_count: int
    ) -> dict[str, float]:
        predicted, expected = _indicators(predictions, label_count), _indicators(references, label_count)
        padding = predicted.shape[1] / label_count  # an added empty column counts as right in Hamming's loss
        return {
            "subset_accuracy": float(accuracy_score(expected, predicted)),
            **_averages(expected, predicted, _occurring(predictions, references, label_count)),
            "hamming_loss": float(hamming_loss(expected, predicted)) * padding,
        }


def single_label_scores(predicted: Sequence[str], expected: Sequence[str], labels: Sequence[str]) -> Scores:
    """Score one predicted label an example against the expected one.

    Values: ``accuracy``, ``mcc`` and ``{precision,recall,f1}_{micro,macro,weighted}``. Tables: scores by
    label, and the confusion matrix or, with many labels, the most confused pairs. Raises `DataError` for an
    empty input and for a label that is not among ``labels``.
    """
    numbers = _numbers(labels)
    references = [_number(label, numbers, "expected") for label in expected]
    predictions = [_number(label, numbers, "predicted") for label in predicted]
    values = run_metric(SingleLabelMetric, predictions, references)
    occurring = sorted({*predictions, *references})
    tables = [_table_by_label(references, predictions, occurring, labels)]
    if len(labels) <= LARGEST_CONFUSION_MATRIX:
        tables.append(_confusion_table(references, predictions, labels))
    else:
        tables.extend(_confused_pairs_tables(references, predictions, labels))
    return Scores(values, _signature("accuracy+prf+mcc", labels), tuple(tables))


def multi_label_scores(
    predicted: Sequence[Collection[str]], expected: Sequence[Collection[str]], labels: Sequence[str]
) -> Scores:
    """Score the predicted set of labels of each example against the expected set; both may be empty.

    Values: ``subset_accuracy``, ``hamming_loss`` (lower is better) and
    ``{precision,recall,f1}_{micro,macro,weighted}``. Table: scores by label. Raises `DataError` for an empty
    input and for a label that is not among ``labels``.
    """
    numbers = _numbers(labels)
    references = [_number_set(chosen, numbers, "expected") for chosen in expected]
    predictions = [_number_set(chosen, numbers, "predicted") for chosen in predicted]
    values = run_metric(MultiLabelMetric, predictions, references, label_count=len(labels))
    table = _table_by_label(
        _indicators(references, len(labels)),
        _indicators(predictions, len(labels)),
        _occurring(predictions, references, len(labels)),
        labels,
    )
    return Scores(values, _signature("subset_accuracy+prf+hamming_loss", labels), (table,))


def detection_scores(
    predicted: Sequence[bool], scores: Sequence[float], expected: Sequence[bool]
) -> Mapping[str, float]:
    """Score how well something is found: ``precision``, ``recall``, ``f1`` and, of the scores behind it, ``auroc``.

    The area under the curve is left out where every case, or none, is positive.
    """
    precision, recall, f1, _ = precision_recall_fscore_support(expected, predicted, average="binary", zero_division=0)
    values = {"precision": float(precision), "recall": float(recall), "f1": float(f1)}
    return values if len(set(expected)) == 1 else {**values, "auroc": float(roc_auc_score(expected, scores))}


def run_metric(
    metric: type[evaluate.Metric], predictions: Sequence[Any], references: Sequence[Any], **settings: float
) -> Mapping[str, float]:
    """Compute a local metric in memory, at once; raises `DataError` where there is nothing to score."""
    if not references:
        raise DataError("nothing to score: there are no examples")
    with TemporaryDirectory() as folder:  # evaluate always makes one, by default in the user's home
        computed: dict[str, float] = metric(cache_dir=folder, keep_in_memory=True, seed=0).compute(
            predictions=predictions, references=references, **settings
        )
    return computed


def metric_info(description: str, number: datasets.Value | datasets.List) -> evaluate.MetricInfo:
    """Describe a local metric whose predictions and references are numbers, or lists of them."""
    features = datasets.Features({"predictions": number, "references": number})
    return evaluate.MetricInfo(
        description=description,
        citation="",
        inputs_description="Numbers: of labels, as they stand in the label set, or measured ones.",
        features=features,
        reference_urls=["https://scikit-learn.org/stable/modules/model_evaluation.html"],
    )


def _signature(names: str, labels: Sequence[str]) -> str:
    return f"{names}|scikit-learn:{sklearn.__version__}|zero_division:0|macro:occurring|labels:{len(labels)}"


# ── numbers for labels ──────────────────────────────────────────────────────────────────────────────────


def _numbers(labels: Sequence[str]) -> dict[str, int]:
    return {label: number for number, label in enumerate(labels)}


def _number(label: str, numbers: Mapping[str, int], side: str) -> int:
    if label not in numbers:
        known = sorted(numbers)
        raise DataError(f"unknown {side} label '{label}'.{did_you_mean(label, known)} {available(known)}")
    return numbers[label]


def _number_set(chosen: Collection[str], numbers: Mapping[str, int], side: str) -> list[int]:
    return sorted({_number(label, numbers, side) for label in chosen})


def _indicators(number_sets: Iterable[Sequence[int]], label_count: int) -> Any:
    """Return the sparse matrix [examples, labels] of ones; at least two columns, else it is no label set."""
    binarizer = MultiLabelBinarizer(classes=range(max(2, label_count)), sparse_output=True)
    return binarizer.fit_transform(number_sets)


def _occurring(
    predictions: Iterable[Sequence[int]], references: Iterable[Sequence[int]], label_count: int
) -> list[int]:
    """Return the labels that some set holds; all of them where every set is empty."""
    found = {number for side in (predictions, references) for numbers in side for number in numbers}
    return sorted(found) or list(range(label_count))


# ── values and tables ───────────────────────────────────────────────────────────────────────────────────


def _averages(references: Any, predictions: Any, occurring: Sequence[int]) -> dict[str, float]:
    by_average = {
        average: precision_recall_fscore_support(
            references, predictions, labels=occurring, average=average, zero_division=0
        )
        for average in ("macro", "micro", "weighted")
    }
    return {
        f"{name}_{average}": float(scores[position])
        for position, name in ((2, "f1"), (0, "precision"), (1, "recall"))
        for average, scores in by_average.items()
    }


def _table_by_label(references: Any, predictions: Any, occurring: Sequence[int], labels: Sequence[str]) -> Table:
    columns = precision_recall_fscore_support(references, predictions, labels=occurring, average=None, zero_division=0)
    rows = tuple(
        (labels[number], float(precision), float(recall), float(f1), int(support))
        for number, precision, recall, f1, support in zip(occurring, *columns, strict=True)
    )
    return Table("Scores by label", ("label", "precision", "recall", "f1", "support"), rows)


def _confusion_table(references: Sequence[int], predictions: Sequence[int], labels: Sequence[str]) -> Table:
    counts = confusion_matrix(references, predictions, labels=range(len(labels))).tolist()
    rows = tuple((label, *row) for label, row in zip(labels, counts, strict=True))
    return Table("Confusion matrix", ("expected \\ predicted", *labels), rows)


def _confused_pairs_tables(references: Sequence[int], predictions: Sequence[int], labels: Sequence[str]) -> list[Table]:
    """Return the table of the pairs that are mistaken most often; none where nothing is mistaken."""
    support = Counter(references)
    mistakes = Counter(pair for pair in zip(references, predictions, strict=True) if pair[0] != pair[1])
    worst = sorted(mistakes.items(), key=lambda item: (-item[1], item[0]))[:MOST_CONFUSED_PAIRS]
    rows = tuple(
        (labels[reference], labels[prediction], count, count / support[reference])
        for (reference, prediction), count in worst
    )
    columns = ("expected", "predicted", "count", "share of expected")
    return [Table("Most confused pairs", columns, rows)] if rows else []
