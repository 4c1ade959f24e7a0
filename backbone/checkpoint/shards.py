"""Tensors in safetensors files of limited size: written one file at a time, read one tensor at a time.

Every rank goes through the tensors, since gathering one takes all who share it; one rank of each pipeline stage writes
them. Files are numbered over all stages, in the form of the Hugging Face hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from polyhead.backbone.checkpoint.disk import flush
from polyhead.backbone.parallel.engine import Spread
from polyhead.backbone.parallel.processes import World
from polyhead.registry import RunError

SHARD_BYTES = 2 * 10**9
"""A file holds at most so many bytes of tensors; a single tensor that is larger has a file of its own."""

Named = tuple[str, torch.Tensor]


@dataclass(frozen=True)
class Shard:
    """One file of tensors."""

    file: str
    names: tuple[str, ...]
    stage: int
    """The pipeline stage that wrote it."""
    bytes: int
    """Of the tensors alone."""


def write_shards(
    folder: Path,
    kind: str,
    tensors: Iterable[Named],
    spread: Spread,
    world: World,
    *,
    alone: str | None = None,
) -> list[Shard]:
    """Write tensors into files ``KIND-00001-of-00003.safetensors``; every rank calls it and gets all shards.

    Args:
        folder: Where the files go.
        kind: What their names begin with.
        tensors: This stage's tensors by name; no other stage may bring one of the same name.
        spread: This rank's place in the layout.
        world: This process and its peers.
        alone: The name of the file where there is one only; None numbers it like any other.

    """
    own: list[Shard] = []
    if spread.writes:
        own = list(_write_own(folder, kind, tensors, spread.stage))
    else:
        for _ in tensors:  # takes part in gathering them, and forgets them
            pass
    everyone = sorted(world.gather((spread.stage, own)), key=lambda found: found[0])
    drafts = [shard for _, shards in everyone for shard in shards]
    names = [name for shard in drafts for name in shard.names]
    assert len(names) == len(set(names)), "a tensor was written twice"
    named: list[Shard] = []
    for index, draft in enumerate(drafts):
        file = alone if alone is not None and len(drafts) == 1 else shard_name(kind, index, len(drafts))
        if draft in own:
            (folder / draft.file).rename(folder / file)
        named.append(Shard(file, draft.names, draft.stage, draft.bytes))
    world.barrier()
    return named


def shard_name(kind: str, index: int, count: int) -> str:
    """Return a shard's file name in the form of the Hugging Face hub."""
    return f"{kind}-{index + 1:05d}-of-{count:05d}.safetensors"


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors into one file and wait until they are on disk."""
    save_file(dict(tensors), path, metadata={"format": "pt"})
    flush(path)


class TensorFiles(Mapping[str, torch.Tensor]):
    """Tensors on disk by name; each is read when it is asked for."""

    def __init__(self, folder: Path, index: Mapping[str, str]) -> None:
        """Take the folder and the file in it that each tensor stands in."""
        self._folder, self._index = folder, index
        self._open: dict[str, Any] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        """Read one tensor.

        Raises:
            RunError: There is no tensor of this name.

        """
        if name not in self._index:
            raise RunError(f"{self._folder} holds no tensor '{name}': it was written for another model")
        file = self._index[name]
        if file not in self._open:
            self._open[file] = safe_open(self._folder / file, framework="pt", device="cpu")
        tensor: torch.Tensor = self._open[file].get_tensor(name)
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)


def _write_own(folder: Path, kind: str, tensors: Iterable[Named], stage: int) -> Iterator[Shard]:
    """Write this stage's tensors under names that are not final, no more than one file's worth in memory."""
    waiting: dict[str, torch.Tensor] = {}
    size = number = 0

    def write() -> Shard:
        file = f"stage-{stage}-{kind}-{number}.safetensors"
        write_tensors(folder / file, waiting)
        return Shard(file, tuple(waiting), stage, size)

    for name, tensor in tensors:
        if waiting and size + tensor.nbytes > SHARD_BYTES:
            yield write()
            waiting.clear()
            size, number = 0, number + 1
        waiting[name] = tensor
        size += tensor.nbytes
    if waiting:
        yield write()
