"""How predictions are scored, and what they are compared with."""

from __future__ import annotations

from collections.abc import Sequence

from polyhead.registry import Scores, TaskSetup, TextExample
from polyhead.registry.toolkit.label_predictions import LabelPrediction
from polyhead.registry.toolkit.labels import label_counts


def score(predictions: Sequence[LabelPrediction], examples: Sequence[TextExample], setup: TaskSetup) -> Scores:
    """Compute accuracy, precision, recall and F1 in all averages, and MCC."""
    from polyhead.registry.toolkit.classification_metrics import (
        single_label_scores,  # heavy: imports evaluate
    )

    expected = [(example.labels or ("",))[0] for example in examples]
    return single_label_scores([prediction.label for prediction in predictions], expected, setup.labels)


def headline(setup: TaskSetup) -> str:  # noqa: ARG001 - the contract's form
    """Name the value that decides which model is best."""
    return "accuracy"


def baseline(examples: Sequence[TextExample], setup: TaskSetup) -> list[LabelPrediction]:
    """Answer the majority class of the training data (of these examples, where that is not known) to everything."""
    majority = setup.facts.get("majority_label") or label_counts(examples).most_common(1)[0][0]
    return [LabelPrediction(example.id, majority, 1.0, {majority: 1.0}) for example in examples]
