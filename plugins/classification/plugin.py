"""Register the classification task."""

from __future__ import annotations

from functools import partial

from polyhead.plugins.classification import data, metrics
from polyhead.plugins.classification import head as heads
from polyhead.registry import Column, Metric, NamedHead, Perturbation, Task, TextExample, hookimpl
from polyhead.registry.toolkit.label_predictions import LabelPrediction, LabelSetPrediction
from polyhead.registry.toolkit.perturbations import text_perturbations
from polyhead.registry.toolkit.sample_rows import sample_rows

polyhead_api_version = 1

TASK: Task[TextExample, LabelPrediction | LabelSetPrediction] = Task(
    name="classification",
    summary="Which of your labels a text, or a pair of texts, bears: one of many, or several at once.",
    example_type=TextExample,
    columns=(
        Column("text", "the text to classify"),
        Column("text_pair", "a second text, where a pair is classified", required="never"),
        Column("label", "its label; with options.multi_label: a list, or labels joined by |", required="training"),
        Column("id", "a name for the row; file name and line otherwise", required="never"),
    ),
    options=data.ClassificationOptions,
    to_example=data.to_example,
    prepare=data.prepare,
    setup_from_labels=data.setup_from_labels,
    check_example=data.check_example,
    encode=data.encode,
    label_fields=heads.label_fields,
    heads={"encoder": heads.default_head, "decoder": heads.decoder_head, "encoder-decoder": heads.default_head},
    count_targets=heads.count_targets,
    loss=heads.loss,
    decode=heads.decode,
    metrics=(
        Metric("classification", metrics.score, lower_is_better=frozenset({"hamming_loss", "ece", "ece_uncalibrated"})),
    ),
    headline=metrics.headline,
    baseline_name="majority class",
    baseline=metrics.baseline,
    samples=partial(sample_rows, __package__),
    calibrate=metrics.calibrate,
)


@hookimpl
def polyhead_register_tasks() -> list[Task[TextExample, LabelPrediction | LabelSetPrediction]]:
    """Add the task."""
    return [TASK]


@hookimpl
def polyhead_register_heads() -> list[NamedHead]:
    """Offer the toolkit's mean-pooled head beside the default one, for every family."""
    summary = "a linear layer on the mean of the tokens' states"
    return [NamedHead("pooled", "classification", summary, dict.fromkeys(TASK.heads, heads.pooled_head))]


@hookimpl
def polyhead_register_perturbations(task: str) -> list[Perturbation[TextExample]]:
    """Offer the changes that fit any text."""
    return text_perturbations() if task == "classification" else []
