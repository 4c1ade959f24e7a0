"""Register the similarity task."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from polyhead.plugins.similarity import data, metrics
from polyhead.plugins.similarity import head as heads
from polyhead.plugins.similarity.data import SimilarityExample
from polyhead.plugins.similarity.head import SimilarityPrediction
from polyhead.registry import Column, Metric, Perturbation, Task, hookimpl
from polyhead.registry.toolkit import perturbations
from polyhead.registry.toolkit.sample_rows import sample_rows

polyhead_api_version = 1

TASK: Task[SimilarityExample, SimilarityPrediction] = Task(
    name="similarity",
    summary="How near the meanings of two texts are, vectors of texts, and the nearest texts of a corpus.",
    example_type=SimilarityExample,
    columns=(
        Column("sentence1", "the first text of a pair", required="never"),
        Column("sentence2", "the second text of a pair", required="never"),
        Column("score", "how similar the pair is, on any scale", required="never"),
        Column("label", "one of two labels: whether the pair means the same", required="never"),
        Column("anchor", "the text that a triplet is about", required="never"),
        Column("positive", "a text near the anchor", required="never"),
        Column("negative", "a text farther from it", required="never"),
        Column("negatives", "a list of such texts", required="never"),
        Column("text", "a single text, to be embedded", required="never"),
        Column("id", "a name for the row; file name and line otherwise", required="never"),
    ),
    options=data.SimilarityOptions,
    to_example=data.to_example,
    prepare=data.prepare,
    setup_from_labels=data.setup_from_labels,
    setup_from_folder=data.setup_from_folder,
    check_example=data.check_example,
    encode=data.encode,
    label_fields=heads.label_fields,
    heads={
        "encoder": heads.default_head,
        "decoder": heads.default_head,
        "encoder-decoder": heads.encoder_decoder_head,
    },
    together=heads.together,
    count_targets=heads.count_targets,
    loss=heads.loss,
    decode=heads.decode,
    perfect_outputs=heads.perfect_outputs,
    metrics=(Metric("similarity", metrics.score),),
    headline=metrics.headline,
    calibrate=metrics.calibrate,
    baseline_name="TF-IDF of 1-3 characters",
    baseline=metrics.baseline,
    samples=partial(sample_rows, __package__),
    search=heads.search,
    extra_files=data.extra_files,
)


@hookimpl
def polyhead_register_tasks() -> list[Task[SimilarityExample, SimilarityPrediction]]:
    """Add the task."""
    return [TASK]


@hookimpl
def polyhead_register_perturbations(task: str) -> list[Perturbation[SimilarityExample]]:
    """Offer changes to every text of an example that leave its meaning."""
    if task != "similarity":
        return []
    return [
        _on_every_text("typos", "swap two neighbouring characters in one word of ten", perturbations.swap_neighbours),
        _on_every_text("lowercase", "write everything in lower case", lambda text, _: text.lower()),
        _on_every_text("no-punctuation", "drop punctuation, full-width marks included", perturbations.drop_punctuation),
        _on_every_text("full-width", "write letters, digits and marks in full-width forms", perturbations.widen),
    ]


def _on_every_text(
    name: str, summary: str, change: Callable[[str, random.Random], str]
) -> Perturbation[SimilarityExample]:
    def apply(example: SimilarityExample, draw: random.Random) -> SimilarityExample:
        return replace(example, texts=tuple(change(text, draw) for text in example.texts))

    return Perturbation(name, summary, apply)
