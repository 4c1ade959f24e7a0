"""From a row to an example, and from examples to features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from polyhead.registry import DataError, EncodeSettings, Feature, Row, TaskSetup, TextExample
from polyhead.registry.toolkit.labels import (
    check_known,
    check_labels,
    class_weights,
    label_counts,
    label_of,
    labels_of,
    learn_labels,
    majority_labels,
    text_of,
)
from polyhead.registry.toolkit.text_encoding import encode_texts, mixed_pairs

TUNED = "tuned"


@dataclass(frozen=True)
class ClassificationOptions:
    """Settings of the classification task."""

    multi_label: bool = False
    """A text may bear none, one or several labels."""
    threshold: float | Literal["tuned"] | Mapping[str, float] = "tuned"
    """Multi-label only: the probability from which a label is given: ``tuned`` for each label on the validation data
    (0.5 without such data), one number for all, or a number by label (0.5 for those not named)."""
    class_weights: Literal["balanced"] | Mapping[str, float] | None = None
    """``balanced``, or a weight for each label (multi-label: of its positive targets); none: all count the same."""
    calibrated: bool = False
    """One label per text: scale probabilities by a temperature fitted on the validation data, so that of the answers
    given with 80 % about 80 % are right."""
    reject: float | Literal["auto"] | None = None
    """One label per text: answer out of scope where the calibrated probability is low: at most this share of the
    validation rows in scope; ``auto``: by the best F1 on validation rows that are labelled out of scope, and a share
    of 0.05 where there are none."""
    out_of_scope: str = "out_of_scope"
    """What an answer that is out of scope is called, in predictions and as a label in validation and test rows."""

    def __post_init__(self) -> None:
        """Refuse thresholds that no probability, or every one, reaches, and what does not go together."""
        given = self.threshold.values() if isinstance(self.threshold, Mapping) else (self.threshold,)
        for value in given:
            if not isinstance(value, str) and not 0 < value < 1:
                raise ValueError(f"threshold must lie between 0 and 1, not {value}")
        if not (self.reject is None or isinstance(self.reject, str) or 0 < self.reject < 1):
            raise ValueError(f"reject must be auto or lie between 0 and 1, not {self.reject}")
        if not self.multi_label and self.threshold != TUNED:
            raise ValueError("threshold goes with multi_label=true; for answers out of scope say reject")
        if self.multi_label and (self.reject is not None or self.calibrated):
            raise ValueError("reject and calibrated go with one label per text, not with multi_label=true")
        if not self.out_of_scope.strip():
            raise ValueError("out_of_scope must be a name")


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
    _check_names(labels, options)
    majority = majority_labels(counts, len(examples), multi_label=options.multi_label)
    facts: dict[str, object] = {"majority_labels": majority, **mixed_pairs(examples)}
    if options.class_weights is not None:
        facts["class_weights"] = class_weights(options.class_weights, labels, counts)
    return TaskSetup(options, labels, facts)


def setup_from_labels(labels: tuple[str, ...], options: ClassificationOptions) -> TaskSetup:
    """Take over the labels of a model that others fine-tuned."""
    if options.reject is not None or options.calibrated:
        asked = "calibrated" if options.reject is None else "reject"
        raise DataError(
            f"options.{asked}: this model comes without what finetune learns on validation data: fine-tune it"
        )
    _check_names(labels, options)
    return TaskSetup(options, labels)


def check_example(example: TextExample, setup: TaskSetup) -> None:
    """Refuse a label that the model does not know; where it may reject, out of scope is one too."""
    if not _is_out_of_scope(example, setup.options):
        check_labels(example, setup)


def encode(examples: Sequence[TextExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise; a text longer than a window gives several features with the same labels.

    A label that the model does not know is none: `check_example` refuses it wherever labels count. A text out of
    scope bears a label that no loss counts.
    """
    from polyhead.registry.toolkit.losses import IGNORED  # torch: kept out of plugin discovery

    labels, options = settings.setup.labels, settings.setup.options
    index = {label: position for position, label in enumerate(labels)}

    def several(example: TextExample) -> Mapping[str, float | Sequence[float]]:
        if example.labels is None:
            return {}
        return {"labels": [float(label in example.labels) for label in labels]}

    def one(example: TextExample) -> Mapping[str, float | Sequence[float]]:
        if _is_out_of_scope(example, options):
            return {"labels": IGNORED}
        known = [index[label] for label in example.labels or () if label in index]
        return {"labels": known[0]} if known else {}

    return encode_texts(examples, settings, several if options.multi_label else one)


def _is_out_of_scope(example: TextExample, options: ClassificationOptions) -> bool:
    return options.reject is not None and example.labels == (options.out_of_scope,)


def _check_names(labels: Sequence[str], options: ClassificationOptions) -> None:
    """Refuse thresholds of unknown labels, and a class that bears the name of what belongs to none."""
    if isinstance(options.threshold, Mapping):
        check_known("options.threshold", options.threshold, labels)
    if options.reject is not None and options.out_of_scope in labels:
        raise DataError(
            f"training rows are labelled '{options.out_of_scope}': with options.reject only validation and test rows "
            "may be; leave them out, or train them as a class like any other without options.reject"
        )
