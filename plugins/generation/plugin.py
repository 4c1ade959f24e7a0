"""Register the generation task."""

from __future__ import annotations

from functools import partial

from polyhead.plugins.generation import data, metrics
from polyhead.plugins.generation import head as heads
from polyhead.registry import Column, Metric, Task, hookimpl
from polyhead.registry.toolkit.language_model import reduction
from polyhead.registry.toolkit.sample_rows import sample_rows

polyhead_api_version = 1

TASK: Task[data.GenerationExample, heads.GenerationPrediction] = Task(
    name="generation",
    summary="How a text goes on: learn it from documents or from prompts with answers, and write on from a prompt.",
    example_type=data.GenerationExample,
    columns=(
        Column("text", "a document to learn; when predicting, a prompt", required="never"),
        Column("prompt", "what is written on from, where there is no text", required="never"),
        Column("completion", "what follows the prompt: needed to train and to score", required="never"),
        Column("messages", "a chat, [{role, content}, ...], instead of prompt and completion", required="never"),
        Column("id", "a name for the row; file name and line otherwise", required="never"),
    ),
    options=data.GenerationOptions,
    text_column="prompt",
    to_example=data.to_example,
    prepare=data.prepare,
    setup_from_labels=data.setup_from_labels,
    check_example=data.check_example,
    encode=data.encode,
    encode_prompts=data.encode_prompts,
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
    metrics=(
        Metric(
            "generation",
            metrics.score,
            lower_is_better=frozenset({"perplexity", "bits_per_byte", "bits_per_character", "repetition"}),
            perfect={"perplexity": 1.0},
        ),
    ),
    headline=metrics.headline,
    baseline_name="characters by frequency",
    baseline=metrics.baseline,
    samples=partial(sample_rows, __package__),
)


@hookimpl
def polyhead_register_tasks() -> list[Task[data.GenerationExample, heads.GenerationPrediction]]:
    """Add the task."""
    return [TASK]
