"""``polyhead convert`` and ``finetune --resume-from`` as they are typed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import transformers

from polyhead.configs.load import load_config


@pytest.fixture
def whole_copy(finished_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the run, with its checkpoints of steps 2 and 4, that a test may change."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def test_a_checkpoint_becomes_a_plain_folder(polyhead, finished_run, tmp_path):
    target = tmp_path / "out"
    answer = polyhead("convert", finished_run, "--to", "hf", "--output", target, "--checkpoint", 2, "--dtype", "fp16")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err == f"{target}: the model of {finished_run / 'checkpoints' / 'step-00000002'}, fp16\n"
    assert transformers.AutoModel.from_pretrained(target).dtype == torch.float16
    answer = polyhead("convert", finished_run, "--to", "hf", "--output", tmp_path / "b", "--json")
    assert answer.json == {
        "folder": str(tmp_path / "b"),
        "checkpoint": str(finished_run / "checkpoints" / "step-00000004"),
        "step": 4,
        "dtype": "fp32",
    }
    assert polyhead("predict", tmp_path / "b", "--text", "a warm and funny film").code == 0


def test_a_run_moves_to_another_layout(polyhead, whole_copy):
    answer = polyhead("convert", whole_copy, "--to", "pipe2+zero1")
    assert answer.code == 0
    assert answer.out == f"polyhead finetune {whole_copy} --resume --processes 2\n"
    assert answer.err == (
        f"{whole_copy} goes on under layout pipe2+zero1, from {whole_copy / 'checkpoints' / 'step-00000004'}\n"
    )
    config = load_config(str(whole_copy / "config.yaml"))
    assert (config.layout, config.output) == ("pipe2+zero1", whole_copy)
    assert polyhead("convert", whole_copy, "--to", "single", "--json").json["layout"] == "single"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--to", "hf"], "--to hf writes a folder: say which with --output FOLDER"),
        (["--to", "zero2", "--output", "x"], "--output: for --to hf only"),
        (["--to", "zero2", "--dtype", "bf16", "--checkpoint", "2"], "--checkpoint, --dtype: for --to hf only"),
        (["--to", "zero9"], "ZeRO stage 9 does not exist"),
        (["--to", "hf", "--output", "x", "--checkpoint", "3"], "there is no checkpoint of step 3; those of"),
        (["--to", "hf", "--output", "."], ". exists: choose another folder with --output"),
    ],
)
def test_mistakes_are_one_line(arguments, problem, polyhead, finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "something").touch()
    before = (finished_run / "config.yaml").read_bytes()
    answer = polyhead("convert", finished_run, *arguments)
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert problem in answer.err
    assert answer.err.count("\n") == 1
    assert (finished_run / "config.yaml").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(polyhead, whole_copy):
    weights = whole_copy / "checkpoints" / "step-00000004" / "weights-00001-of-00001.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    arguments = ("finetune", whole_copy, f"output={whole_copy}")
    answer = polyhead(*arguments, "--resume")
    assert answer.code == 2
    assert answer.err.startswith(
        f"error: checkpoint {weights.parent} is damaged: {weights.name} is not what was written"
    )
    assert answer.err.endswith("take it with --resume-from 2\n")
    assert polyhead(*arguments, "--resume-from", 2, "--overwrite").code == 2
    answer = polyhead(*arguments, "--resume-from", 2, "--json")
    assert (answer.code, answer.json["steps"]) == (0, 4)
    assert f"resumed from {whole_copy / 'checkpoints' / 'step-00000002'}" in answer.err
    assert polyhead(*arguments, "--resume").code == 0
