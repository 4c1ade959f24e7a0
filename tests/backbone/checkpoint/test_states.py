"""Weights and optimizer state by Hugging Face name: what goes into an engine comes out of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from polyhead.backbone.checkpoint.states import (
    MOMENTS,
    State,
    each_moment,
    each_weight,
    held_before,
    own_part,
    write_state,
    write_weights_before_start,
)
from polyhead.backbone.data.batching import Batch
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.parallel.deepspeed_config import deepspeed_config
from polyhead.backbone.parallel.engine import Engine, Spread, start_engine
from polyhead.backbone.parallel.processes import World, join_world, leave_world
from polyhead.backbone.training.optimizer import make_optimizer
from polyhead.configs.layouts import parse_layout
from polyhead.configs.schema import RunConfig
from polyhead.registry import HeadSpec, RunError

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


def start(stage: Stage, layout: str, world: World, precision: str = "fp32", *, optimizer: str = "adamw") -> Engine:
    training = {"precision": precision, "optimizer": optimizer}
    config = RunConfig.model_validate({"task": "sentiment", "layout": layout, "training": training})
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


@pytest.mark.parametrize(("old", "optimizer"), [*((layout, "adamw") for layout in LAYOUTS), ("zero2", "sgd")])
def test_a_state_moves_into_every_layout(old: str, optimizer: str, tiny_bert: Path, world: World) -> None:
    first = start(make_stage(tiny_bert, 1), old, world, optimizer=optimizer)
    for number in range(3):
        step(first, number)
    weights, moments = dict(each_weight(first)), dict(each_moment(first))
    assert bool(moments) == (optimizer == "adamw")
    expected = step(first, 3)
    for new in LAYOUTS:
        stage = make_stage(tiny_bert, 2)
        write_weights_before_start(stage, weights)
        second = start(stage, new, world, optimizer=optimizer)
        write_state(second, weights, moments, 3)
        assert equal(weights, dict(each_weight(second))), new
        assert equal(moments, dict(each_moment(second))), new
        assert step(second, 3) == pytest.approx(expected, abs=1e-7), new


def test_names_are_those_of_the_checkpoint(tiny_bert: Path, world: World, tmp_path: Path) -> None:
    stage = make_stage(tiny_bert, 1)
    stage.model.save_pretrained(tmp_path)
    expected = load_file(tmp_path / "model.safetensors")
    engine = start(stage, "zero2", world)
    step(engine, 0)
    weights, moments = dict(each_weight(engine)), dict(each_moment(engine))
    assert expected.keys() == weights.keys()
    assert all(expected[name].shape == tensor.shape for name, tensor in weights.items())
    assert {f"{moment}/{name}" for moment in MOMENTS for name in expected} == moments.keys()
    assert all(moments[f"exp_avg/{name}"].shape == tensor.shape for name, tensor in expected.items())


@pytest.mark.parametrize(("number", "left_out"), [(0, set()), (1, {"tied"}), (2, {"tied", "table"})])
def test_what_several_stages_hold_the_first_writes(number: int, left_out: set[str]) -> None:
    held = [{"tied"}, {"tied", "table"}, {"tied", "table"}]
    engine: Any = SimpleNamespace(
        stage=SimpleNamespace(shared_names=lambda: held[number]), spread=Spread(0, 1, number, len(held))
    )
    world: Any = SimpleNamespace(gather=lambda _: list(enumerate(held)))
    assert held_before(engine, world) == left_out


def test_what_is_left_out_is_not_read(tiny_bert: Path, world: World) -> None:
    engine = start(make_stage(tiny_bert, 1), "zero2", world)
    step(engine, 0)
    without = {"classifier.weight"}
    names = {name for name, _ in each_weight(engine)}
    assert {name for name, _ in each_weight(engine, without=without)} == names - without
    assert "exp_avg/classifier.weight" not in dict(each_moment(engine, without=without))
    assert "exp_avg/classifier.weight" in dict(each_moment(engine))


@pytest.mark.parametrize("layout", ["zero1", "zero2", "zero3"])
def test_master_weights_are_float32_under_bf16(layout: str, tiny_bert: Path, world: World) -> None:
    engine = start(make_stage(tiny_bert, 1), layout, world, "bf16")
    step(engine, 0)
    weights = dict(each_weight(engine))
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    name = "bert.encoder.layer.0.output.dense.weight"
    assert not torch.equal(weights[name], weights[name].bfloat16().float())  # finer than bf16 can say


def test_a_tensor_need_not_divide_evenly_over_ranks() -> None:
    """Three labels on two ranks, and one element on three."""
    assert [own_part(torch.tensor([[1.0], [2.0], [3.0]]), 2, rank).tolist() for rank in (0, 1)] == [[1, 2], [3, 0]]
    assert [own_part(torch.tensor([5.0]), 1, rank).tolist() for rank in (0, 1, 2)] == [[5], [0], [0]]


def test_weights_of_another_shape_are_refused(tiny_bert: Path) -> None:
    stage = make_stage(tiny_bert, 1)
    weights = {name: tensor.clone() for name, tensor in stage.model.state_dict().items()}
    weights["classifier.bias"] = torch.zeros(1)  # could be spread over the two
    with pytest.raises(RunError, match=r"another model: 'classifier\.bias' has shape \(1,\) there, \(2,\) here$"):
        write_weights_before_start(stage, weights)
