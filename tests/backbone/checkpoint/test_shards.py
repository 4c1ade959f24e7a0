"""Tensors in files of limited size: how many are in memory at once, and who writes what."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from polyhead.backbone.checkpoint import shards
from polyhead.backbone.checkpoint.shards import Named, Shard, TensorFiles, write_shards
from polyhead.backbone.parallel.engine import Spread
from polyhead.backbone.parallel.processes import World

COUNT = 30


class Watched:
    """Yield tensors of 40 bytes, and note how many of them are there at once."""

    def __init__(self) -> None:
        self.most = 0

    def __iter__(self) -> Iterator[Named]:
        alive: list[weakref.ref[torch.Tensor]] = []
        for number in range(COUNT):
            tensor = torch.full((10,), float(number))
            alive.append(weakref.ref(tensor))
            self.most = max(self.most, sum(each() is not None for each in alive))
            yield f"t{number}", tensor


@pytest.mark.parametrize(("data_rank", "most"), [(0, 4), (1, 2)])
def test_no_more_than_one_file_is_in_memory(
    data_rank: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)  # two tensors a file
    watched = Watched()
    written = write_shards(tmp_path, "weights", watched, Spread(data_rank, 2, 0, 1), World())
    assert watched.most <= most
    assert len(written) == len(list(tmp_path.iterdir())) == (COUNT // 2 if data_rank == 0 else 0)


def test_a_tensor_above_the_limit_has_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)
    tensors = [("a", torch.ones(5)), ("b", torch.ones(200)), ("c", torch.ones(5))]
    written = write_shards(tmp_path, "model", tensors, Spread(0, 1, 0, 1), World(), alone="model.safetensors")
    assert [shard.names for shard in written] == [("a",), ("b",), ("c",)]
    assert written[1].file == "model-00002-of-00003.safetensors"


def test_files_are_numbered_over_all_stages(tmp_path: Path) -> None:
    other = Shard("stage-0-weights-0.safetensors", ("first",), 0, 8)
    world: Any = SimpleNamespace(gather=lambda own: [own, (0, [other])], barrier=lambda: None)
    written = write_shards(tmp_path, "weights", [("last", torch.ones(2))], Spread(0, 1, 1, 2), world, alone="one")
    assert [(shard.file, shard.names) for shard in written] == [
        ("weights-00001-of-00002.safetensors", ("first",)),
        ("weights-00002-of-00002.safetensors", ("last",)),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["weights-00002-of-00002.safetensors"]
    found = TensorFiles(tmp_path, {"last": "weights-00002-of-00002.safetensors"})
    assert torch.equal(found["last"], torch.ones(2))
    assert ("first" in found, len(found), list(found)) == (False, 1, ["last"])


def test_a_name_that_two_stages_bring_is_our_own_mistake(tmp_path: Path) -> None:
    world: Any = SimpleNamespace(gather=lambda own: [own, (0, [Shard("x", ("tied",), 0, 8)])], barrier=lambda: None)
    with pytest.raises(AssertionError, match="written twice"):
        write_shards(tmp_path, "weights", [("tied", torch.ones(2))], Spread(0, 1, 1, 2), world)
