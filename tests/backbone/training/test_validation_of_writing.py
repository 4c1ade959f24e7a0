"""Tasks that write text are validated by their loss, or by what they write where the settings want it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polyhead.backbone.training.finetune import finetune
from polyhead.configs.schema import RunConfig
from polyhead.registry import Registry, RunError

PAIRS = (
    ("I am here.", "我在这里。"),
    ("Thank you.", "谢谢你。"),
    ("It is raining.", "下雨了。"),
    ("Come in.", "请进。"),
)


@pytest.fixture
def make(tiny_bert: Path, tmp_path: Path) -> Callable[..., RunConfig]:
    rows = tmp_path / "pairs.jsonl"
    lines = [json.dumps({"translation": {"en": en, "zh": zh}}, ensure_ascii=False) for en, zh in PAIRS]
    rows.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def config_of(**training: Any) -> RunConfig:
        return RunConfig.model_validate(
            {
                "task": "translation",
                "backbone": {"name": str(tiny_bert), "new_tokens": "characters", "new_tokens_min_count": 1},
                "output": str(tmp_path / "run"),
                "data": {"train": str(rows), "validation": str(rows), "cache": False},
                "training": {"max_steps": 2, "batch_size": 4, **training},
                "options": {"max_new_tokens": 6},
            }
        )

    return config_of


def test_the_loss_chooses_the_best_model(make: Callable[..., RunConfig], registry: Registry) -> None:
    found = finetune(make(), registry).evaluation
    assert found is not None
    assert found.headline == "loss"
    assert found.values == {"loss": found.values["loss"], "perplexity": pytest.approx(math.exp(found.values["loss"]))}


def test_what_is_written_chooses_it_where_that_is_wanted(make: Callable[..., RunConfig], registry: Registry) -> None:
    found = finetune(make(validate_generation=True), registry).evaluation
    assert found is not None
    assert found.headline == "chrf"
    assert {"chrf", "bleu", "loss"} <= found.values.keys()
    assert found.baseline["chrf"] == 0.0  # English beside Chinese


def test_a_metric_that_needs_text_is_refused_before_training(
    make: Callable[..., RunConfig], registry: Registry
) -> None:
    config = make(metric="chrf")
    with pytest.raises(RunError, match="validate_generation=true"):
        finetune(config, registry)
    assert not config.output.exists()


def test_prompts_and_how_to_write_from_them_go_together(registry: Registry) -> None:
    with pytest.raises(ValueError, match="encode_prompts and generation go together"):
        replace(registry.task("translation"), generation=None)
