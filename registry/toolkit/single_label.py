"""A whole task of one label per text, ready made: for plugins that bring their own labels, not their own method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from polyhead.registry.contracts import (
    Column,
    EncodeSettings,
    Feature,
    HeadSpec,
    LabelField,
    LossSum,
    Metric,
    Row,
    Scores,
    Task,
    TaskSetup,
    Window,
)
from polyhead.registry.examples import TextExample
from polyhead.registry.toolkit.label_predictions import LabelPrediction, likeliest_label
from polyhead.registry.toolkit.labels import check_labels, class_weights, label_counts, label_of, learn_labels, text_of
from polyhead.registry.toolkit.text_encoding import encode_texts, mixed_pairs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SingleLabelOptions:
    """Settings of a task of one label per text."""

    class_weights: Literal["balanced"] | Mapping[str, float] | None = None
    """``balanced``, or a weight for each label; none: every example counts the same."""


def single_label_task(name: str, summary: str) -> Task[TextExample, LabelPrediction]:
    """Return a complete task; change single parts of it with ``dataclasses.replace``."""
    return Task(
        name=name,
        summary=summary,
        example_type=TextExample,
        columns=(
            Column("text", "the text to label"),
            Column("label", "its label", required="training"),
            Column("id", "a name for the row; file name and line otherwise", required="never"),
        ),
        options=SingleLabelOptions,
        to_example=to_example,
        prepare=prepare,
        setup_from_labels=setup_from_labels,
        check_example=check_example,
        encode=encode,
        label_fields=label_fields,
        heads={"encoder": default_head, "decoder": decoder_head, "encoder-decoder": default_head},
        count_targets=count_targets,
        loss=loss,
        decode=decode,
        metrics=(Metric(name, score),),
        headline=headline,
        baseline_name="majority class",
        baseline=baseline,
    )


def to_example(row: Row, row_id: str, options: Any) -> TextExample:  # noqa: ARG001 - the contract's form
    """Read ``text`` and ``label``."""
    label = label_of(row)
    return TextExample(row_id, text_of(row, "text"), labels=None if label is None else (label,))


def prepare(examples: Sequence[TextExample], options: SingleLabelOptions) -> TaskSetup:
    """Learn the labels, the majority label and the class weights from the training examples."""
    labels, counts = learn_labels(examples), label_counts(examples)
    facts: dict[str, object] = {"majority_label": max(labels, key=counts.__getitem__), **mixed_pairs(examples)}
    if options.class_weights is not None:
        facts["class_weights"] = class_weights(options.class_weights, labels, counts)
    return TaskSetup(options, labels, facts)


def setup_from_labels(labels: tuple[str, ...], options: SingleLabelOptions) -> TaskSetup:
    """Take over the labels of a model that others fine-tuned."""
    return TaskSetup(options, labels)


def check_example(example: TextExample, setup: TaskSetup) -> None:
    """Refuse a label that the model does not know."""
    check_labels(example, setup)


def encode(examples: Sequence[TextExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise; a text longer than a window gives several features with the same label.

    A label that the model does not know is none: `check_example` refuses it wherever labels count.
    """
    index = {label: position for position, label in enumerate(settings.setup.labels)}

    def labels_of(example: TextExample) -> Mapping[str, float | Sequence[float]]:
        known = [index[label] for label in example.labels or () if label in index]
        return {"labels": known[0]} if known else {}

    return encode_texts(examples, settings, labels_of)


def default_head(setup: TaskSetup) -> HeadSpec:
    """Score the labels with the architecture's own sequence-classification head."""
    return HeadSpec(
        size=len(setup.labels),
        labels=setup.labels,
        auto_class="AutoModelForSequenceClassification",
        build=_build_pooled_head,
        config={"problem_type": "single_label_classification"},
    )


def decoder_head(setup: TaskSetup) -> HeadSpec:
    """Score the labels with the architecture's own head; where it has none, from the last token's state."""
    return replace(default_head(setup), build=_build_last_token_head)


def pooled_head(setup: TaskSetup) -> HeadSpec:
    """Score the labels from the mean of the token states."""
    return HeadSpec(size=len(setup.labels), labels=setup.labels, build=_build_pooled_head)


def _build_pooled_head(config: Any, spec: HeadSpec) -> torch.nn.Module:
    from polyhead.registry.toolkit.pooled_head import build_pooled_head  # torch: kept out of plugin discovery

    return build_pooled_head(config, spec)


def _build_last_token_head(config: Any, spec: HeadSpec) -> torch.nn.Module:
    from polyhead.registry.toolkit.pooled_head import build_last_token_head  # torch: kept out of plugin discovery

    return build_last_token_head(config, spec)


def label_fields(setup: TaskSetup) -> tuple[LabelField, ...]:  # noqa: ARG001 - the contract's form
    """Name the one label tensor: the index of the label."""
    return (LabelField("labels"),)


def count_targets(labels: tuple[torch.Tensor, ...], setup: TaskSetup) -> torch.Tensor:
    """Count the labelled texts, each by its class weight."""
    from polyhead.registry.toolkit import losses  # torch: kept out of plugin discovery

    return losses.cross_entropy_count(labels[0], setup.facts.get("class_weights"))


def loss(outputs: tuple[torch.Tensor, ...], labels: tuple[torch.Tensor, ...], setup: TaskSetup) -> LossSum:
    """Sum the cross-entropy."""
    from polyhead.registry.toolkit import losses  # torch: kept out of plugin discovery

    return losses.cross_entropy(outputs[0], labels[0], setup.facts.get("class_weights"))


def decode(example: TextExample, windows: Sequence[Window], setup: TaskSetup) -> LabelPrediction:
    """Take the likeliest label over all windows."""
    return likeliest_label(example.id, windows, setup)


def score(predictions: Sequence[LabelPrediction], examples: Sequence[TextExample], setup: TaskSetup) -> Scores:
    """Compute accuracy, precision, recall and F1 in all averages, and MCC."""
    from polyhead.registry.toolkit.classification_metrics import single_label_scores  # heavy: imports evaluate

    expected = [(example.labels or ("",))[0] for example in examples]
    return single_label_scores([prediction.label for prediction in predictions], expected, setup.labels)


def headline(setup: TaskSetup) -> str:  # noqa: ARG001 - the contract's form
    """Name the value that decides which model is best."""
    return "accuracy"


def baseline(examples: Sequence[TextExample], setup: TaskSetup) -> list[LabelPrediction]:
    """Answer the majority class of the training data (of these examples, where that is not known) to everything."""
    majority = setup.facts.get("majority_label") or label_counts(examples).most_common(1)[0][0]
    return [LabelPrediction(example.id, majority, 1.0, {majority: 1.0}) for example in examples]
