"""LoRA under every layout: only what trains is kept, it comes back exactly, and the saved model is a plain one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers

from polyhead.backbone.checkpoint.model_folder import Companions, record_of, save_model
from polyhead.backbone.checkpoint.states import (
    State,
    each_moment,
    each_weight,
    write_state,
    write_weights_before_start,
)
from polyhead.backbone.checkpoint.store import choose_checkpoint, save_checkpoint
from polyhead.backbone.data.batching import Batch
from polyhead.backbone.model.adapters import add_lora
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.parallel.deepspeed_config import deepspeed_config
from polyhead.backbone.parallel.engine import Engine, start_engine
from polyhead.backbone.parallel.processes import World, join_world, leave_world
from polyhead.backbone.training.optimizer import make_optimizer
from polyhead.configs.layouts import parse_layout
from polyhead.configs.schema import LoraSettings, RunConfig
from polyhead.registry import HeadSpec, TaskSetup

LAYOUTS = ("single", "zero1", "zero2", "zero3")
IDS = torch.tensor([[101, 2023, 2003, 1037, 3231, 102]])


@pytest.fixture
def world() -> Iterator[World]:
    yield join_world(use_deepspeed=True)
    leave_world()


def make_stage(folder: Path, seed: int) -> Stage:
    torch.manual_seed(0)  # the backbone, and the head that the checkpoint lacks, are the same
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    ).eval()
    torch.manual_seed(seed)
    add_lora(model, LoraSettings(rank=2, alpha=4))
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
    return engine.step([Batch((0, 1, 2, 3), (ids, torch.ones_like(ids)), (labels,), 36)], 4.0, 1e-2).loss


def equal(left: State, right: State) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("old", LAYOUTS)
def test_what_trains_moves_into_every_layout(old: str, tiny_bert: Path, world: World, tmp_path: Path) -> None:
    first = start(make_stage(tiny_bert, 1), old, world)
    before = dict(each_weight(first))
    for number in range(3):
        step(first, number)
    save_checkpoint(tmp_path, first, world, step=3, progress={}, keep=1)
    expected = step(first, 3)
    checkpoint = choose_checkpoint(tmp_path)
    assert checkpoint is not None
    weights, moments = checkpoint.weights(), checkpoint.moments()
    assert {name.rpartition(".")[0] for name in weights if "lora_" not in name} == {"bert.pooler.dense", "classifier"}
    assert {name.partition("/")[2] for name in moments} == weights.keys()
    after = dict(each_weight(first))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == weights.keys()  # all of it, and nothing else
    for new in LAYOUTS:
        stage = make_stage(tiny_bert, 2)
        write_weights_before_start(stage, weights)
        second = start(stage, new, world)
        write_state(second, weights, moments, 3)
        assert equal(weights, dict(each_weight(second, trainable_only=True))), new
        assert equal(moments, dict(each_moment(second))), new
        assert step(second, 3) == pytest.approx(expected, abs=1e-7), new


@pytest.mark.parametrize(("layout", "precision"), [("single", "fp32"), ("zero2", "bf16"), ("zero3", "fp32")])
def test_the_saved_model_is_a_plain_one(
    layout: str, precision: str, tiny_bert: Path, world: World, tmp_path: Path
) -> None:
    engine = start(make_stage(tiny_bert, 1), layout, world, precision)
    for number in range(3):
        step(engine, number)
    batch = Batch((0,), (IDS, torch.ones_like(IDS)), (), 6)
    (expected,) = engine.forward([batch], lambda outputs, _: outputs[0].clone()) or [None]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_bert)
    record = record_of("sentiment", "default", TaskSetup(None), max_length=16, stride=4)
    save_model(tmp_path / "model", engine, world, Companions(tokenizer, record, {}))
    model, loading = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "model", output_loading_info=True
    )
    assert not any(loading.values()), loading
    tolerance = 1e-5 if precision == "fp32" else 3e-2
    torch.testing.assert_close(model.eval()(IDS).logits, expected, atol=tolerance, rtol=tolerance)
