"""From a row to an example, and from examples to features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from polyhead.registry import EncodeSettings, Feature, Row, TaskSetup, TextExample
from polyhead.registry.toolkit.labels import (
    check_labels,
    class_weights,
    label_counts,
    label_of,
    learn_labels,
    text_of,
)
from polyhead.registry.toolkit.text_encoding import encode_texts


@dataclass(frozen=True)
class SentimentOptions:
    """Settings of the sentiment task."""

    class_weights: str | Mapping[str, float] | None = None
    """``balanced``, or a weight for each label; none: every example counts the same."""


def to_example(row: Row, row_id: str, options: SentimentOptions) -> TextExample:  # noqa: ARG001 - the contract's form
    """Read ``text`` and ``label``."""
    label = label_of(row)
    return TextExample(row_id, text_of(row, "text"), labels=None if label is None else (label,))


def prepare(examples: Sequence[TextExample], options: SentimentOptions) -> TaskSetup:
    """Learn the polarity labels, the majority label and the class weights from the training examples."""
    labels, counts = learn_labels(examples), label_counts(examples)
    facts: dict[str, object] = {"majority_label": max(labels, key=counts.__getitem__)}
    if options.class_weights is not None:
        facts["class_weights"] = class_weights(options.class_weights, labels, counts)
    return TaskSetup(options, labels, facts)


def setup_from_labels(labels: tuple[str, ...], options: SentimentOptions) -> TaskSetup:
    """Take over the labels of a model that others fine-tuned."""
    return TaskSetup(options, labels)


def check_example(example: TextExample, setup: TaskSetup) -> None:
    """Refuse a label that the model does not know."""
    check_labels(example, setup)


def encode(examples: Sequence[TextExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise; a text longer than a window gives several features with the same label."""
    index = {label: position for position, label in enumerate(settings.setup.labels)}
    return encode_texts(
        examples, settings, lambda example: {"labels": index[example.labels[0]]} if example.labels else {}
    )
