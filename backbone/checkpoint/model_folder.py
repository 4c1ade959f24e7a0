"""The plain Hugging Face folder that a run leaves, with one more file that says what the task was.

``config.json``, ``model.safetensors`` (or several files of limited size with their index), the tokenizer's files,
``polyhead.json`` and, where ``transformers`` has no such head, ``polyhead_head.safetensors``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch

from polyhead.backbone.checkpoint.disk import draft_of, publish, start_draft
from polyhead.backbone.checkpoint.shards import Named, Shard, write_shards, write_tensors
from polyhead.backbone.checkpoint.states import each_weight, held_before
from polyhead.backbone.model.adapters import merged_weights
from polyhead.backbone.model.loading import HEAD_FILE, Backbone
from polyhead.backbone.model.stages import HEAD_PREFIX, Stage
from polyhead.backbone.parallel.engine import Engine, Spread
from polyhead.backbone.parallel.processes import World
from polyhead.registry import BackboneError, ModelFacts, Task, TaskSetup

TASK_FILE = "polyhead.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"


@dataclass(frozen=True)
class TaskRecord:
    """What a model folder says of its task."""

    task: str
    head: str
    labels: tuple[str, ...]
    options: Mapping[str, Any]
    facts: Mapping[str, Any]
    max_length: int
    stride: int

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> TaskRecord:
        """Return the record whose fields were written as JSON."""
        return cls(**{**found, "labels": tuple(found["labels"])})


@dataclass(frozen=True)
class Companions:
    """What a model folder holds beside weights and config."""

    tokenizer: Any
    record: TaskRecord
    extra: Mapping[str, str]
    """Texts of further files by relative path."""


def save_model(folder: Path, engine: Engine, world: World, companions: Companions) -> None:
    """Write the folder of a running engine's model anew; every rank calls it.

    The old one is there until the new one is complete.
    """
    without = held_before(engine, world)
    weights = merged_weights(engine.stage, each_weight(engine, without=without))
    write_folder(folder, engine.stage, weights, companions, spread=engine.spread, world=world)


def write_folder(
    folder: Path,
    stage: Stage,
    weights: Iterable[Named],
    companions: Companions,
    *,
    spread: Spread,
    world: World,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model folder; every rank brings the weights of its stage, LoRA merged."""
    draft = draft_of(folder)
    if world.is_main:
        start_draft(folder)
    world.barrier()
    head: dict[str, torch.Tensor] = {}
    trunk = _without_head(_cast(weights, dtype), head)
    shards = write_shards(draft, "model", trunk, spread, world, alone=WEIGHTS_FILE)
    if head and spread.writes:
        write_tensors(draft / HEAD_FILE, head)
    world.barrier()
    if world.is_main:
        if len(shards) > 1:
            _write_index(draft, shards)
        config = copy.deepcopy(stage.library_config)
        config.dtype = str(dtype).removeprefix("torch.")
        config.save_pretrained(draft)
        if stage.model.can_generate():
            stage.model.generation_config.save_pretrained(draft)
        _write_companions(draft, companions)
        publish(folder)
    world.barrier()


def record_of(task: str, head: str, setup: TaskSetup, *, max_length: int, stride: int) -> TaskRecord:
    """Return what is to be saved of a task's setup."""
    options = asdict(setup.options) if is_dataclass(setup.options) and not isinstance(setup.options, type) else {}
    return TaskRecord(task, head, setup.labels, options, dict(setup.facts), max_length, stride)


def extra_files(task: Task[Any, Any], setup: TaskSetup, backbone: Backbone, max_length: int) -> Mapping[str, str]:
    """Return the further files that a task wants in its model folder."""
    if task.extra_files is None:
        return {}
    config = getattr(backbone.config, "encoder", backbone.config)
    width = getattr(config, "hidden_size", backbone.config.hidden_size)
    return task.extra_files(setup, ModelFacts(backbone.family, int(width), max_length, backbone.config.model_type))


def read_record(folder: Path) -> TaskRecord | None:
    """Return what a model folder says of its task, or None where polyhead did not write it.

    Raises:
        BackboneError: The file is damaged.

    """
    path = folder / TASK_FILE
    if not path.is_file():
        return None
    try:
        return TaskRecord.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise BackboneError(
            f"{path} is damaged ({type(error).__name__}: {error}); it was written by finetune"
        ) from None


def _cast(weights: Iterable[Named], dtype: torch.dtype) -> Iterator[Named]:
    for name, tensor in weights:
        yield name, (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()


def _without_head(weights: Iterable[Named], head: dict[str, torch.Tensor]) -> Iterator[Named]:
    """Yield what ``transformers`` knows, and collect our own head, which goes into a file of its own."""
    for name, tensor in weights:
        if name.startswith(HEAD_PREFIX):
            head[name.removeprefix(HEAD_PREFIX)] = tensor
        else:
            yield name, tensor


def _write_companions(draft: Path, companions: Companions) -> None:
    companions.tokenizer.save_pretrained(draft)
    record = json.dumps(asdict(companions.record), ensure_ascii=False, indent=2)
    for name, text in {TASK_FILE: record, **companions.extra}.items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        (draft / name).write_text(text, encoding="utf-8")


def _write_index(draft: Path, shards: Sequence[Shard]) -> None:
    index = {
        "metadata": {"total_size": sum(shard.bytes for shard in shards)},
        "weight_map": {name: shard.file for shard in shards for name in shard.names},
    }
    (draft / INDEX_FILE).write_text(json.dumps(index, indent=2), encoding="utf-8")
