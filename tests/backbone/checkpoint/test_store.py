"""Checkpoints on disk: whole or not at all, and damage is named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from polyhead.backbone.checkpoint import store
from polyhead.backbone.checkpoint.store import (
    Checkpoint,
    find_damage,
    latest_checkpoint,
    list_checkpoints,
    save_checkpoint,
    shard_name,
)
from polyhead.backbone.parallel.engine import Spread
from polyhead.backbone.parallel.processes import World
from polyhead.registry import RunError

WEIGHTS = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.ones(3)}
MOMENTS = {f"{moment}/{name}": value + 1 for moment in ("exp_avg", "exp_avg_sq") for name, value in WEIGHTS.items()}


@pytest.fixture(autouse=True)
def states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for an engine's state."""
    monkeypatch.setattr(store, "read_weights", lambda _, trainable_only: WEIGHTS)
    monkeypatch.setattr(store, "read_optimizer", lambda _: MOMENTS)


def save(folder: Path, step: int, *, keep: int = 2) -> Path:
    engine: Any = SimpleNamespace(spread=Spread(0, 1, 0, 1))
    return save_checkpoint(folder, engine, World(), step=step, progress={"best_value": 0.5, "名": "值"}, keep=keep)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = save(tmp_path, 120)
    found = latest_checkpoint(tmp_path)
    assert found == Checkpoint(tmp_path / "step-00000120", 120, {"best_value": 0.5, "名": "值"})
    assert found.path == path
    for expected, actual in ((WEIGHTS, found.weights()), (MOMENTS, found.moments())):
        assert expected.keys() == actual.keys()
        assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_it_is_safetensors_and_json_with_checksums(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    names = ["optimizer-00001-of-00001.safetensors", "weights-00001-of-00001.safetensors"]
    assert sorted(file.name for file in path.iterdir()) == [names[0], "state.json", names[1]]
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    assert state["files"] == {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in names}
    assert state["step"] == 1


def test_the_newest_counts_and_older_ones_go(tmp_path: Path) -> None:
    for step in (2, 9, 10, 100):
        save(tmp_path, step, keep=3)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000009", "step-00000010", "step-00000100"]
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 100


def test_there_may_be_none(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "gone") is None


def test_a_draft_is_no_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 5)
    draft = tmp_path / ".writing-00000006"
    draft.mkdir()
    (draft / "weights-00001-of-00001.safetensors").write_bytes(b"half")
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 5


def test_a_write_that_breaks_off_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    save(tmp_path, 5, keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_seal", broken)
        with pytest.raises(OSError, match="No space"):
            save(tmp_path, 6, keep=1)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert (found.step, find_damage(found.path)) == (5, None)
    assert save(tmp_path, 6, keep=1).name == "step-00000006"  # the draft that was left does not disturb
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000006"]


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("name", "harm", "problem"),
    [
        ("weights-00001-of-00001.safetensors", cut_short, "is not what was written (checksum differs)"),
        ("optimizer-00001-of-00001.safetensors", change_a_byte, "is not what was written (checksum differs)"),
        ("optimizer-00001-of-00001.safetensors", Path.unlink, "is absent"),
        ("state.json", Path.unlink, "is absent or unreadable"),
        ("state.json", cut_short, "is absent or unreadable"),
    ],
)
def test_damage_is_named_with_the_one_before(tmp_path: Path, name: str, harm: Any, problem: str) -> None:
    save(tmp_path, 10)
    newest = save(tmp_path, 20)
    harm(newest / name)
    with pytest.raises(RunError) as caught:
        latest_checkpoint(tmp_path)
    assert str(caught.value) == (
        f"checkpoint {newest} is damaged: {name} {problem}; the one before it is step-00000010: "
        "delete step-00000020 to go on from there"
    )
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 10


def test_damage_of_the_only_one_is_named(tmp_path: Path) -> None:
    cut_short(save(tmp_path, 3) / "weights-00001-of-00001.safetensors")
    with pytest.raises(RunError, match="there is none before it"):
        latest_checkpoint(tmp_path)


def test_shards_are_named_as_on_the_hub() -> None:
    assert shard_name("model", 1, 3) == "model-00002-of-00003.safetensors"
