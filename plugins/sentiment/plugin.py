"""Register the sentiment task."""

from __future__ import annotations

from functools import partial

from polyhead.plugins.sentiment import data, metrics
from polyhead.plugins.sentiment import head as heads
from polyhead.registry import Column, Metric, NamedHead, Perturbation, Task, TextExample, hookimpl
from polyhead.registry.toolkit.perturbations import perturbations_of_the_text
from polyhead.registry.toolkit.sample_rows import sample_rows

polyhead_api_version = 1

TASK: Task[TextExample, metrics.Answer] = Task(
    name="sentiment",
    summary="How positive or negative a text, or an aspect of it, is: a label, stars or a number.",
    example_type=TextExample,
    columns=(
        Column("text", "the text to judge"),
        Column("aspect", "what in the text is judged, where not the whole: battery, service, ...", required="never"),
        Column("label", "its polarity: a name such as positive, stars from 1 to 5, or a number", required="training"),
        Column("id", "a name for the row; file name and line otherwise", required="never"),
    ),
    options=data.SentimentOptions,
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
    metrics=(Metric("sentiment", metrics.score, lower_is_better=frozenset({"mae", "rmse"})),),
    headline=metrics.headline,
    baseline_name="majority class",
    baseline=metrics.baseline,
    samples=partial(sample_rows, __package__),
)


@hookimpl
def polyhead_register_tasks() -> list[Task[TextExample, metrics.Answer]]:
    """Add the task."""
    return [TASK]


@hookimpl
def polyhead_register_heads() -> list[NamedHead]:
    """Offer the toolkit's mean-pooled head beside the default one, for every family."""
    summary = "a linear layer on the mean of the tokens' states"
    return [NamedHead("pooled", "sentiment", summary, dict.fromkeys(TASK.heads, heads.pooled_head))]


@hookimpl
def polyhead_register_perturbations(task: str) -> list[Perturbation[TextExample]]:
    """Offer the changes that fit any text; aspects are left as they are."""
    return perturbations_of_the_text() if task == "sentiment" else []
