"""Measured memory: two real steps in real processes, against what was predicted."""

from __future__ import annotations

import pytest

from polyhead.backbone.parallel.memory_measure import measure
from polyhead.backbone.parallel.memory_plan import Planner
from polyhead.backbone.parallel.memory_sketch import Sketch
from polyhead.configs.layouts import parse_layout
from polyhead.configs.load import load_config


@pytest.mark.slow
def test_one_process_takes_what_was_predicted(registry, tiny_bert, reviews) -> None:
    settings = [
        f"backbone={tiny_bert}",
        f"data.train={reviews / 'train.jsonl'}",
        "data.validation_fraction=0",
        "data.cache=false",
        "data.max_tokens=256",
        "training.batch_size=20",
    ]
    config = load_config("sentiment", settings)
    planned = Planner(config, Sketch(config, registry, lambda _: None), libraries=0, on_gpu=True)
    predicted = planned.plan(parse_layout("single"), 1).peak.tensors
    (found,) = measure(config, 1, print)
    assert found.tensors == pytest.approx(predicted, rel=0.15)
    assert found.resident > found.framework > 50_000_000
