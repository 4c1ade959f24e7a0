"""Register the question-answering task."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from polyhead.plugins.qa import data, metrics
from polyhead.plugins.qa import head as heads
from polyhead.registry import Column, Metric, NamedHead, Perturbation, Task, hookimpl
from polyhead.registry.toolkit.perturbations import drop_punctuation, swap_neighbours
from polyhead.registry.toolkit.question_answering import AnswerPrediction, QuestionExample
from polyhead.registry.toolkit.sample_rows import sample_rows

polyhead_api_version = 1

TASK: Task[QuestionExample, AnswerPrediction] = Task(
    name="qa",
    summary="Which span of one or several paragraphs answers a question, or that none does.",
    example_type=QuestionExample,
    columns=(
        Column("question", "the question"),
        Column("context", "the paragraph that may answer it", required="never"),
        Column("contexts", "a list of paragraphs instead", required="never"),
        Column("answers", '{"text": [...], "answer_start": [...]}; empty lists: no answer', required="training"),
        Column("title", "where the paragraph comes from; not read by the model", required="never"),
        Column("id", "a name for the row; file name and line otherwise", required="never"),
    ),
    options=data.QaOptions,
    to_example=data.to_example,
    prepare=data.prepare,
    setup_from_labels=data.setup_from_labels,
    check_example=data.check_example,
    encode=data.encode,
    label_fields=heads.label_fields,
    heads={
        "encoder": heads.default_head,
        "decoder": heads.default_head,
        "encoder-decoder": heads.default_head,
    },
    count_targets=heads.count_targets,
    loss=heads.loss,
    decode=heads.decode,
    perfect_outputs=heads.perfect_outputs,
    metrics=(Metric("qa", metrics.score),),
    headline=metrics.headline,
    baseline_name="no answer, or the sentence with most words of the question",
    baseline=metrics.baseline,
    samples=partial(sample_rows, __package__),
    text_column="question",
    calibrate=metrics.calibrate,
)


@hookimpl
def polyhead_register_tasks() -> list[Task[QuestionExample, AnswerPrediction]]:
    """Add the task."""
    return [TASK]


@hookimpl
def polyhead_register_heads() -> list[NamedHead]:
    """Offer the toolkit's head, on the encoder's states, where ``transformers`` reads the decoder's."""
    summary = "start and end scored on the encoder's states"
    return [NamedHead("span", "qa", summary, dict.fromkeys(TASK.heads, heads.span_head))]


@hookimpl
def polyhead_register_perturbations(task: str) -> list[Perturbation[QuestionExample]]:
    """Offer changes to the question; the paragraphs stay, and with them the places of the answers."""
    if task != "qa":
        return []
    return [
        _on_question("typos", "swap two neighbouring characters in one word of ten of the question", swap_neighbours),
        _on_question("lowercase", "write the question in lower case", lambda text, _: text.lower()),
        _on_question("no-punctuation", "drop punctuation from the question, full-width marks too", drop_punctuation),
    ]


def _on_question(name: str, summary: str, change: Callable[[str, random.Random], str]) -> Perturbation[QuestionExample]:
    def apply(example: QuestionExample, draw: random.Random) -> QuestionExample:
        return replace(example, question=change(example.question, draw))

    return Perturbation(name, summary, apply)
