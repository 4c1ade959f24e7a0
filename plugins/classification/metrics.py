"""How predictions are scored, and what they are compared with."""

from __future__ import annotations

from collections.abc import Sequence

from polyhead.registry import Scores, TaskSetup, TextExample
from polyhead.registry.toolkit.label_predictions import LabelPrediction, LabelSetPrediction
from polyhead.registry.toolkit.labels import label_counts, majority_labels

Answer = LabelPrediction | LabelSetPrediction


def score(predictions: Sequence[Answer], examples: Sequence[TextExample], setup: TaskSetup) -> Scores:
    """Compute accuracy, precision, recall, F1 and MCC; multi-label: F1, subset accuracy and Hamming loss."""
    from polyhead.registry.toolkit import classification_metrics  # heavy: imports evaluate

    answers = [_labels(prediction) for prediction in predictions]
    expected = [example.labels or () for example in examples]
    if setup.options.multi_label:
        return classification_metrics.multi_label_scores(answers, expected, setup.labels)
    return classification_metrics.single_label_scores(
        [labels[0] for labels in answers], [labels[0] for labels in expected], setup.labels
    )


def headline(setup: TaskSetup) -> str:
    """Name the value that decides which model is best."""
    return "f1_micro" if setup.options.multi_label else "accuracy"


def baseline(examples: Sequence[TextExample], setup: TaskSetup) -> list[Answer]:
    """Answer the majority class of the training data to everything; multi-label: the labels of more than half."""
    majority = setup.facts.get("majority_labels")
    if majority is None:  # a model that others fine-tuned: the training data is not known
        majority = majority_labels(label_counts(examples), len(examples), multi_label=setup.options.multi_label)
    if setup.options.multi_label:
        return [LabelSetPrediction(example.id, tuple(majority), {}) for example in examples]
    return [LabelPrediction(example.id, majority[0], 1.0, {majority[0]: 1.0}) for example in examples]


def _labels(prediction: Answer) -> tuple[str, ...]:
    return prediction.labels if isinstance(prediction, LabelSetPrediction) else (prediction.label,)
