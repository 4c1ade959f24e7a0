"""Checkpoints on disk: whole or not at all, and damage is named."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from polyhead.backbone.checkpoint import shards, store
from polyhead.backbone.checkpoint.shards import shard_name
from polyhead.backbone.checkpoint.store import choose_checkpoint, find_damage, list_checkpoints, save_checkpoint
from polyhead.backbone.parallel.engine import Spread
from polyhead.backbone.parallel.processes import World
from polyhead.registry import RunError

WEIGHTS = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.ones(3)}
MOMENTS = {f"{moment}/{name}": value + 1 for moment in ("exp_avg", "exp_avg_sq") for name, value in WEIGHTS.items()}


@pytest.fixture(autouse=True)
def states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for an engine's state."""
    monkeypatch.setattr(store, "each_weight", lambda *_, **__: iter(WEIGHTS.items()))
    monkeypatch.setattr(store, "each_moment", lambda *_, **__: iter(MOMENTS.items()))


def save(folder: Path, step: int, *, keep: int = 2, best: int | None = None, keep_best: bool = True) -> Path:
    engine: Any = SimpleNamespace(spread=Spread(0, 1, 0, 1), stage=SimpleNamespace(shared_names=set))
    told = {"best_step": best, "名": "值"}
    return save_checkpoint(folder, engine, World(), step=step, progress=told, keep=keep, keep_best=keep_best)


def names(folder: Path) -> list[str]:
    return [path.name for path in list_checkpoints(folder)]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = save(tmp_path, 120)
    found = choose_checkpoint(tmp_path)
    assert found is not None
    assert (found.path, found.step, found.progress) == (path, 120, {"best_step": None, "名": "值"})
    assert path == tmp_path / "step-00000120"
    for expected, actual in ((WEIGHTS, found.weights()), (MOMENTS, found.moments())):
        assert expected.keys() == actual.keys()
        assert all(torch.equal(expected[name], actual[name]) for name in expected)
    with pytest.raises(RunError, match=r"step-00000120 holds no tensor 'c\.weight'"):
        found.weights()["c.weight"]


def test_it_is_safetensors_and_json_with_checksums(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    names = ["optimizer-00001-of-00001.safetensors", "weights-00001-of-00001.safetensors"]
    assert sorted(file.name for file in path.iterdir()) == [names[0], "state.json", names[1]]
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    assert state["files"] == {
        name: {
            "bytes": (path / name).stat().st_size,
            "sha256": hashlib.sha256((path / name).read_bytes()).hexdigest(),
        }
        for name in names
    }
    assert state["step"] == 1
    assert state["weights"] == dict.fromkeys(WEIGHTS, names[1])


def test_files_are_limited_in_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 50)  # a matrix has 48 bytes, a bias 12
    path = save(tmp_path, 7)
    assert sorted(file.name for file in path.glob("*.safetensors")) == [
        *(f"optimizer-{number:05d}-of-00004.safetensors" for number in (1, 2, 3, 4)),
        *(f"weights-{number:05d}-of-00002.safetensors" for number in (1, 2)),
    ]
    found = choose_checkpoint(tmp_path)
    assert found is not None
    assert set(found.index["weights"].values()) == {f"weights-0000{number}-of-00002.safetensors" for number in (1, 2)}
    for expected, actual in ((WEIGHTS, found.weights()), (MOMENTS, found.moments())):
        assert expected.keys() == actual.keys()
        assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_only_what_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = shards.safe_open

    def counted(path: Path, **keys: Any) -> Any:
        opened.append(path.name)
        return real(path, **keys)

    monkeypatch.setattr(shards, "SHARD_BYTES", 50)
    monkeypatch.setattr(shards, "safe_open", counted)
    save(tmp_path, 7)
    found = choose_checkpoint(tmp_path)
    assert found is not None
    weights = found.weights()
    assert torch.equal(weights["a.bias"], WEIGHTS["a.bias"])
    assert torch.equal(weights["a.bias"], WEIGHTS["a.bias"])
    assert opened == ["weights-00002-of-00002.safetensors"]


def test_the_newest_counts_and_older_ones_go(tmp_path: Path) -> None:
    for step in (2, 9, 10, 100):
        save(tmp_path, step, keep=3)
    assert names(tmp_path) == ["step-00000009", "step-00000010", "step-00000100"]
    found = choose_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 100


@pytest.mark.parametrize(("keep_best", "kept"), [(True, [10, 30, 40]), (False, [30, 40])])
def test_the_best_one_stays(tmp_path: Path, keep_best: bool, kept: list[int]) -> None:
    for step in (10, 20, 30, 40):
        save(tmp_path, step, best=10, keep_best=keep_best)
    assert names(tmp_path) == [f"step-{step:08d}" for step in kept]
    save(tmp_path, 50, best=50, keep_best=keep_best)
    assert names(tmp_path) == ["step-00000040", "step-00000050"]


