"""The DeepSpeed JSON: what is generated, and how the user's own is merged into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polyhead.backbone.parallel.deepspeed_config import deepspeed_config, zero_stage
from polyhead.configs.errors import ConfigError
from polyhead.configs.schema import RunConfig


def config_of(layout: str = "zero2", deepspeed: Any = None, **training: Any) -> RunConfig:
    return RunConfig.model_validate(
        {"task": "sentiment", "layout": layout, "training": training, "deepspeed": deepspeed}
    )


@pytest.mark.parametrize("layout", ["single", "zero0", "zero1", "zero2", "zero3", "pipe2+zero1"])
@pytest.mark.parametrize("clipping", [0.0, 0.5, 1.0])
def test_clipping_is_always_written(layout: str, clipping: float) -> None:
    """DeepSpeed's own default is 1.0, not off."""
    assert clipping == deepspeed_config(config_of(layout, gradient_clipping=clipping))["gradient_clipping"]


@pytest.mark.parametrize(
    ("layout", "precision", "stage"),
    [
        ("single", "fp32", 0),
        ("single", "bf16", 1),
        ("single", "fp16", 1),
        ("zero0", "fp32", 0),
        ("zero1", "fp32", 1),
        ("zero2", "bf16", 2),
        ("zero3", "bf16", 3),
        ("pipe2+zero1", "fp32", 1),
    ],
)
def test_the_stage_follows_layout_and_precision(layout: str, precision: str, stage: int) -> None:
    config = config_of(layout, precision=precision)
    assert stage == zero_stage(config)
    assert stage == deepspeed_config(config)["zero_optimization"]["stage"]


@pytest.mark.parametrize(("precision", "expected"), [("fp32", None), ("bf16", "bf16"), ("fp16", "fp16")])
def test_the_precision_is_switched_on(precision: str, expected: str | None) -> None:
    found = deepspeed_config(config_of(precision=precision))
    assert [key for key in ("bf16", "fp16") if key in found] == ([expected] if expected else [])
    assert expected is None or found[expected] == {"enabled": True}


def test_deepspeed_sees_no_accumulation() -> None:
    found = deepspeed_config(config_of(batch_size=96))
    assert (found["train_micro_batch_size_per_gpu"], found["gradient_accumulation_steps"]) == (1, 1)


def test_own_keys_are_added_at_every_depth() -> None:
    own = {"zero_optimization": {"reduce_bucket_size": 1000, "stage": 2}, "comms_logger": {"enabled": True}}
    found = deepspeed_config(config_of(deepspeed=own))
    assert found["zero_optimization"] == {
        "stage": 2,
        "contiguous_gradients": True,
        "overlap_comm": False,
        "reduce_bucket_size": 1000,
    }
    assert found["comms_logger"] == {"enabled": True}


def test_own_keys_win_where_the_run_says_nothing() -> None:
    assert deepspeed_config(config_of(deepspeed={"steps_per_print": 10}))["steps_per_print"] == 10


def test_auto_means_ours() -> None:
    own = {
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "optimizer": "auto",
        "zero_optimization": {"stage": "auto"},
        "bf16": {"enabled": "auto"},
    }
    generated = deepspeed_config(config_of())
    assert generated == {key: value for key, value in deepspeed_config(config_of(deepspeed=own)).items() if value != {}}


def test_it_can_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "深度.json"
    path.write_text(json.dumps({"comms_logger": {"enabled": True}}), encoding="utf-8")
    assert deepspeed_config(config_of(deepspeed=str(path)))["comms_logger"] == {"enabled": True}


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (
            {"gradient_clipping": 5.0},
            (
                "deepspeed.gradient_clipping says 5.0, the run says 1.0: it is decided by training.gradient_clipping; "
                'remove it or write "auto"'
            ),
        ),
        (
            {"zero_optimization": {"stage": 3}},
            (
                "deepspeed.zero_optimization.stage says 3, the run says 2: it is decided by layout; "
                'remove it or write "auto"'
            ),
        ),
        (
            {"bf16": {"enabled": True}},
            (
                "deepspeed.bf16.enabled says true, the run says null: it is decided by training.precision; "
                'remove it or write "auto"'
            ),
        ),
        (
            {"optimizer": {"type": "Lamb"}},
            (
                'deepspeed.optimizer says {"type": "Lamb"}, the run says null: it is decided by '
                'training.learning_rate, training.weight_decay, training.betas; remove it or write "auto"'
            ),
        ),
        (
            {"train_batch_size": 64},
            (
                "deepspeed.train_batch_size says 64, the run says null: it is decided by training.batch_size; "
                'remove it or write "auto"'
            ),
        ),
    ],
)
def test_contradictions_are_refused(own: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        deepspeed_config(config_of(deepspeed=own))
    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        ("{", "is no JSON: "),
        ("[1]", "expected a JSON object, found list"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        deepspeed_config(config_of(deepspeed=str(path)))
