"""Checkpoints of a run on disk: safetensors and JSON by Hugging Face names, written whole or not at all.

``checkpoints/step-00000120/`` holds ``weights-*.safetensors`` (all but what is frozen) and ``optimizer-*.safetensors``
(one shard for each pipeline stage that wrote it) and ``state.json`` with step, progress and a checksum of every file.
A folder gets its name only when everything in it is on disk, so a killed run leaves the last complete one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from polyhead.backbone.checkpoint.states import State, read_optimizer, read_weights
from polyhead.backbone.parallel.engine import Engine
from polyhead.backbone.parallel.processes import World
from polyhead.registry import RunError

STATE_FILE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint."""

    path: Path
    step: int
    progress: Mapping[str, Any]
    """What the training loop keeps beside the tensors: best value, evaluations without improvement, ..."""

    def weights(self) -> State:
        """Read all shards of the weights that train, float32."""
        return _read_shards(self.path, "weights")

    def moments(self) -> State:
        """Read all shards of the optimizer state."""
        return _read_shards(self.path, "optimizer")


def save_checkpoint(
    folder: Path, engine: Engine, world: World, *, step: int, progress: Mapping[str, Any], keep: int
) -> Path:
    """Write a checkpoint; every rank calls it, the first data-parallel rank of each stage writes.

    Returns the folder of the new checkpoint; older ones beyond ``keep`` are deleted.
    """
    final = folder / f"step-{step:08d}"
    draft = folder / f".writing-{step:08d}"
    if world.is_main:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
    world.barrier()
    spread = engine.spread
    for kind, read in (("weights", _read_trainable), ("optimizer", read_optimizer)):
        state = read(engine)
        if spread.data_rank == 0:
            write_tensors(draft / shard_name(kind, spread.stage, spread.stages), state)
    world.barrier()
    if world.is_main:
        _seal(draft, {"step": step, "progress": dict(progress)})
        shutil.rmtree(final, ignore_errors=True)
        draft.rename(final)
        flush_folder(folder)
        for old in list_checkpoints(folder)[:-keep]:
            shutil.rmtree(old)
    world.barrier()
    return final


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint after checking every file of it, or None where there is none.

    Raises:
        RunError: The newest checkpoint is damaged: names the file, and the checkpoint before it.

    """
    found = list_checkpoints(folder)
    if not found:
        return None
    newest, *_ = reversed(found)
    problem = find_damage(newest)
    if problem is not None:
        before = f"the one before it is {found[-2].name}" if len(found) > 1 else "there is none before it"
        raise RunError(f"checkpoint {newest} is damaged: {problem}; {before}: delete {newest.name} to go on from there")
    state = json.loads((newest / STATE_FILE).read_text(encoding="utf-8"))
    return Checkpoint(newest, state["step"], state["progress"])


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in a folder, oldest first."""
    return sorted(folder.glob("step-*"))


def find_damage(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint (a file absent, cut short or changed), or None."""
    try:
        state = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
        files: Mapping[str, str] = state["files"]
    except (OSError, ValueError, KeyError):
        return f"{STATE_FILE} is absent or unreadable"
    for name, checksum in files.items():
        if not (checkpoint / name).is_file():
            return f"{name} is absent"
        if file_checksum(checkpoint / name) != checksum:
            return f"{name} is not what was written (checksum differs)"
    return None


def shard_name(kind: str, index: int, count: int) -> str:
    """Return a shard's file name in the form of the Hugging Face hub."""
    return f"{kind}-{index + 1:05d}-of-{count:05d}.safetensors"


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors and wait until they are on disk."""
    save_file(dict(tensors), path, metadata={"format": "pt"})
    with path.open("rb") as file:
        os.fsync(file.fileno())


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush_folder(folder: Path) -> None:
    """Wait until a folder's entries (a rename) are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_trainable(engine: Engine) -> State:
    return read_weights(engine, trainable_only=True)


def _seal(draft: Path, state: dict[str, Any]) -> None:
    state["files"] = {file.name: file_checksum(file) for file in sorted(draft.glob("*.safetensors"))}
    with (draft / STATE_FILE).open("w", encoding="utf-8") as file:
        json.dump(state, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    flush_folder(draft)


def _read_shards(folder: Path, kind: str) -> State:
    merged: State = {}
    for shard in sorted(folder.glob(f"{kind}-*.safetensors")):
        merged.update(load_file(shard))
    return merged
