"""From examples to features that are ready to be batched: in memory, from the cache, or through the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from polyhead.backbone.data.batching import Collator, Corrupt
from polyhead.backbone.data.features import FeatureSet, encode_examples
from polyhead.backbone.data.token_store import Store
from polyhead.backbone.model.finding import Backbone, decoder_start, reading_family
from polyhead.backbone.parallel.processes import World
from polyhead.backbone.training.reading import TrainingData
from polyhead.backbone.training.streaming import stored_features
from polyhead.registry import EncodeSettings, Example, HeadSpec, RunError, Task, TaskSetup

Say = Callable[[str], None]
TELL_EVERY = 50_000
"""Examples after which a long encoding says how far it is."""


@dataclass(frozen=True)
class Split:
    """The data of one split: examples, and their features ready to be batched."""

    examples: tuple[Example, ...]
    """None of a stream, which keeps features only."""
    collator: Collator
    skipped: int = 0
    streamed: Store | None = None

    @property
    def count(self) -> int:
        """Return how many examples there are."""
        return len(self.examples) if self.streamed is None else self.streamed.examples

    @property
    def digest(self) -> str:
        """Name the examples, in order."""
        if self.streamed is not None:
            return self.streamed.digest
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(repr(example).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    @property
    def tokens(self) -> int:
        """Return the real tokens of all features."""
        return int(self.collator.features.lengths.sum())


def encode_settings(
    backbone: Backbone, spec: HeadSpec, setup: TaskSetup, max_length: int | None, stride: int | None
) -> EncodeSettings:
    """Return how texts become windows for this backbone and head; no ``stride`` is a quarter of the window.

    Raises:
        RunError: The wanted window is longer than the backbone can read.

    """
    wanted, most = max_length or backbone.longest_window, backbone.most_positions
    if wanted > most:
        raise RunError(f"data.max_length: {wanted} is more than backbone '{backbone.reference}' reads: at most {most}")
    return EncodeSettings(
        backbone.tokenizer,
        wanted,
        wanted // 4 if stride is None else stride,
        setup,
        reading_family(backbone, spec),
        decoder_start(backbone, spec),
    )


def collator_for(
    task: Task[Any, Any],
    settings: EncodeSettings,
    examples: Sequence[Example],
    names: tuple[str, ...],
    *,
    cache: bool,
    progress: Callable[[int], None] | None = None,
) -> Collator:
    """Return the features of some examples, ready to be batched; ``progress`` is told how many more are encoded."""
    return collator_of(task, settings, encode_examples(task, examples, settings, cache=cache, progress=progress), names)


def collator_of(
    task: Task[Any, Any], settings: EncodeSettings, features: FeatureSet, names: tuple[str, ...]
) -> Collator:
    """Return features ready to be batched."""
    tokenizer = settings.tokenizer
    pad = tokenizer.pad_token_id or 0
    pads = {"input_ids": pad, "decoder_input_ids": pad, "token_type_ids": tokenizer.pad_token_type_id}
    return Collator(features, names, pads, task.label_fields(settings.setup), corrupting(task, settings))


def corrupting(task: Task[Any, Any], settings: EncodeSettings) -> Corrupt | None:
    """Return what makes the labels of an objective of pretraining; None for other tasks."""
    corrupt = task.corrupt
    return None if corrupt is None else lambda feature, generator: corrupt(feature, generator, settings)


def input_names(backbone: Backbone, spec: HeadSpec, task: Task[Any, Any]) -> tuple[str, ...]:
    """Return the names of a model's inputs, ids first: what the tokenizer gives, and what its decoder takes besides.

    A decoder of packed rows takes ``position_ids``, which tell where a text begins.
    """
    names = list(backbone.tokenizer("a", verbose=False))
    if backbone.family != "encoder" and "token_type_ids" in names:
        names.remove("token_type_ids")  # only encoders take them: GPT-2 would add its word embeddings by them
    if task.packs and backbone.family == "decoder":
        names.append("position_ids")
    if spec.auto_class == "AutoModelForSeq2SeqLM":
        names.append("decoder_input_ids")
    return tuple(names)


class Encoder:
    """Encode splits; with a cache, one process does the work and the others read what it wrote."""

    def __init__(
        self,
        task: Task[Any, Any],
        backbone: Backbone,
        spec: HeadSpec,
        settings: EncodeSettings,
        world: World,
        say: Say,
        *,
        cache: bool,
    ) -> None:
        self._task, self._settings, self._world, self._say, self._cache = task, settings, world, say, cache
        self._names = input_names(backbone, spec, task)

    def training(self, data: TrainingData) -> Split:
        """Encode the training data; a stream goes through the disk."""
        if data.corpus is None:
            return self(tuple(data.train), data.skipped)
        store = stored_features(self._task, self._settings, data.corpus, self._world, self._say)
        collator = collator_of(self._task, self._settings, store.features, self._names)
        return Split((), collator, store.skipped, store)

    def __call__(self, examples: Sequence[Example], skipped: int) -> Split:
        """Encode the examples of a split; every rank calls it."""
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

        return collator_for(self._task, self._settings, examples, self._names, cache=self._cache, progress=count)
