"""What a model says on a GPU is what it says on the CPU, texts that it writes included."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Finished = subprocess.CompletedProcess[str]

TEXTS = ["A quiet and moving film.", "Two hours of noise.", "很好看", "It never ends"]


@pytest.fixture(scope="module")
def trained(
    tiny_backbones: dict[str, Path], short_run: list[str], polyhead: Callable[..., Finished], tmp_path_factory: Any
) -> dict[str, Path]:
    """Return runs by architecture: a classifier, one that writes on, a translator with an encoder."""
    root = tmp_path_factory.mktemp("trained")
    pairs = root / "pairs.jsonl"
    rows = [{"translation": {"en": f"sentence {number}", "zh": f"句子{number}"}} for number in range(30)]
    pairs.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    own = [f"data.train={pairs}", f"data.validation={pairs}"]
    runs = {"bert": ("sentiment", []), "llama": ("generation", []), "t5": ("translation", own)}
    for name, (task, more) in runs.items():
        backbone = f"backbone={tiny_backbones[name]}"
        polyhead("finetune", task, backbone, *short_run, *more, f"output={root / name}")
    return {name: root / name for name in runs}


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_predictions_are_those_of_the_cpu(
    name: str, trained: dict[str, Path], polyhead: Callable[..., Finished], tmp_path: Path
) -> None:
    found = {}
    for place in ("gpu", "cpu"):
        output = tmp_path / f"{place}.jsonl"
        texts = [part for text in TEXTS for part in ("--text", text)]
        short = ["options.max_new_tokens=16"] if name == "llama" else []
        polyhead("predict", str(trained[name]), *texts, "--output", str(output), *short, on=place)
        found[place] = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert len(found["gpu"]) == len(TEXTS)
    for ours, theirs in zip(found["gpu"], found["cpu"], strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            close = isinstance(value, float | dict)
            assert value == (pytest.approx(theirs[key], abs=1e-4) if close else theirs[key])


def test_evaluation_is_that_of_the_cpu(
    trained: dict[str, Path], reviews: Path, polyhead: Callable[..., Finished]
) -> None:
    asked = ["evaluate", str(trained["bert"]), "--data", str(reviews / "validation.jsonl"), "--json"]
    found = {place: json.loads(polyhead(*asked, on=place).stdout) for place in ("gpu", "cpu")}
    assert found["gpu"]["metrics"] == pytest.approx(found["cpu"]["metrics"], abs=1e-4)


def test_the_layouts_of_one_process_are_proven_equal(
    tiny_backbones: dict[str, Path], short_run: list[str], polyhead: Callable[..., Finished]
) -> None:
    settings = [f"backbone={tiny_backbones['bert']}", *short_run]
    said = polyhead(
        "verify", "sentiment", *settings, "--layouts", "zero1@1,zero2@1,zero3@1", "training.learning_rate=0.1"
    )
    assert "FAILED" not in said.stdout


def test_the_plan_measures_the_memory_of_the_gpu(
    tiny_backbones: dict[str, Path], short_run: list[str], polyhead: Callable[..., Finished]
) -> None:
    settings = [f"backbone={tiny_backbones['bert']}", *short_run]
    said = polyhead("plan", "sentiment", *settings, "--gpus", "1", "--measure")
    assert "measured" in said.stdout
