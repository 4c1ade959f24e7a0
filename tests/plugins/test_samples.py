"""Every task of polyhead ships rows with answers, in English and in Chinese, that it takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polyhead.registry import Registry

TASKS = (
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
)
ONE_KIND = {"similarity": {"anchor", "label", "negative", "negatives", "positive", "text"}}
"""Columns of kinds of rows that a file cannot mix."""


@pytest.fixture(scope="module")
def samples(registry: Registry) -> dict[str, list[Any]]:
    """Return the rows of every task of polyhead's."""
    found = {name: entry.task for name, entry in registry.tasks().items() if entry.distribution == "polyhead"}
    assert set(found) == set(TASKS)
    assert [name for name, task in found.items() if task.samples is None] == []
    return {name: list(task.samples()) for name, task in found.items() if task.samples is not None}


@pytest.mark.parametrize("name", TASKS)
def test_the_task_takes_its_samples(name: str, samples: dict[str, list[Any]], registry: Registry) -> None:
    task = registry.task(name)
    options = task.options() if task.options is not None else None
    examples = [task.to_example(row, row["id"], options) for row in samples[name]]
    setup = task.prepare(examples, options)
    for example in examples:
        task.check_example(example, setup)
    assert 24 <= len({example.id for example in examples}) == len(samples[name]) <= 32


@pytest.mark.parametrize("name", TASKS)
def test_the_samples_show_every_column_and_no_other(
    name: str, samples: dict[str, list[Any]], registry: Registry
) -> None:
    shown = {column for row in samples[name] for column in row}
    documented = {column.name for column in registry.task(name).columns}
    assert shown == documented - ONE_KIND.get(name, set())


@pytest.mark.parametrize("name", TASKS)
def test_the_samples_are_english_and_chinese(name: str, samples: dict[str, list[Any]]) -> None:
    texts = [json.dumps(row, ensure_ascii=False) for row in samples[name]]
    chinese = sum(any("\u4e00" <= character <= "\u9fff" for character in text) for text in texts)
    assert len(texts) // 3 <= chinese <= len(texts)
    assert chinese < len(texts) or name == "translation"
