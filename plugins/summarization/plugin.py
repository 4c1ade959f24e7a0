"""Register the summarization task."""

from __future__ import annotations

from functools import partial

from polyhead.plugins.summarization import data, metrics
from polyhead.plugins.summarization import head as heads
from polyhead.registry import Column, Metric, Task, hookimpl
from polyhead.registry.toolkit.language_model import reduction
from polyhead.registry.toolkit.sample_rows import sample_rows

polyhead_api_version = 1

TASK: Task[data.SummarizationExample, heads.SummaryPrediction] = Task(
    name="summarization",
    summary="A long text said in few words, however long it is.",
    example_type=data.SummarizationExample,
    columns=(
        Column("document", "the text to summarise"),
        Column("summary", "its summary", required="training"),
        Column("id", "a name for the row; file name and line otherwise", required="never"),
    ),
    options=data.SummarizationOptions,
    text_column="document",
    to_example=data.to_example,
    prepare=data.prepare,
    setup_from_labels=data.setup_from_labels,
    check_example=data.check_example,
    encode=data.encode,
    encode_prompts=data.encode_prompts,
    follow_up=data.follow_up,
    label_fields=heads.label_fields,
    heads={
        "encoder": heads.default_head,
        "decoder": heads.causal_head,
        "encoder-decoder": heads.default_head,
    },
    count_targets=heads.count_targets,
    loss=heads.loss,
    decode=heads.decode,
    reduction=reduction,
    loss_by_token=True,
    packs=True,
    generation=heads.generation,
    metrics=(Metric("summarization", metrics.score),),
    headline=metrics.headline,
    baseline_name="first sentences",
    baseline=metrics.baseline,
    samples=partial(sample_rows, __package__),
)


@hookimpl
def polyhead_register_tasks() -> list[Task[data.SummarizationExample, heads.SummaryPrediction]]:
    """Add the task."""
    return [TASK]
