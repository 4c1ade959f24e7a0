"""From a config to everything the loop needs: examples, setup, features, backbone with its head."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from polyhead.backbone.data.batching import Items
from polyhead.backbone.data.features import tokenizer_digest
from polyhead.backbone.evaluation.scoring import LOSS, PERPLEXITY, score, value_of
from polyhead.backbone.headed_task import headed
from polyhead.backbone.inference.running import Reader
from polyhead.backbone.model.adapters import add_lora
from polyhead.backbone.model.loading import (
    Backbone,
    ChooseBlocks,
    find_backbone,
    load_with_head,
)
from polyhead.backbone.model.partition import Partition
from polyhead.backbone.model.parts import Cut
from polyhead.backbone.model.stages import Stage, Tensors
from polyhead.backbone.model.vocabulary import extend_tokenizer, resize
from polyhead.backbone.options import build_options
from polyhead.backbone.parallel.engine import spread_of
from polyhead.backbone.parallel.processes import World
from polyhead.backbone.training.encoding import Encoder, Split, encode_settings
from polyhead.backbone.training.reading import read_split, read_training_data
from polyhead.configs.layouts import parse_layout
from polyhead.configs.schema import RunConfig
from polyhead.registry import EncodeSettings, Example, HeadSpec, Registry, RunError, Task, TaskSetup

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """All that a training run starts from."""

    task: Task[Any, Any]
    setup: TaskSetup
    backbone: Backbone
    stage: Stage
    """The whole model; under a pipeline, with the blocks that this process will hold."""
    cuts: tuple[Cut, ...]
    """Where a pipeline cuts the model; empty where there is none."""
    settings: EncodeSettings
    items: Items
    """What a step draws from the training data."""
    train: Split
    validation: Split | None
    fingerprint: Mapping[str, Any]
    """Names what a resumed run must share with the one that it goes on with."""

    def loss_of(self, outputs: Tensors, labels: Tensors) -> torch.Tensor:
        """Return the task's loss as a sum."""
        return self.task.loss(outputs, labels, self.setup).total

    def reader(self, max_tokens: int) -> Reader:
        """Return how the validation data are read."""
        return Reader(self.task, self.settings, max_tokens)


def prepare_run(config: RunConfig, registry: Registry, world: World, say: Say, *, weights: bool = True) -> Prepared:
    """Read and encode the data, learn the setup, and load the backbone with the task's head.

    ``weights``: False builds the whole model on the meta device and reads no weights.

    Raises:
        PolyheadError: Something in the data, the task's options or the backbone is wrong.

    """
    registry.choose(*config.plugins)
    task = registry.task(config.task)
    options = build_options(task, config.options)
    backbone = backbone_of(config, registry)
    factory = registry.head_factory(task.name, backbone.family, config.head)
    data = read_training_data(config, registry, task, options)
    setup = task.prepare(data.sample, options)
    validation, validation_skipped = data.held_out, 0
    if config.data.validation:
        found = read_split(config, registry, task, options, "validation", setup)
        validation, validation_skipped = found.examples, len(found.skipped)
    if validation:
        _refuse_unknown_metric(config, registry, task, setup, validation)
    spec = factory(setup)
    task = headed(task, spec)
    new_tokens = _teach_characters(config, backbone, data.train, say)
    settings = encode_settings(backbone, spec, setup, config.data.max_length, config.data.stride)
    encode = Encoder(task, backbone, spec, settings, world, say, cache=config.data.cache)
    train_split = encode.training(data)
    validation_split = encode(validation, validation_skipped) if validation else None
    _tell(train_split, validation_split, say, held_out=not config.data.validation)
    names = train_split.collator.input_names
    partition = _partition(config, world, spec, names) if weights else None
    if weights:
        model, head = load_model(config, backbone, spec, new_tokens=new_tokens, say=say, choose=partition)
    else:
        model, head = empty_model(config, backbone, spec, new_tokens=new_tokens)
    cuts = () if partition is None else tuple(partition.cuts(model, bare=head is not None))
    stage = Stage(model, head, spec, names)
    return Prepared(
        task,
        setup,
        backbone,
        stage,
        cuts,
        settings,
        _items(task, settings, train_split),
        train_split,
        validation_split,
        _fingerprint(config, setup, backbone, train_split),
    )


