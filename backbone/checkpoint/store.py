"""Checkpoints of a run on disk: safetensors and JSON by Hugging Face names, written whole or not at all.

``checkpoints/step-00000120/`` holds ``weights-*.safetensors`` (all but what is frozen), ``optimizer-*.safetensors`` and
``state.json``: step, progress, the file of every tensor, size and checksum of every file, and a checksum of all that.
A folder gets its name only when everything in it is on disk, so a killed run leaves the last complete one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyhead.backbone.checkpoint.disk import delete_folder, draft_of, flush, publish, start_draft
from polyhead.backbone.checkpoint.shards import Shard, TensorFiles, write_shards
from polyhead.backbone.checkpoint.states import each_moment, each_weight, held_before
from polyhead.backbone.parallel.engine import Engine
from polyhead.backbone.parallel.processes import World
from polyhead.registry import RunError

STATE_FILE = "state.json"
WEIGHTS, OPTIMIZER = "weights", "optimizer"


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint."""

    path: Path
    step: int
    progress: Mapping[str, Any]
    """What the training loop keeps beside the tensors: best value, evaluations without improvement, ..."""
    index: Mapping[str, Mapping[str, str]]
    """The file of every tensor, by kind (``weights``, ``optimizer``) and name."""

    def weights(self) -> TensorFiles:
        """Return the weights that train, float32, each read when it is asked for."""
        return TensorFiles(self.path, self.index[WEIGHTS])

    def moments(self) -> TensorFiles:
        """Return the optimizer state, each tensor read when it is asked for."""
        return TensorFiles(self.path, self.index[OPTIMIZER])


def save_checkpoint(
    folder: Path,
    engine: Engine,
    world: World,
    *,
    step: int,
    progress: Mapping[str, Any],
    keep: int,
    keep_best: bool = True,
) -> Path:
    """Write a checkpoint; every rank calls it, the first data-parallel rank of each stage writes.

    Returns the folder of the new checkpoint. Older ones beyond ``keep`` are deleted; with ``keep_best`` not the one
    of the best evaluation so far (``best_step`` of the progress). Later ones, of a run that was gone back on, go too.
    """
    final = folder / step_name(step)
    draft = draft_of(final)
    if world.is_main:
        start_draft(final)
    world.barrier()
    without = held_before(engine, world)
    kinds = {WEIGHTS: each_weight(engine, trainable_only=True, without=without)}
    kinds[OPTIMIZER] = each_moment(engine, without=without)
    written = {kind: write_shards(draft, kind, each, engine.spread, world) for kind, each in kinds.items()}
    files = _describe_files(draft, [shard for shards in written.values() for shard in shards], engine, world)
    if world.is_main:
        index = {
            kind: {name: shard.file for shard in shards for name in shard.names} for kind, shards in written.items()
        }
        _seal(draft, {"step": step, "progress": dict(progress), "files": files, **index})
        publish(final)
        for old in _superseded(folder, step, keep, progress.get("best_step") if keep_best else None):
            delete_folder(old)
    world.barrier()
    return final


def choose_checkpoint(folder: Path, wanted: str | None = None, *, option: str = "--resume-from") -> Checkpoint | None:
    """Return the newest checkpoint, or the one that is wanted, after checking every file of it.

    Args:
        folder: The checkpoints of a run.
        wanted: A step, or the path of a checkpoint; None: the newest.
        option: The option that chooses one, for what the message advises.

    Returns:
        The checkpoint, or None where the newest is wanted and there is none.

    Raises:
        RunError: There is no such checkpoint, or it is damaged: names the file, and the checkpoint to take instead.

    """
    found = list_checkpoints(folder)
    if wanted is not None:
        path = _find(folder, wanted, found)
    elif found:
        path = found[-1]
    else:
        return None
    problem = find_damage(path)
    if problem is not None:
        raise RunError(f"checkpoint {path} is damaged: {problem}; {_alternative(path, found, option)}")
    return _open(path)


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in a folder, oldest first."""
    return sorted(folder.glob("step-*"))


def find_damage(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint (a file absent, cut short or changed), or None."""
    try:
        state = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
        checksum = state.pop("checksum")
    except (OSError, ValueError, KeyError, AttributeError):
        return f"{STATE_FILE} is absent or unreadable"
    if checksum != _state_checksum(state):
        return f"{STATE_FILE} is not what was written (checksum differs)"
    for name, told in state["files"].items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is absent"
        if path.stat().st_size != told["bytes"]:
            return f"{name} is not what was written ({path.stat().st_size:,} bytes instead of {told['bytes']:,})"
        if file_checksum(path) != told["sha256"]:
            return f"{name} is not what was written (checksum differs)"
    return None


def step_name(step: int) -> str:
    """Return the name of a step's checkpoint."""
    return f"step-{step:08d}"


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe_files(draft: Path, shards: Sequence[Shard], engine: Engine, world: World) -> dict[str, dict[str, Any]]:
    """Return size and checksum of every file, each computed where it was written."""
    own = {}
    if engine.spread.writes:
        for path in (draft / shard.file for shard in shards if shard.stage == engine.spread.stage):
            own[path.name] = {"bytes": path.stat().st_size, "sha256": file_checksum(path)}
    everyone: dict[str, dict[str, Any]] = {}
    for files in world.gather(own):
        everyone |= files
    return dict(sorted(everyone.items()))


def _seal(draft: Path, state: dict[str, Any]) -> None:
    state["checksum"] = _state_checksum(state)
    path = draft / STATE_FILE
    path.write_text(json.dumps(state, ensure_ascii=False, indent=1), encoding="utf-8")
    flush(path)


def _state_checksum(state: Mapping[str, Any]) -> str:
    text = json.dumps(state, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _superseded(folder: Path, step: int, keep: int, best: int | None) -> list[Path]:
    """Return the checkpoints that need not stay beside the one that was just written."""
    new, found = step_name(step), list_checkpoints(folder)
    up_to_now = [path for path in found if path.name <= new]
    kept = {path.name for path in up_to_now[-keep:]} | ({step_name(best)} if best is not None else set())
    return [path for path in found if path.name > new or path.name not in kept]


def _find(folder: Path, wanted: str, found: Sequence[Path]) -> Path:
    path = folder / step_name(int(wanted)) if wanted.isdecimal() else Path(wanted)
    if path.is_dir() and path.name.startswith("step-"):
        return path
    steps = ", ".join(str(_step_of(each)) for each in found) or "none"
    what = f"of step {int(wanted)}" if wanted.isdecimal() else f"'{wanted}'"
    raise RunError(f"there is no checkpoint {what}; those of {folder}: {steps}")


def _alternative(damaged: Path, found: Sequence[Path], option: str) -> str:
    """Say which checkpoint before a damaged one is whole."""
    for path in reversed(found):
        if path.name < damaged.name and find_damage(path) is None:
            return f"the one before it is whole: take it with {option} {_step_of(path)}"
    return "there is none before it that is whole"


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _open(path: Path) -> Checkpoint:
    state = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
    return Checkpoint(path, state["step"], state["progress"], {kind: state[kind] for kind in (WEIGHTS, OPTIMIZER)})
