"""Features on disk: the same as in memory, written whole or not at all, with few texts in memory at a time."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from polyhead.backbone.data import token_store
from polyhead.backbone.data.features import encode_examples
from polyhead.backbone.data.token_store import Corpus, open_store, store_path, write_store
from polyhead.registry import DataError, EncodeSettings, Registry, Task

COUNT = 450


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "polyhead" / "streams"


@pytest.fixture(params=["masked-lm", "causal-lm"])
def task(request: pytest.FixtureRequest, registry: Registry) -> Task[Any, Any]:
    return registry.task(request.param)


@pytest.fixture
def settings(task: Task[Any, Any], tiny_bert: Path) -> EncodeSettings:
    setup = task.setup_from_labels((), task.options() if task.options else None)
    family = "decoder" if task.packs else "encoder"
    return EncodeSettings(AutoTokenizer.from_pretrained(tiny_bert), 16, 4, setup, family)


def text_number(number: int) -> str:
    return " ".join(f"word {number} of a 电影" for _ in range(1 + number % 5))


def corpus_of(task: Task[Any, Any], count: int = COUNT, seen: Callable[[Any], None] = lambda _: None) -> Corpus:
    """Return a corpus whose texts are made while they are read."""

    def walk() -> Iterator[Any]:
        for number in range(count):
            example = task.to_example({"text": text_number(number)}, str(number), task.options())
            seen(example)
            yield example

    return Corpus(walk, lambda: 3, {"count": count})


def stored(task: Task[Any, Any], settings: EncodeSettings, corpus: Corpus) -> token_store.Store:
    path = store_path(task, settings, corpus)
    write_store(path, task, settings, corpus, lambda _: None)
    found = open_store(path)
    assert found is not None
    return found


def test_what_is_stored_is_what_memory_would_hold(
    task: Task[Any, Any], settings: EncodeSettings, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_store, "ENCODE_AT_ONCE", 100)
    corpus = corpus_of(task)
    found = stored(task, settings, corpus)
    wanted = encode_examples(task, list(corpus.walk()), settings, cache=False)
    assert (found.examples, found.skipped, len(found.features)) == (COUNT, 3, len(wanted))
    assert found.features.has_labels == wanted.has_labels == task.packs
    assert np.array_equal(found.features.lengths, wanted.lengths)
    assert found.features.inputs.keys() == wanted.inputs.keys()
    for index in (0, 1, 99, 100, 101, len(wanted) - 1):
        assert found.features.feature(index) == dataclasses.replace(wanted.feature(index), offsets=[])
    assert found.features.inputs["input_ids"].values.dtype == np.uint16
    assert [path.name for path in cache.iterdir()] == [store_path(task, settings, corpus).name]


def test_few_texts_are_in_memory_at_a_time(
    task: Task[Any, Any], settings: EncodeSettings, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_store, "ENCODE_AT_ONCE", 20)
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    def watch(example: Any) -> None:
        nonlocal most
        alive.add(example)
        most = max(most, len(alive))

    gc.disable()  # what is kept by a circle alone counts too
    try:
        found = stored(task, settings, corpus_of(task, seen=watch))
    finally:
        gc.enable()
    assert found.examples == COUNT
    assert 20 <= most <= 2 * 20 + 1
    values = found.features.inputs["input_ids"].values
    while isinstance(values.base, np.ndarray):
        values = values.base
    assert isinstance(values, np.memmap)


def test_long_texts_are_encoded_in_smaller_pieces(
    task: Task[Any, Any], settings: EncodeSettings, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_store, "MOST_CHARACTERS", 2_000)
    done: list[int] = []
    corpus = corpus_of(task)
    write_store(store_path(task, settings, corpus), task, settings, corpus, done.append)
    assert len(done) > 10
    assert done[-1] == COUNT


def test_writing_that_breaks_off_leaves_nothing(
    task: Task[Any, Any], settings: EncodeSettings, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_store, "ENCODE_AT_ONCE", 100)
    corpus = corpus_of(task)
    path = store_path(task, settings, corpus)

    def interrupt(done: int) -> None:
        if done >= 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_store(path, task, settings, corpus, interrupt)
    assert open_store(path) is None
    assert list(cache.iterdir()) == []


def test_what_a_killed_process_left_is_deleted_and_what_a_living_one_writes_is_not(
    task: Task[Any, Any], settings: EncodeSettings, cache: Path
) -> None:
    killed, living = cache / f".writing-x-{2**22 + 1}", cache / ".writing-x-1"  # above the largest number of a process
    for draft in (killed, living):
        draft.mkdir(parents=True)
        (draft / "inputs.input_ids.values").write_bytes(b"half")
    stored(task, settings, corpus_of(task, 3))
    assert not killed.exists()
    assert living.exists()


def test_texts_without_a_token_are_an_error(task: Task[Any, Any], settings: EncodeSettings, cache: Path) -> None:
    corpus = corpus_of(task, 0)
    with pytest.raises(DataError, match=r"data\.train: no text gives a token"):
        write_store(store_path(task, settings, corpus), task, settings, corpus, lambda _: None)
    assert list(cache.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error(
    task: Task[Any, Any], settings: EncodeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    corpus = corpus_of(task, 3)
    with pytest.raises(DataError, match=r"the tokens cannot be kept there: .*set XDG_CACHE_HOME"):
        write_store(store_path(task, settings, corpus), task, settings, corpus, lambda _: None)


def test_other_settings_have_another_store(task: Task[Any, Any], settings: EncodeSettings) -> None:
    corpus = corpus_of(task)
    paths = {
        store_path(task, settings, corpus),
        store_path(task, dataclasses.replace(settings, max_length=12), corpus),
        store_path(task, settings, dataclasses.replace(corpus, key={"count": 3})),
    }
    assert len(paths) == 3
