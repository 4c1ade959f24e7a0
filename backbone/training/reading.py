"""Which examples train and which are held out for validation: read into memory, or streamed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from polyhead.backbone.data.duplicates import number_of, text_without_id
from polyhead.backbone.data.examples import ExampleSet, SkippedRow, iterate_examples, read_examples
from polyhead.backbone.data.parallel_rows import parallel_files
from polyhead.backbone.data.token_store import Corpus
from polyhead.configs.schema import RunConfig
from polyhead.registry import Example, Registry, RowError, RunError, Task, TaskSetup

SAMPLE = 20_000
"""The first streamed texts, which a task learns its setup from."""
MOST_HELD_OUT = 5_000
"""Streamed texts that are held out at most: these are kept in memory."""


@dataclass(frozen=True)
class TrainingData:
    """The examples of a run."""

    train: Iterable[Example]
    """All of them; those of a stream come from the files each time."""
    sample: Sequence[Example]
    """What a task learns its setup from: all, or the first of a stream."""
    held_out: tuple[Example, ...]
    """Those held out of them where no validation file is given."""
    skipped: int
    """Rows that were left out; of a stream only known when it was read to its end."""
    corpus: Corpus | None = None
    """How a stream is read."""


def read_training_data(config: RunConfig, registry: Registry, task: Task[Any, Any], options: Any) -> TrainingData:
    """Return what a run trains on.

    Raises:
        RunError: The data are to be streamed, and the task is no objective of pretraining.

    """
    if config.data.stream:
        return _stream(config, registry, task, options)
    found = read_split(config, registry, task, options, "train", None)
    examples, skipped = found.examples, len(found.skipped)
    wanted = 0 if config.data.validation else int(len(examples) * config.data.validation_fraction)
    order = np.random.default_rng(config.training.seed).permutation(len(examples))
    chosen = {int(index) for index in order[:wanted]}
    rest = [example for index, example in enumerate(examples) if index not in chosen]
    setup = task.prepare(rest, options) if chosen else None
    # A rare label may have gone to the held-out part whole: such rows cannot be scored, so they train.
    held_out = {index for index in chosen if setup is not None and _fits(task, examples[index], setup)}
    train = tuple(example for index, example in enumerate(examples) if index not in held_out)
    return TrainingData(train, train, tuple(examples[index] for index in sorted(held_out)), skipped)


def read_split(
    config: RunConfig,
    registry: Registry,
    task: Task[Any, Any],
    options: Any,
    split: str,
    setup: TaskSetup | None,
) -> ExampleSet[Any]:
    """Return all examples of a split's files."""
    return read_examples(
        registry,
        task,
        getattr(config.data, split),
        labels_required=True,
        columns=config.data.columns,
        options=options,
        format=config.data.format,
        encoding=config.data.encoding,
        on_error=config.data.on_error,
        setup=setup,
        unique=config.data.unique,
    )


def _fits(task: Task[Any, Any], example: Example, setup: TaskSetup) -> bool:
    try:
        task.check_example(example, setup)
    except RowError:
        return False
    return True


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────


def _stream(config: RunConfig, registry: Registry, task: Task[Any, Any], options: Any) -> TrainingData:
    if not task.pretrains:
        raise RunError(
            f"data.stream: task '{task.name}' needs all its examples at once; only objectives of pretraining "
            "(masked-lm, ...) stream: say data.stream=false"
        )
    stream = _Stream(config, registry, task, options)
    corpus = Corpus(stream.walk, lambda: stream.skipped, stream.key())
    sample = tuple(islice(stream.walk(), SAMPLE))
    return TrainingData(_Again(corpus), sample, stream.held_out(), 0, corpus)


class _Again:
    """Reads a corpus anew each time that it is asked for its examples."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def __iter__(self) -> Iterator[Example]:
        return self._corpus.walk()


class _Stream:
    """The training texts of a run, one by one."""

    def __init__(self, config: RunConfig, registry: Registry, task: Task[Any, Any], options: Any) -> None:
        self._config, self._registry, self._task, self._options = config, registry, task, options
        self._fraction = 0.0 if config.data.validation else config.data.validation_fraction
        self.skipped = 0

    def walk(self) -> Iterator[Example]:
        """Yield the texts to train on."""
        return (example for example, is_held_out in self._walk() if not is_held_out)

    def held_out(self) -> tuple[Example, ...]:
        """Return the texts that validate: a text's own number and the seed tell, up to `MOST_HELD_OUT` texts."""
        if not self._fraction:
            return ()
        return tuple(islice((example for example, is_held_out in self._walk() if is_held_out), MOST_HELD_OUT))

    def key(self) -> Any:
        """Name the files, how they are read, and what of them is held out."""
        data = self._config.data
        return {
            "files": [_state_of(file) for path in data.train for file in _files_of(path)],
            "reading": data.model_dump(mode="json", include={"train", "columns", "format", "encoding", "on_error"}),
            "unique": data.unique,
            "held out": [self._fraction, self._config.training.seed if self._fraction else 0, MOST_HELD_OUT],
            "plugins": sorted((plugin.name, plugin.version) for plugin in self._registry.plugins()),
        }

    def _walk(self) -> Iterator[tuple[Example, bool]]:
        data, seed = self._config.data, self._config.training.seed
        found = iterate_examples(
            self._registry,
            self._task,
            data.train,
            labels_required=True,
            columns=data.columns,
            options=self._options,
            format=data.format,
            encoding=data.encoding,
            on_error=data.on_error,
            check_ids=False,
            unique=data.unique,
        )
        limit, most = self._fraction * 2**64, MOST_HELD_OUT if self._fraction else 0
        self.skipped = held_out = 0
        for item in found:
            if isinstance(item, SkippedRow):
                self.skipped += 1
                continue
            is_held_out = held_out < most and number_of(text_without_id(item) or "", seed=seed) < limit
            held_out += is_held_out
            yield item, is_held_out


def _files_of(path: Path) -> list[Path]:
    """Return the files that a path of the settings stands for: itself, those of a folder, two of parallel texts."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path] if path.exists() else list(parallel_files(path).values())


def _state_of(file: Path) -> list[Any]:
    state = file.stat()
    return [str(file.resolve()), state.st_size, state.st_mtime_ns]
