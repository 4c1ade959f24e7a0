"""A checkpoint becomes a plain Hugging Face folder, and a run goes on under another layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from polyhead.backbone.checkpoint import shards
from polyhead.backbone.checkpoint.convert import change_layout, write_model
from polyhead.backbone.checkpoint.model_folder import read_record
from polyhead.backbone.training.finetune import finetune
from polyhead.configs.errors import ConfigError
from polyhead.configs.load import load_config
from polyhead.registry import Registry, RunError

Train = Callable[..., Path]


@pytest.fixture
def train(tiny_bert: Path, chinese_reviews: Path, tmp_path: Path, registry: Registry) -> Train:
    """Return what trains four steps, with a checkpoint after each second one; RUN/model is of the last step."""

    def run(*overrides: str) -> Path:
        common = [f"backbone={tiny_bert}", f"data.train={chinese_reviews}", "data.validation_fraction=0"]
        common += ["data.cache=false", "data.max_length=32", "training.batch_size=4", "training.learning_rate=1e-2"]
        common += ["training.max_steps=4", "training.checkpoint_every=2", f"output={tmp_path / 'run'}"]
        finetune(load_config("sentiment", [*common, *overrides]), registry)
        return tmp_path / "run"

    return run


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("head=pooled",),
        ("backbone.lora.rank=2", "backbone.new_tokens=characters", "backbone.new_tokens_min_count=1"),
    ],
    ids=["plain", "own head", "lora and new tokens"],
)
def test_the_newest_checkpoint_is_the_last_model(
    overrides: tuple[str, ...], train: Train, registry: Registry, tmp_path: Path
) -> None:
    run = train(*overrides)
    target = tmp_path / "out" / "model"
    checkpoint = write_model(run, target, registry)
    assert (checkpoint.step, checkpoint.path) == (4, run / "checkpoints" / "step-00000004")
    assert {path.name for path in target.iterdir()} == {path.name for path in (run / "model").iterdir()}
    assert [path.name for path in target.parent.iterdir()] == ["model"]
    assert_equal(tensors(target), tensors(run / "model"))
    assert read_record(target) == read_record(run / "model")
    for name in ("config.json", "tokenizer.json"):
        assert json.loads((target / name).read_bytes()) == json.loads((run / "model" / name).read_bytes())


def test_an_older_one_in_another_number_format_and_several_files(
    train: Train, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train()
    monkeypatch.setattr(shards, "SHARD_BYTES", 10_000)
    target = tmp_path / "out"
    write_model(run, target, registry, wanted="2", dtype="bf16")
    expected = load_file(run / "checkpoints" / "step-00000002" / "weights-00001-of-00001.safetensors")
    assert_equal(tensors(target), {name: tensor.bfloat16() for name, tensor in expected.items()})
    assert len(list(target.glob("model-*.safetensors"))) > 5
    model, report = transformers.AutoModelForSequenceClassification.from_pretrained(target, output_loading_info=True)
    assert not any(report.values()), report
    assert model.dtype == torch.bfloat16


def test_what_cannot_be_written_is_refused(train: Train, registry: Registry, tmp_path: Path) -> None:
    run = train()
    with pytest.raises(RunError, match=r"tokenizer\.json exists: choose another folder with --output$"):
        write_model(run, run / "model" / "tokenizer.json", registry)
    with pytest.raises(RunError, match=r"model exists: choose another folder with --output$"):
        write_model(run, run / "model", registry)
    with pytest.raises(RunError, match=r"no checkpoint of step 3; those of .*: 2, 4$"):
        write_model(run, tmp_path / "out", registry, wanted="3")
    newest = run / "checkpoints" / "step-00000004" / "weights-00001-of-00001.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"is damaged: weights-.*take it with --checkpoint 2$"):
        write_model(run, tmp_path / "out", registry)
    with pytest.raises(RunError, match=r"is no run folder"):
        write_model(tmp_path, tmp_path / "out", registry)
    assert not (tmp_path / "out").exists()


def test_a_run_goes_on_under_another_layout(train: Train, registry: Registry, events: Any) -> None:
    run = train("training.max_steps=3")
    found = change_layout(run, "ZERO3", registry)
    assert found.layout == "zero3"
    assert found.checkpoint == run / "checkpoints" / "step-00000003"
    assert found.command == f"polyhead finetune {run} --resume --processes 2"
    finetune(load_config(str(run / "config.yaml"), ["training.max_steps=4"]), registry, resume=True)
    assert load_config(str(run / "config.yaml")).layout == "zero3"
    assert [start["first_step"] for start in events(run, "start")] == [0, 3]
    assert change_layout(run, "single", registry).command == f"polyhead finetune {run} --resume"


def test_a_layout_that_contradicts_the_run_changes_nothing(train: Train, registry: Registry) -> None:
    run = train()
    before = (run / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match=r"layout pipe2 cannot have training\.gradient_clipping=1"):
        change_layout(run, "pipe2", registry)
    with pytest.raises(ConfigError, match="zero9"):
        change_layout(run, "zero9", registry)
    assert (run / "config.yaml").read_bytes() == before
