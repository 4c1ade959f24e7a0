"""Weights and optimizer state by Hugging Face name: what goes into an engine comes out of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from polyhead.backbone.checkpoint.states import (
    MOMENTS,
    State,
    read_optimizer,
    read_weights,
    write_state,
    write_weights_before_start,
)
from polyhead.backbone.data.batching import Batch
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.parallel.deepspeed_config import deepspeed_config
from polyhead.backbone.parallel.engine import Engine, start_engine
from polyhead.backbone.parallel.processes import World, join_world, leave_world
from polyhead.backbone.training.optimizer import make_optimizer
from polyhead.configs.layouts import parse_layout
from polyhead.configs.schema import RunConfig
from polyhead.registry import HeadSpec

LAYOUTS = ("single", "zero0", "zero1", "zero2", "zero3")


@pytest.fixture
def world() -> Iterator[World]:
    yield join_world(use_deepspeed=True)
    leave_world()


def make_stage(folder: Path, seed: int) -> Stage:
    torch.manual_seed(seed)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return Stage(model, None, HeadSpec(size=2), ("input_ids", "attention_mask"))


def start(stage: Stage, layout: str, world: World, precision: str = "fp32") -> Engine:
    config = RunConfig.model_validate({"task": "sentiment", "layout": layout, "training": {"precision": precision}})
    return start_engine(
        stage,
        parse_layout(layout),
        world,
        lambda outputs, labels: torch.nn.functional.cross_entropy(outputs[0], labels[0], reduction="sum"),
        deepspeed_config(config),
        lambda stage: make_optimizer(stage, config),
    )


def step(engine: Engine, number: int) -> float:
    draw = torch.Generator().manual_seed(number)
    ids = torch.randint(1000, 2000, (4, 9), generator=draw)
    labels = torch.randint(0, 2, (4,), generator=draw)
    batch = Batch((0, 1, 2, 3), (ids, torch.ones_like(ids)), (labels,), 36)
    return engine.step([batch], 4.0, 1e-3).loss


def equal(left: State, right: State) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("old", LAYOUTS)
def test_a_state_moves_into_every_layout(old: str, tiny_bert: Path, world: World) -> None:
    first = start(make_stage(tiny_bert, 1), old, world)
    for number in range(3):
        step(first, number)
    weights, moments = read_weights(first), read_optimizer(first)
    expected = step(first, 3)
    for new in LAYOUTS:
        stage = make_stage(tiny_bert, 2)
        write_weights_before_start(stage, weights)
        second = start(stage, new, world)
        write_state(second, weights, moments, 3)
        assert equal(weights, read_weights(second)), new
        assert equal(moments, read_optimizer(second)), new
        assert step(second, 3) == pytest.approx(expected, abs=1e-7), new


def test_names_are_those_of_the_checkpoint(tiny_bert: Path, world: World, tmp_path: Path) -> None:
    stage = make_stage(tiny_bert, 1)
    stage.model.save_pretrained(tmp_path)
    expected = load_file(tmp_path / "model.safetensors")
    engine = start(stage, "zero2", world)
    step(engine, 0)
    weights, moments = read_weights(engine), read_optimizer(engine)
    assert expected.keys() == weights.keys()
    assert all(expected[name].shape == tensor.shape for name, tensor in weights.items())
    assert {f"{moment}/{name}" for moment in MOMENTS for name in expected} == moments.keys()
    assert all(moments[f"exp_avg/{name}"].shape == tensor.shape for name, tensor in expected.items())


@pytest.mark.parametrize("layout", ["zero1", "zero2", "zero3"])
def test_master_weights_are_float32_under_bf16(layout: str, tiny_bert: Path, world: World) -> None:
    engine = start(make_stage(tiny_bert, 1), layout, world, "bf16")
    step(engine, 0)
    weights = read_weights(engine)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    name = "bert.encoder.layer.0.output.dense.weight"
    assert not torch.equal(weights[name], weights[name].bfloat16().float())  # finer than bf16 can say
