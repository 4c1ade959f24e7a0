"""The plain Hugging Face folder that a run leaves, with one more file that says what the task was.

``config.json``, ``model.safetensors`` (or shards with their index, one for each pipeline stage), the tokenizer's files,
``polyhead.json`` and, where ``transformers`` has no such head, ``polyhead_head.safetensors``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from polyhead.backbone.checkpoint.states import State, read_weights
from polyhead.backbone.checkpoint.store import flush_folder, shard_name, write_tensors
from polyhead.backbone.model.adapters import merged_weights
from polyhead.backbone.model.loading import HEAD_FILE, Backbone
from polyhead.backbone.model.stages import HEAD_PREFIX
from polyhead.backbone.parallel.engine import Engine
from polyhead.backbone.parallel.processes import World
from polyhead.registry import BackboneError, ModelFacts, Task, TaskSetup

TASK_FILE = "polyhead.json"
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


def save_model(
    folder: Path, engine: Engine, world: World, tokenizer: Any, record: TaskRecord, extra: Mapping[str, str]
) -> None:
    """Write the folder anew; every rank calls it. The old one is there until the new one is complete.

    ``extra`` are the texts of further files by relative path.
    """
    draft = folder.with_name(f".writing-{folder.name}")
    if world.is_main:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
    world.barrier()
    stage, spread = engine.stage, engine.spread
    weights = merged_weights(stage.model, read_weights(engine))
    names: list[str] = []
    if spread.data_rank == 0:
        names = _write_weights(draft, weights, spread.stage, spread.stages)
    shards = world.gather((spread.stage, names))
    if world.is_main:
        if spread.stages > 1:
            _write_index(draft, {stage: names for stage, names in shards if names})
        stage.library_config.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        if stage.model.can_generate():
            stage.model.generation_config.save_pretrained(draft)
        (draft / TASK_FILE).write_text(json.dumps(asdict(record), ensure_ascii=False, indent=2), encoding="utf-8")
        for name, text in extra.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_text(text, encoding="utf-8")
        _swap(draft, folder)
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
        found = json.loads(path.read_text(encoding="utf-8"))
        return TaskRecord(**{**found, "labels": tuple(found["labels"])})
    except (ValueError, KeyError, TypeError) as error:
        raise BackboneError(
            f"{path} is damaged ({type(error).__name__}: {error}); it was written by finetune"
        ) from None


def _write_weights(draft: Path, weights: State, stage: int, stages: int) -> list[str]:
    """Write this stage's weights and return their names; our own head goes into a file of its own."""
    head = {name.removeprefix(HEAD_PREFIX): t for name, t in weights.items() if name.startswith(HEAD_PREFIX)}
    trunk = {name: tensor for name, tensor in weights.items() if not name.startswith(HEAD_PREFIX)}
    write_tensors(draft / ("model.safetensors" if stages == 1 else shard_name("model", stage, stages)), trunk)
    if head:
        write_tensors(draft / HEAD_FILE, head)
    return list(trunk)


def _write_index(draft: Path, shards: Mapping[int, list[str]]) -> None:
    files = {stage: shard_name("model", stage, len(shards)) for stage in shards}
    index = {
        "metadata": {"total_size": sum((draft / file).stat().st_size for file in files.values())},
        "weight_map": {name: files[stage] for stage, names in shards.items() for name in names},
    }
    (draft / INDEX_FILE).write_text(json.dumps(index, indent=2), encoding="utf-8")


def _swap(draft: Path, folder: Path) -> None:
    """Put the new folder in the place of the old one."""
    old = folder.with_name(f".old-{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    flush_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
