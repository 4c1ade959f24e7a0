"""Register the task ``readability`` and a second head for it."""

from __future__ import annotations

from functools import partial

from polyhead.registry import Column, Metric, NamedHead, Task, hookimpl
from polyhead.registry.toolkit.sample_rows import sample_rows
from polyhead_readability import data, head, metrics
from polyhead_readability.data import GradedText
from polyhead_readability.head import Readability

polyhead_api_version = 1

TASK: Task[GradedText, Readability] = Task(
    name="readability",
    summary="How easy or hard a text is to read, on the scale of your training data.",
    example_type=GradedText,
    columns=(
        Column("text", "the text"),
        Column("score", "a number; which end of the scale is easy is up to your data", required="training"),
        Column("id", "a name for the row; file name and line otherwise", required="never"),
    ),
    to_example=data.to_example,
    prepare=data.prepare,
    setup_from_labels=data.setup_from_labels,
    check_example=data.check_example,
    encode=data.encode,
    label_fields=head.label_fields,
    heads={"encoder": head.default_head, "decoder": head.decoder_head, "encoder-decoder": head.default_head},
    count_targets=head.count_targets,
    loss=head.loss,
    decode=head.decode,
    metrics=(
        Metric(
            "readability",
            metrics.score,
            lower_is_better=frozenset({"mae"}),
            reference=metrics.reference,
            perfect={"pearson": 1.0, "spearman": 1.0, "mae": 0.0},
        ),
    ),
    headline=metrics.headline,
    baseline_name="mean of the training data",
    baseline=metrics.baseline,
    samples=partial(sample_rows, __package__),
)


@hookimpl
def polyhead_register_tasks() -> list[Task[GradedText, Readability]]:
    """Add the task."""
    return [TASK]


@hookimpl
def polyhead_register_heads() -> list[NamedHead]:
    """Offer the mean of all token states as well: ``head=mean``."""
    families = dict.fromkeys(TASK.heads, head.mean_head)
    return [NamedHead("mean", TASK.name, "One linear layer over the mean of all token states.", families)]