def backbone_of(config: RunConfig, registry: Registry) -> Backbone:
    """Return the backbone that a run trains."""
    return find_backbone(
        config.backbone.name,
        registry,
        trust_remote_code=config.backbone.trust_remote_code,
        revision=config.backbone.revision,
        architecture=config.backbone.architecture,
        tokenizer=config.backbone.tokenizer,
    )


def _teach_characters(config: RunConfig, backbone: Backbone, train: Iterable[Example], say: Say) -> int:
    """Make tokens of the characters that the tokenizer does not know, where the config wants it; return how many."""
    if config.backbone.new_tokens is None:
        return 0
    found = extend_tokenizer(backbone.tokenizer, train, min_count=config.backbone.new_tokens_min_count)
    say(f"backbone.new_tokens: {found:,} new tokens" if found else "backbone.new_tokens: the tokenizer knows them all")
    return found


def _partition(config: RunConfig, world: World, spec: HeadSpec, names: Sequence[str]) -> Partition | None:
    """Return what cuts the model for a pipeline; None where the layout has none."""
    spread = spread_of(parse_layout(config.layout), world)
    if spread.stages == 1:
        return None
    return Partition(config.partition, spread.stages, spread.stage, spec=spec, input_names=names, agree=world.broadcast)


def load_model(
    config: RunConfig,
    backbone: Backbone,
    spec: HeadSpec,
    *,
    new_tokens: int,
    say: Say,
    choose: ChooseBlocks | None = None,
) -> tuple[Any, Any]:
    """Return model and head with what the config adds to the backbone; the same new weights on every rank.

    ``choose`` says which blocks are read, where this process holds some of them only.
    """
    torch.manual_seed(config.training.seed)
    model, head = load_with_head(
        backbone,
        spec,
        dropout=config.training.dropout,
        decoder_blocks=config.backbone.decoder_blocks,
        choose=choose,
    )
    if new_tokens:
        resize(model, backbone.tokenizer)
    if config.backbone.lora is not None:
        add_lora(model, config.backbone.lora, train_embeddings=bool(new_tokens) or backbone.own is not None)
        parts = [module for module in (model, head) if module is not None]
        sizes = [(each.numel(), each.requires_grad) for module in parts for each in module.parameters()]
        trained, all_of_them = sum(size for size, trains in sizes if trains), sum(size for size, _ in sizes)
        say(f"backbone.lora: {trained:,} of {all_of_them:,} parameters train")
    if config.training.activation_checkpointing:
        model.activation_checkpointing_enable()
    return model, head


def empty_model(config: RunConfig, backbone: Backbone, spec: HeadSpec, *, new_tokens: int) -> tuple[Any, Any]:
    """Return model and head as `load_model` does, on the meta device: nothing is read, and nothing is in them."""
    bare = replace(backbone, is_fresh=True, own=None)
    if backbone.own is not None:  # exchanging tokens leaves as many rows as the new tokenizer has
        bare.config.vocab_size = len(backbone.tokenizer)
    with torch.device("meta"):
        return load_model(config, bare, spec, new_tokens=new_tokens, say=lambda _: None)


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
    say(f"train: {train.count:,} examples, {windows:,} windows, {train.tokens:,} tokens{skipped}")
    if validation is not None:
        skipped = f"; {validation.skipped} rows skipped" if validation.skipped else ""
        say(f"validation: {len(validation.examples):,} examples{' held out of them' if held_out else ''}{skipped}")


def _items(task: Task[Any, Any], settings: EncodeSettings, train: Split) -> Items:
    packs = task.packs and settings.family == "decoder"
    together = None if task.together is None else task.together(settings.setup)
    return Items.of(train.collator.features, together=together, row_width=settings.max_length if packs else 0)


def _fingerprint(config: RunConfig, setup: TaskSetup, backbone: Backbone, train: Split) -> dict[str, Any]:
    return {
        "task": config.task,
        "backbone": config.backbone.name,
        "backbone.architecture": config.backbone.architecture,
        "backbone.tokenizer": config.backbone.tokenizer and tokenizer_digest(backbone.tokenizer),
        "backbone.lora": config.backbone.lora and config.backbone.lora.model_dump(mode="json"),
        "backbone.new_tokens": config.backbone.new_tokens and config.backbone.new_tokens_min_count,
        "head": config.head,
        "labels": list(setup.labels),
        "training rows": train.digest,
        "training.batch_size": config.training.batch_size,
        "training.seed": config.training.seed,
        "training.optimizer": config.training.optimizer,
        "data.max_length": config.data.max_length,
    }
