"""Settings that cannot stand together: each combination, and the one line that a user reads of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from polyhead.configs import contradictions
from polyhead.configs.errors import ConfigError
from polyhead.configs.load import load_config

TABLE = [
    (["data.stride=64", "data.max_length=64"], "data.stride (64) must be smaller than data.max_length (64)"),
    (["data.max_tokens=32", "data.max_length=64"], "data.max_tokens (32) must be at least data.max_length (64)"),
    (["data.stream=true", "data.cache=false"], "data.stream keeps tokens on disk, which data.cache=false forbids"),
    (["training.warmup=1.5"], "training.warmup (1.5) must be a share below 1 or a whole number of steps"),
    (
        ["training.warmup=9", "training.max_steps=9"],
        "training.warmup (9 steps) must be smaller than training.max_steps (9)",
    ),
    (["data.validation_fraction=0", "training.patience=2"], "training.patience needs validation data"),
    (["layout=pipe2"], "layout pipe2 cannot have training.gradient_clipping=1: under ZeRO 0 DeepSpeed takes the first"),
    (["layout=zero0", "training.precision=bf16"], "layout zero0 cannot have training.precision=bf16; use layout=zero1"),
    (["layout=tp2", "training.precision=bf16"], "layout tp2 cannot have training.precision=bf16; use layout=tp2+zero1"),
    (
        ["partition=[2,2,2]", "layout=pipe2+zero1"],
        "partition [2, 2, 2] is for 3 stages, and layout pipe2+zero1 has 2; name the blocks of each stage",
    ),
    (["layout=tp2+zero1", "backbone.lora.rank=4"], "layout tp2+zero1 cannot have backbone.lora: DeepSpeed's AutoTP"),
    (["layout=zero3+nvme"], "layout zero3+nvme needs offload_folder: a folder on a fast local disk"),
    (
        ["backbone.architecture={model_type: bert}", "backbone.lora.rank=4"],
        "backbone.architecture cannot have backbone.lora: LoRA leaves all other weights as they are",
    ),
]


def problem(overrides: list[str]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config("sentiment", ["data.train=a.jsonl", *overrides])
    return str(caught.value)


@pytest.mark.parametrize(("overrides", "expected"), TABLE, ids=[" ".join(overrides) for overrides, _ in TABLE])
def test_each_gives_its_reason_in_one_line(overrides: list[str], expected: str) -> None:
    text = problem(overrides)
    assert expected in text
    assert "\n" not in text


def test_the_table_has_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every place that finds a contradiction is reached by a row."""
    reached: set[int] = set()
    record = contradictions.Contradiction

    def watched(keys: tuple[str, ...], problem: str) -> contradictions.Contradiction:
        reached.add(sys._getframe(1).f_lineno)
        return record(keys, problem)

    monkeypatch.setattr(contradictions, "Contradiction", watched)
    for overrides, _ in TABLE:
        problem(overrides)
    assert len(TABLE) >= len(reached)
    assert len(reached) == Path(contradictions.__file__).read_text(encoding="utf-8").count("yield Contradiction(")


@pytest.mark.parametrize(
    "overrides",
    [
        ["layout=pipe2+zero1", "backbone.lora.rank=4"],
        ["layout=pipe2+zero1", "partition=[4,2]"],
        ["layout=zero3", "training.validate_generation=true"],
        ["layout=pipe2+zero1", "training.validate_generation=true"],
        ["layout=tp2+zero1", "training.precision=bf16"],
        ["layout=zero3+nvme", "offload_folder=/fast"],
        ["layout=zero1+offload"],
        ["layout=zero2", "partition=[4,2]", "offload_folder=/fast"],  # another layout is one line, and no more
    ],
)
def test_these_can_stand_together(overrides: list[str]) -> None:
    load_config("sentiment", ["data.train=a.jsonl", *overrides])
