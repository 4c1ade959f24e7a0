"""The models: every key is documented, closed, frozen, and has the default that the docs promise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from polyhead.configs.schema import BackboneConfig, DataConfig, LoraSettings, RunConfig, TrainingConfig, json_schema


def documented_keys() -> Iterator[tuple[str, dict[str, Any]]]:
    schema = json_schema()
    for name, section in {"RunConfig": schema, **schema["$defs"]}.items():
        for key, description in section["properties"].items():
            yield f"{name}.{key}", description


@pytest.mark.parametrize(("key", "property_"), [pytest.param(*pair, id=pair[0]) for pair in documented_keys()])
def test_every_key_has_a_description_in_the_json_schema(key: str, property_: dict[str, Any]) -> None:
    assert len(property_.get("description", "")) > 10, key


def test_the_json_schema_forbids_unknown_keys_everywhere() -> None:
    schema = json_schema()
    sections = [schema, *schema["$defs"].values()]
    assert [section["additionalProperties"] for section in sections] == [False] * 5
    assert schema["required"] == ["task"]


def test_the_json_schema_knows_the_short_forms() -> None:
    schema = json_schema()
    assert schema["properties"]["backbone"]["anyOf"] == [
        {"type": "string"},
        {"$ref": "#/$defs/BackboneConfig"},
    ]
    train = schema["$defs"]["DataConfig"]["properties"]["train"]["anyOf"]
    assert [form["type"] for form in train] == ["string", "array", "null"]


def test_defaults() -> None:
    config = RunConfig(task="情感")
    assert BackboneConfig(name="minilm", revision=None, trust_remote_code=False) == config.backbone
    assert (config.head, config.layout, config.options, config.deepspeed) == ("default", "single", {}, None)
    assert DataConfig() == config.data
    assert TrainingConfig() == config.training
    assert (
        config.data.max_tokens,
        config.data.stride,
        config.data.validation_fraction,
        config.data.on_error,
    ) == (2048, None, 0.1, "stop")
    assert (
        config.training.epochs,
        config.training.max_steps,
        config.training.learning_rate,
        config.training.batch_size,
        config.training.gradient_clipping,
        config.training.precision,
        config.training.seed,
    ) == (3, None, 5e-5, 32, 1.0, "fp32", 42)


def test_a_configuration_is_frozen() -> None:
    config = RunConfig(task="sentiment")
    with pytest.raises(ValidationError, match="frozen"):
        config.task = "other"


def test_short_forms_become_the_long_ones() -> None:
    config = RunConfig.model_validate(
        {
            "task": "sentiment",
            "backbone": "hfl/chinese-roberta-wwm-ext",
            "layout": "zero1+pipe2",
            "data": {"train": "甲.csv", "test": ["乙.csv", "丙.csv"], "validation": None, "columns": None},
            "training": {"log_to": "tensorboard"},
            "options": None,
        }
    )
    assert BackboneConfig(name="hfl/chinese-roberta-wwm-ext") == config.backbone
    assert config.layout == "pipe2+zero1"
    assert (Path("甲.csv"),) == config.data.train
    assert (Path("乙.csv"), Path("丙.csv")) == config.data.test
    assert config.data.validation == ()
    assert config.training.log_to == ("tensorboard",)


def test_a_model_built_in_code_is_free_of_contradictions_too() -> None:
    with pytest.raises(ValidationError, match=r"data.stride \(200\) must be smaller than data.max_length \(128\)"):
        DataConfig(max_length=128, stride=200)


def test_lora_is_off_until_it_is_said() -> None:
    assert RunConfig(task="ner").backbone.lora is None
    lora = RunConfig.model_validate({"task": "ner", "backbone": {"lora": {}}}).backbone.lora
    assert lora == LoraSettings(rank=8, alpha=16, dropout=0.0, targets=("attention",))
    assert LoraSettings.model_validate({"targets": ["q_proj", "v_proj"]}).targets == ("q_proj", "v_proj")
