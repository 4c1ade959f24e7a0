"""From a config to everything the loop needs: examples, setup, features, backbone with its head."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from polyhead.backbone.data.batching import Collator
from polyhead.backbone.data.examples import read_examples
from polyhead.backbone.data.features import encode_examples
from polyhead.backbone.evaluation.scoring import LOSS, score, value_of
from polyhead.backbone.model.loading import Backbone, find_backbone, load_with_head
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.options import build_options
from polyhead.backbone.parallel.processes import World
from polyhead.configs.schema import RunConfig
from polyhead.registry import EncodeSettings, Example, Registry, RowError, RunError, Task, TaskSetup

Say = Callable[[str], None]
TELL_EVERY = 50_000
"""Examples after which a long encoding says how far it is."""


@dataclass(frozen=True)
class Split:
    """The data of one split: examples, and their features ready to be batched."""

    examples: tuple[Example, ...]
    collator: Collator
    skipped: int = 0

    @property
    def tokens(self) -> int:
        """Return the real tokens of all features."""
        return int(self.collator.features.lengths.sum())


@dataclass(frozen=True)
class Prepared:
    """All that a training run starts from."""

    task: Task[Any, Any]
    setup: TaskSetup
    backbone: Backbone
    stage: Stage
    settings: EncodeSettings
    train: Split
    validation: Split | None
    fingerprint: Mapping[str, Any]
    """Names what a resumed run must share with the one that it goes on with."""


def prepare_run(config: RunConfig, registry: Registry, world: World, say: Say) -> Prepared:
    """Read and encode the data, learn the setup, and load the backbone with the task's head.

    Raises:
        PolyheadError: Something in the data, the task's options or the backbone is wrong.

    """
    task = registry.task(config.task)
    options = build_options(task, config.options)
    backbone = find_backbone(
        config.backbone.name,
        registry,
        trust_remote_code=config.backbone.trust_remote_code,
        revision=config.backbone.revision,
    )
    factory = registry.head_factory(task.name, backbone.family, config.head)
    train, validation, skipped = read_training_data(config, registry, task, options)
    setup = task.prepare(train, options)
    validation_skipped = 0
    if config.data.validation:
        found = _read(config, registry, task, options, "validation", setup)
        validation, validation_skipped = found.examples, len(found.skipped)
    if validation:
        _refuse_unknown_metric(config, registry, task, setup, validation)
    settings = encode_settings(backbone, setup, config.data.max_length, config.data.stride)
    encode = _Encoder(task, settings, world, say, cache=config.data.cache)
    train_split = encode(train, skipped)
    validation_split = encode(validation, validation_skipped) if validation else None
    _tell(train_split, validation_split, say, held_out=not config.data.validation)
    torch.manual_seed(config.training.seed)  # the same new weights on every rank
    spec = factory(setup)
    model, head = load_with_head(backbone, spec, dropout=config.training.dropout)
    stage = Stage(model, head, spec, train_split.collator.input_names)
    return Prepared(
        task,
        setup,
        backbone,
        stage,
        settings,
        train_split,
        validation_split,
        _fingerprint(config, setup, train),
    )


def _refuse_unknown_metric(
    config: RunConfig, registry: Registry, task: Task[Any, Any], setup: TaskSetup, examples: Sequence[Example]
) -> None:
    """Find out now, not after the first epoch, whether the metrics give the value that is to choose the best model."""
    if config.training.metric is not None:
        values, _, _ = score(task, registry.metrics(task.name), task.baseline(examples, setup), examples, setup)
        value_of({**values, LOSS: 0.0}, config.training.metric)


def _tell(train: Split, validation: Split | None, say: Say, *, held_out: bool) -> None:
    skipped = f"; {train.skipped} rows skipped" if train.skipped else ""
    windows = len(train.collator.features)
    say(f"train: {len(train.examples):,} examples, {windows:,} windows, {train.tokens:,} tokens{skipped}")
    if validation is not None:
        skipped = f"; {validation.skipped} rows skipped" if validation.skipped else ""
        say(f"validation: {len(validation.examples):,} examples{' held out of them' if held_out else ''}{skipped}")


def read_training_data(
    config: RunConfig, registry: Registry, task: Task[Any, Any], options: Any
) -> tuple[tuple[Example, ...], tuple[Example, ...], int]:
    """Return training examples, those held out of them where no validation file is given, and the rows skipped."""
    found = _read(config, registry, task, options, "train", None)
    examples, skipped = found.examples, len(found.skipped)
    wanted = 0 if config.data.validation else int(len(examples) * config.data.validation_fraction)
    order = np.random.default_rng(config.training.seed).permutation(len(examples))
    chosen = {int(index) for index in order[:wanted]}
    rest = [example for index, example in enumerate(examples) if index not in chosen]
    setup = task.prepare(rest, options) if chosen else None
    # A rare label may have gone to the held-out part whole: such rows cannot be scored, so they train.
    held_out = {index for index in chosen if setup is not None and _fits(task, examples[index], setup)}
    train = tuple(example for index, example in enumerate(examples) if index not in held_out)
    return train, tuple(examples[index] for index in sorted(held_out)), skipped


def _fits(task: Task[Any, Any], example: Example, setup: TaskSetup) -> bool:
    try:
        task.check_example(example, setup)
    except RowError:
        return False
    return True


def _read(
    config: RunConfig,
    registry: Registry,
    task: Task[Any, Any],
    options: Any,
    split: str,
    setup: TaskSetup | None,
) -> Any:
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
    )


def encode_settings(backbone: Backbone, setup: TaskSetup, max_length: int | None, stride: int | None) -> EncodeSettings:
    """Return how texts become windows for this backbone; no ``stride`` is a quarter of the window.

    Raises:
        RunError: The wanted window is longer than the backbone can read.

    """
    longest = backbone.longest_window
    wanted = max_length or longest
    if wanted > longest:
        raise RunError(
            f"data.max_length: {wanted} is more than backbone '{backbone.reference}' reads: at most {longest}"
        )
    return EncodeSettings(backbone.tokenizer, wanted, wanted // 4 if stride is None else stride, setup)


def collator_for(
    task: Task[Any, Any],
    settings: EncodeSettings,
    examples: Sequence[Example],
    *,
    cache: bool,
    progress: Callable[[int], None] | None = None,
) -> Collator:
    """Return the features of some examples, ready to be batched; ``progress`` is told how many more are encoded."""
    tokenizer = settings.tokenizer
    features = encode_examples(task, examples, settings, cache=cache, progress=progress)
    pads = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}
    return Collator(features, input_names(tokenizer), pads, task.label_fields(settings.setup))


def input_names(tokenizer: Any) -> tuple[str, ...]:
    """Return the names under which a tokenizer gives what its model takes, ids first."""
    return tuple(tokenizer("a", verbose=False))


class _Encoder:
    """Encode splits; with a cache, one process does the work and the others read what it wrote."""

    def __init__(self, task: Task[Any, Any], settings: EncodeSettings, world: World, say: Say, *, cache: bool) -> None:
        self._task, self._settings, self._world, self._say, self._cache = task, settings, world, say, cache

    def __call__(self, examples: Sequence[Example], skipped: int) -> Split:
        if not self._cache or self._world.is_main:
            collator = self._collator(examples)
        self._world.barrier()
        if self._cache and not self._world.is_main:
            collator = self._collator(examples)
        return Split(tuple(examples), collator, skipped)

    def _collator(self, examples: Sequence[Example]) -> Collator:
        done = 0

        def count(more: int) -> None:
            nonlocal done
            if done // TELL_EVERY < (done := done + more) // TELL_EVERY:
                self._say(f"encoded {done:,} of {len(examples):,} examples")

        return collator_for(self._task, self._settings, examples, cache=self._cache, progress=count)


def _fingerprint(config: RunConfig, setup: TaskSetup, train: Sequence[Example]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for example in train:
        digest.update(repr(example).encode())
    return {
        "task": config.task,
        "backbone": config.backbone.name,
        "head": config.head,
        "labels": list(setup.labels),
        "training rows": digest.hexdigest(),
        "training.batch_size": config.training.batch_size,
        "training.seed": config.training.seed,
        "data.max_length": config.data.max_length,
    }
