"""Register the sentiment task."""

from __future__ import annotations

from polyhead.plugins.sentiment import data, metrics
from polyhead.plugins.sentiment import head as heads
from polyhead.registry import Column, HeadFactory, Metric, Perturbation, Task, TextExample, hookimpl
from polyhead.registry.toolkit.label_predictions import LabelPrediction
from polyhead.registry.toolkit.perturbations import text_perturbations

polyhead_api_version = 1

TASK: Task[TextExample, LabelPrediction] = Task(
    name="sentiment",
    summary="How positive or negative a text is: one polarity label.",
    example_type=TextExample,
    columns=(
        Column("text", "the text to judge"),
        Column("label", "its polarity, such as positive or negative", required="training"),
        Column("id", "a name for the row; file name and line otherwise", required="never"),
    ),
    options=data.SentimentOptions,
    to_example=data.to_example,
    prepare=data.prepare,
    setup_from_labels=data.setup_from_labels,
    check_example=data.check_example,
    encode=data.encode,
    label_fields=heads.label_fields,
    heads={"encoder": heads.default_head},
    count_targets=heads.count_targets,
    loss=heads.loss,
    decode=heads.decode,
    metrics=(Metric("sentiment", metrics.score),),
    headline=metrics.headline,
    baseline_name="majority class",
    baseline=metrics.baseline,
)


@hookimpl
def polyhead_register_tasks() -> list[Task[TextExample, LabelPrediction]]:
    """Add the task."""
    return [TASK]


@hookimpl
def polyhead_provide_head(task: str, family: str, head: str) -> HeadFactory | None:
    """Offer the toolkit's mean-pooled head beside the default one."""
    return heads.pooled_head if (task, family, head) == ("sentiment", "encoder", "pooled") else None


@hookimpl
def polyhead_register_perturbations(task: str) -> list[Perturbation[TextExample]]:
    """Offer the changes that fit any text."""
    return text_perturbations() if task == "sentiment" else []
