"""The tasks that come with polyhead pass the checks of data, labels and metrics, whatever kind of rows they get."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from polyhead.backbone.conformance.alignment_checks import ALIGNMENT_CHECKS
from polyhead.backbone.conformance.answers import AnsweredTask
from polyhead.backbone.conformance.checks import NotApplicable
from polyhead.backbone.conformance.data_checks import DATA_CHECKS
from polyhead.backbone.conformance.feature_checks import FEATURE_CHECKS
from polyhead.backbone.conformance.identity_checks import IDENTITY_CHECKS
from polyhead.backbone.conformance.isolation import quiet
from polyhead.backbone.conformance.long_text_checks import LONG_TEXT_CHECKS
from polyhead.backbone.conformance.metric_checks import METRIC_CHECKS
from polyhead.backbone.conformance.sample_rows import sample_rows
from polyhead.backbone.conformance.subject import TaskSubject
from polyhead.backbone.conformance.tiny_models import make_tiny_models
from polyhead.registry import Registry, Row

MOST_ROWS = 10
"""Enough for every check; a whole set of samples takes longer and shows the same."""
LABELLED_PAIRS = [
    {"sentence1": f"{a} sleeps", "sentence2": f"{b} is asleep", "label": "yes" if a == b else "no"}
    for a, b in [("Ann", "Ann"), ("Bob", "Carl"), ("Dora", "Dora"), ("Emil", "Flo"), ("Gina", "Gina"), ("Hugo", "Ann")]
]
KINDS: dict[str, tuple[str, list[Row]]] = {
    "sentiment of aspects": (
        "sentiment",
        [
            {"text": "The screen is bright, the battery is weak.", "aspect": aspect, "label": label}
            for aspect, label in [("screen", "positive"), ("battery", "negative"), ("price", "neutral")] * 2
        ],
    ),
    "sentiment in numbers": (
        "sentiment",
        [{"text": f"It deserves {number} of 1.", "label": number / 10} for number in (1, 4, 5, 7, 9, 2)],
    ),
    "sentiment in stars": (
        "sentiment",
        [{"text": f"I give it {stars}.", "label": stars} for stars in (1, 2, 3, 4, 5, 1)],
    ),
    "pairs of two labels": ("similarity", LABELLED_PAIRS),
    "pairs that belong together": (
        "similarity",
        [{"sentence1": f"{word} is here", "sentence2": f"here is {word}"} for word in ("tea", "milk", "rice", "salt")],
    ),
    "triplets": (
        "similarity",
        [
            {"anchor": f"{word} is here", "positive": f"here is {word}", "negatives": ["nobody", "nothing"]}
            for word in ("tea", "milk", "rice", "salt")
        ],
    ),
    "pairs of texts": (
        "classification",
        [{"text": row["sentence1"], "text_pair": row["sentence2"], "label": row["label"]} for row in LABELLED_PAIRS],
    ),
    "questions of several paragraphs": (
        "qa",
        [
            {
                "question": f"Where does {name} live?",
                "contexts": ["The town is old.", f"{name} lives in the {place} house."],
                "answers": {"text": [f"the {place} house"], "answer_start": [len(f"{name} lives in ")]},
            }
            for name, place in [("Ann", "red"), ("Bob", "blue"), ("Carl", "old"), ("Dora", "big")]
        ],
    ),
}


def subject_of(registry: Registry, task_name: str, rows: list[Row] | None, folder: Path) -> TaskSubject:
    task = registry.task(task_name)
    found = sample_rows(task, rows)
    kept = random.Random(7).sample(found, MOST_ROWS) if len(found) > MOST_ROWS else found
    return TaskSubject(registry, task, "x:x", kept, make_tiny_models(folder, task.heads, registry, kept), folder)


def seen(subject: TaskSubject) -> dict[str, str]:
    """Run all checks that train nothing; one that fails raises."""
    answered = AnsweredTask(subject)
    found = {}
    with quiet():
        for check in (*DATA_CHECKS, *IDENTITY_CHECKS, *FEATURE_CHECKS, *LONG_TEXT_CHECKS):
            found[check.name] = said(check, subject)
        for check in (*ALIGNMENT_CHECKS, *METRIC_CHECKS):
            found[check.name] = said(check, answered)
    return found


def said(check: Any, subject: Any) -> str:
    try:
        answer: str = check.run(subject)
    except NotApplicable as reason:
        return f"not applicable: {reason}"
    return answer


@pytest.mark.slow
@pytest.mark.parametrize(
    "task_name",
    [
        "causal-lm",
        "classification",
        "denoising",
        "generation",
        "masked-lm",
        "ner",
        "qa",
        "sentiment",
        "similarity",
        "span-corruption",
        "summarization",
        "translation",
    ],
)
def test_a_task_passes_on_its_own_samples(task_name: str, registry: Registry, tmp_path: Path) -> None:
    found = seen(subject_of(registry, task_name, None, tmp_path))
    assert "of a perfect model on 10 examples" in found["label-alignment"]
    assert " all wrong" in found["metric-right-and-wrong"]
    assert not found["long-texts"].startswith("not applicable")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_task_passes_on_every_kind_of_rows(kind: str, registry: Registry, tmp_path: Path) -> None:
    task_name, rows = KINDS[kind]
    found = seen(subject_of(registry, task_name, rows, tmp_path))
    assert f"of a perfect model on {len(rows)} examples" in found["label-alignment"]
