"""Register the translation task."""

from __future__ import annotations

from functools import partial

from polyhead.plugins.translation import data, metrics
from polyhead.plugins.translation import head as heads
from polyhead.registry import Column, Metric, Task, hookimpl
from polyhead.registry.toolkit.language_model import reduction
from polyhead.registry.toolkit.sample_rows import sample_rows

polyhead_api_version = 1

TASK: Task[data.TranslationExample, heads.TranslationPrediction] = Task(
    name="translation",
    summary="What a text says, in another language: one direction, or several in one model.",
    example_type=data.TranslationExample,
    columns=(
        Column("translation", "texts by language, such as {'en': ..., 'zh': ...}", required="never"),
        Column("source", "the text to translate, where there is no column translation", required="never"),
        Column("target", "its translation", required="never"),
        Column("source_language", "the language of source, such as en", required="never"),
        Column("target_language", "the language of target, such as zh", required="never"),
        Column("id", "a name for the row; file name and line otherwise", required="never"),
    ),
    options=data.TranslationOptions,
    text_column="source",
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
    metrics=(Metric("translation", metrics.score, lower_is_better=frozenset({"ter"})),),
    headline=metrics.headline,
    baseline_name="the source as it is",
    baseline=metrics.baseline,
    samples=partial(sample_rows, __package__),
)


@hookimpl
def polyhead_register_tasks() -> list[Task[data.TranslationExample, heads.TranslationPrediction]]:
    """Add the task."""
    return [TASK]
