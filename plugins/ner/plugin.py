"""Register the named-entity task."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from polyhead.plugins.ner import data, metrics
from polyhead.plugins.ner import head as heads
from polyhead.plugins.ner.data import NerExample
from polyhead.plugins.ner.head import NerPrediction
from polyhead.registry import Column, Metric, Perturbation, Task, hookimpl
from polyhead.registry.toolkit.perturbations import widen
from polyhead.registry.toolkit.sample_rows import sample_rows

polyhead_api_version = 1

TASK: Task[NerExample, NerPrediction] = Task(
    name="ner",
    summary="Which stretches of a text name a person, a place, an organisation, or whatever you marked.",
    example_type=NerExample,
    columns=(
        Column("tokens", "the tokens of a text: a list", required="never"),
        Column("ner_tags", "the tag of each token: O, B-PER, I-PER, ...; any scheme", required="never"),
        Column("text", "the text itself, instead of tokens (or beside them)", required="never"),
        Column("entities", "with text: a list of {start, end, label}, in characters", required="never"),
        Column("id", "a name for the row; file name and line otherwise", required="never"),
    ),
    options=data.NerOptions,
    to_example=data.to_example,
    prepare=data.prepare,
    setup_from_labels=data.setup_from_labels,
    check_example=data.check_example,
    encode=data.encode,
    label_fields=heads.label_fields,
    heads={
        "encoder": heads.default_head,
        "decoder": heads.decoder_head,
        "encoder-decoder": heads.default_head,
    },
    count_targets=heads.count_targets,
    loss=heads.loss,
    decode=heads.decode,
    metrics=(Metric("entities", metrics.score),),
    headline=metrics.headline,
    baseline_name="entities of the training data looked up",
    baseline=metrics.baseline,
    samples=partial(sample_rows, __package__),
)


@hookimpl
def polyhead_register_tasks() -> list[Task[NerExample, NerPrediction]]:
    """Add the task."""
    return [TASK]


@hookimpl
def polyhead_register_perturbations(task: str) -> list[Perturbation[NerExample]]:
    """Offer the changes that leave every character at its place, so that the entities stay where they are."""
    if task != "ner":
        return []
    return [
        _perturbation("lowercase", "write everything in lower case", lambda text, _: _lower(text)),
        _perturbation("full-width", "write letters, digits and marks in their full-width forms", widen),
    ]


def _lower(text: str) -> str:
    return "".join(lower if len(lower := character.lower()) == 1 else character for character in text)


def _perturbation(name: str, summary: str, change: Callable[[str, random.Random], str]) -> Perturbation[NerExample]:
    return Perturbation(name, summary, lambda example, draw: replace(example, text=change(example.text, draw)))
