"""From a config to everything the loop needs: examples, setup, features, backbone with its head."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from polyhead.backbone.data.batching import Collator, Items
from polyhead.backbone.data.examples import read_examples
from polyhead.backbone.data.features import encode_examples
from polyhead.backbone.evaluation.scoring import LOSS, PERPLEXITY, score, value_of
from polyhead.backbone.inference.running import Reader
from polyhead.backbone.model.adapters import add_lora
from polyhead.backbone.model.loading import Backbone, decoder_start, find_backbone, load_with_head, reading_family
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.model.vocabulary import extend_tokenizer, resize
from polyhead.backbone.options import build_options
from polyhead.backbone.parallel.processes import World
from polyhead.configs.schema import RunConfig
from polyhead.registry import EncodeSettings, Example, HeadSpec, Registry, RowError, RunError, Task, TaskSetup

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
    items: Items
    """What a step draws from the training data."""
    train: Split
    validation: Split | None
    fingerprint: Mapping[str, Any]
    """Names what a resumed run must share with the one that it goes on with."""

    def reader(self, max_tokens: int) -> Reader:
        """Return how the validation data are read."""
        return Reader(self.task, self.settings, max_tokens)


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
    spec = factory(setup)
    new_tokens = _teach_characters(config, backbone, train, say)
    settings = encode_settings(backbone, spec, setup, config.data.max_length, config.data.stride)
    encode = _Encoder(task, backbone, spec, settings, world, say, cache=config.data.cache)
    train_split = encode(train, skipped)
    validation_split = encode(validation, validation_skipped) if validation else None
    _tell(train_split, validation_split, say, held_out=not config.data.validation)
    model, head = _load(config, backbone, spec, new_tokens=new_tokens, say=say)
    stage = Stage(model, head, spec, train_split.collator.input_names)
    return Prepared(
        task,
        setup,
        backbone,
        stage,
        settings,
        _items(task, settings, train_split),
        train_split,
        validation_split,
        _fingerprint(config, setup, train),
    )


def _teach_characters(config: RunConfig, backbone: Backbone, train: Sequence[Example], say: Say) -> int:
    """Make tokens of the characters that the tokenizer does not know, where the config wants it; return how many."""
    if config.backbone.new_tokens is None:
        return 0
    found = extend_tokenizer(backbone.tokenizer, train, min_count=config.backbone.new_tokens_min_count)
    say(f"backbone.new_tokens: {found:,} new tokens" if found else "backbone.new_tokens: the tokenizer knows them all")
    return found


def _load(config: RunConfig, backbone: Backbone, spec: HeadSpec, *, new_tokens: int, say: Say) -> tuple[Any, Any]:
    """Return model and head with what the config adds to the backbone; the same new weights on every rank."""
    torch.manual_seed(config.training.seed)
    model, head = load_with_head(
        backbone, spec, dropout=config.training.dropout, decoder_blocks=config.backbone.decoder_blocks
    )
    if new_tokens:
        resize(model, backbone.tokenizer)
    if config.backbone.lora is not None:
        add_lora(model, config.backbone.lora, train_embeddings=bool(new_tokens))
        parts = [module for module in (model, head) if module is not None]
        sizes = [(each.numel(), each.requires_grad) for module in parts for each in module.parameters()]
        trained, all_of_them = sum(size for size, trains in sizes if trains), sum(size for size, _ in sizes)
        say(f"backbone.lora: {trained:,} of {all_of_them:,} parameters train")
    return model, head


def _refuse_unknown_metric(
    config: RunConfig, registry: Registry, task: Task[Any, Any], setup: TaskSetup, examples: Sequence[Example]
) -> None:
    """Find out now, not after the first epoch, whether the metrics give the value that is to choose the best model."""
    wanted, training = config.training.metric, config.training
    if wanted is None:
        return
    if task.encode_prompts is not None and not training.validate_generation:
        if wanted not in (LOSS, PERPLEXITY):
            raise RunError(
                f"training.metric={wanted}: validation of task '{task.name}' writes no text and gives {LOSS} and "
                f"{PERPLEXITY} only; say training.validate_generation=true, or choose one of these"
            )
        return
    values, _, _ = score(task, registry.metrics(task.name), task.baseline(examples, setup), examples, setup)
    value_of({**values, LOSS: 0.0}, wanted)


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
    tokenizer = settings.tokenizer
    features = encode_examples(task, examples, settings, cache=cache, progress=progress)
    pad = tokenizer.pad_token_id or 0
    pads = {"input_ids": pad, "decoder_input_ids": pad, "token_type_ids": tokenizer.pad_token_type_id}
    return Collator(features, names, pads, task.label_fields(settings.setup))


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


def _items(task: Task[Any, Any], settings: EncodeSettings, train: Split) -> Items:
    packs = task.packs and settings.family == "decoder"
    together = None if task.together is None else task.together(settings.setup)
    return Items.of(train.collator.features, together=together, row_width=settings.max_length if packs else 0)


class _Encoder:
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

        return collator_for(self._task, self._settings, examples, self._names, cache=self._cache, progress=count)


def _fingerprint(config: RunConfig, setup: TaskSetup, train: Sequence[Example]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for example in train:
        digest.update(repr(example).encode())
    return {
        "task": config.task,
        "backbone": config.backbone.name,
        "backbone.lora": config.backbone.lora and config.backbone.lora.model_dump(mode="json"),
        "backbone.new_tokens": config.backbone.new_tokens and config.backbone.new_tokens_min_count,
        "head": config.head,
        "labels": list(setup.labels),
        "training rows": digest.hexdigest(),
        "training.batch_size": config.training.batch_size,
        "training.seed": config.training.seed,
        "data.max_length": config.data.max_length,
    }
