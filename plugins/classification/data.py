"""From a row to an example, and from examples to features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from polyhead.registry import EncodeSettings, Feature, Row, TaskSetup, TextExample
from polyhead.registry.toolkit import single_label
from polyhead.registry.toolkit.labels import (
    class_weights,
    label_counts,
    label_of,
    labels_of,
    learn_labels,
    majority_labels,
    text_of,
)
from polyhead.registry.toolkit.single_label import check_example, setup_from_labels
from polyhead.registry.toolkit.text_encoding import encode_texts

__all__ = ["ClassificationOptions", "check_example", "encode", "prepare", "setup_from_labels", "to_example"]


@dataclass(frozen=True)
class ClassificationOptions:
    """Settings of the classification task."""

    multi_label: bool = False
    """A text may bear none, one or several labels."""
    threshold: float = 0.5
    """Multi-label only: the probability from which a label is given."""
    class_weights: Literal["balanced"] | Mapping[str, float] | None = None
    """``balanced``, or a weight for each label (multi-label: of its positive targets); none: all count the same."""

    def __post_init__(self) -> None:
        """Refuse a threshold that no probability, or every one, reaches."""
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold must lie between 0 and 1, not {self.threshold}")


def to_example(row: Row, row_id: str, options: ClassificationOptions) -> TextExample:
    """Read ``text``, ``text_pair`` if there is one, and ``label``."""
    pair = text_of(row, "text_pair") if row.get("text_pair") else None
    if options.multi_label:
        return TextExample(row_id, text_of(row, "text"), pair, labels_of(row, "label"))
    label = label_of(row)
    return TextExample(row_id, text_of(row, "text"), pair, None if label is None else (label,))


def prepare(examples: Sequence[TextExample], options: ClassificationOptions) -> TaskSetup:
    """Learn the label set, the majority answer and the class weights from the training examples."""
    labels, counts = learn_labels(examples, least=1 if options.multi_label else 2), label_counts(examples)
    majority = majority_labels(counts, len(examples), multi_label=options.multi_label)
    facts: dict[str, object] = {"majority_labels": majority}
    if options.class_weights is not None:
        facts["class_weights"] = class_weights(options.class_weights, labels, counts)
    return TaskSetup(options, labels, facts)


def encode(examples: Sequence[TextExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise; a text longer than a window gives several features with the same labels.

    A label that the model does not know is none: `check_example` refuses it wherever labels count.
    """
    if not settings.setup.options.multi_label:
        return single_label.encode(examples, settings)

    def several(example: TextExample) -> Mapping[str, float | Sequence[float]]:
        if example.labels is None:
            return {}
        return {"labels": [float(label in example.labels) for label in settings.setup.labels]}

    return encode_texts(examples, settings, several)