def test_those_of_a_run_that_was_gone_back_on_go(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        save(tmp_path, step, keep=5)
    save(tmp_path, 15, keep=5)
    assert names(tmp_path) == ["step-00000010", "step-00000015"]


def test_one_of_the_same_step_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 10)
    monkeypatch.setitem(WEIGHTS, "a.bias", torch.zeros(3))
    save(tmp_path, 10)
    found = choose_checkpoint(tmp_path)
    assert found is not None
    assert not found.weights()["a.bias"].any()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000010"]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert choose_checkpoint(tmp_path) is None
    assert choose_checkpoint(tmp_path / "gone") is None


@pytest.mark.parametrize("wanted", ["10", "0010", "{folder}/step-00000010", "{folder}/step-00000010/"])
def test_one_can_be_chosen(tmp_path: Path, wanted: str) -> None:
    for step in (10, 20):
        save(tmp_path, step)
    found = choose_checkpoint(tmp_path, wanted.format(folder=tmp_path))
    assert found is not None
    assert found.step == 10


@pytest.mark.parametrize(
    ("wanted", "what"), [("15", "of step 15"), ("best", "'best'"), ("{folder}", "'{folder}'"), ("{draft}", "'{draft}'")]
)
def test_what_is_not_there_cannot_be_chosen(tmp_path: Path, wanted: str, what: str) -> None:
    for step in (10, 20):
        save(tmp_path, step)
    places = {"folder": tmp_path, "draft": tmp_path / ".writing-step-00000030"}
    places["draft"].mkdir()
    with pytest.raises(RunError) as caught:
        choose_checkpoint(tmp_path, wanted.format(**places))
    assert str(caught.value) == f"there is no checkpoint {what.format(**places)}; those of {tmp_path}: 10, 20"


def test_a_draft_is_no_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 5)
    draft = tmp_path / ".writing-step-00000006"
    draft.mkdir()
    (draft / "weights-00001-of-00001.safetensors").write_bytes(b"half")
    found = choose_checkpoint(tmp_path)
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
    found = choose_checkpoint(tmp_path)
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


def change_the_step(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace('"step": 20', '"step": 21'), encoding="utf-8")


DIFFERS = "is not what was written (checksum differs)"


@pytest.mark.parametrize(
    ("name", "harm", "problem"),
    [
        (
            "weights-00001-of-00001.safetensors",
            cut_short,
            r"is not what was written \([0-9]+ bytes instead of [0-9]+\)",
        ),
        ("optimizer-00001-of-00001.safetensors", change_a_byte, re.escape(DIFFERS)),
        ("optimizer-00001-of-00001.safetensors", Path.unlink, "is absent"),
        ("state.json", change_the_step, re.escape(DIFFERS)),
        ("state.json", Path.unlink, "is absent or unreadable"),
        ("state.json", cut_short, "is absent or unreadable"),
    ],
)
def test_damage_is_named_with_the_one_before(tmp_path: Path, name: str, harm: Any, problem: str) -> None:
    save(tmp_path, 10)
    newest = save(tmp_path, 20)
    harm(newest / name)
    expected = (
        rf"^checkpoint {newest} is damaged: {name} {problem}; "
        r"the one before it is whole: take it with --resume-from 10$"
    )
    for wanted in (None, "20"):
        with pytest.raises(RunError, match=expected):
            choose_checkpoint(tmp_path, wanted)
    found = choose_checkpoint(tmp_path, "10")
    assert found is not None
    assert found.step == 10


def test_only_what_is_whole_is_offered(tmp_path: Path) -> None:
    for step in (5, 10, 20):
        save(tmp_path, step, keep=3)
    for step in (10, 20):
        cut_short(tmp_path / f"step-{step:08d}" / "weights-00001-of-00001.safetensors")
    for wanted in (None, "10"):
        with pytest.raises(RunError, match=r"--resume-from 5$"):
            choose_checkpoint(tmp_path, wanted)


def test_damage_of_the_only_one_is_named(tmp_path: Path) -> None:
    cut_short(save(tmp_path, 3) / "weights-00001-of-00001.safetensors")
    with pytest.raises(RunError, match="there is none before it that is whole"):
        choose_checkpoint(tmp_path)


def test_shards_are_named_as_on_the_hub() -> None:
    assert shard_name("model", 1, 3) == "model-00002-of-00003.safetensors"
