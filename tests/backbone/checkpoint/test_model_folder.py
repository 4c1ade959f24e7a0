"""The folder that a run leaves: plain Hugging Face, and one file that says what the task was."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from polyhead.backbone.checkpoint import model_folder
from polyhead.backbone.checkpoint.model_folder import Companions, TaskRecord, read_record, record_of, save_model
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.parallel.engine import Spread
from polyhead.backbone.parallel.processes import World
from polyhead.registry import HeadSpec, TaskSetup

LABELS = ("负面", "正面")


@dataclass(frozen=True)
class Options:
    threshold: float = 0.5


def record(max_length: int = 64) -> TaskRecord:
    setup = TaskSetup(Options(0.25), LABELS, {"class_weights": [1.0, 2.5]})
    return record_of("sentiment", "default", setup, max_length=max_length, stride=16)


@pytest.fixture
def engine(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what stands for a running engine: a whole model and its weights."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    stage = Stage(model, None, HeadSpec(size=2, labels=LABELS), ("input_ids", "token_type_ids", "attention_mask"))
    monkeypatch.setattr(model_folder, "each_weight", lambda *_, **__: iter(model.state_dict().items()))
    return SimpleNamespace(stage=stage, spread=Spread(0, 1, 0, 1))


def test_the_record_comes_back(tmp_path: Path, engine: Any, tiny_bert: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_bert)
    save_model(tmp_path / "model", engine, World(), Companions(tokenizer, record(), {}))
    assert read_record(tmp_path / "model") == record()
    assert record() == TaskRecord(
        "sentiment", "default", LABELS, {"threshold": 0.25}, {"class_weights": [1.0, 2.5]}, 64, 16
    )
    assert "负面" in (tmp_path / "model" / "polyhead.json").read_text(encoding="utf-8")


def test_a_folder_of_others_has_no_record(tiny_bert: Path) -> None:
    assert read_record(tiny_bert) is None


def test_the_folder_loads_in_plain_transformers(tmp_path: Path, engine: Any, tiny_bert: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_bert)
    save_model(tmp_path / "model", engine, World(), Companions(tokenizer, record(), {}))
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    expected = engine.stage.model.state_dict()
    assert all(torch.equal(expected[name], tensor) for name, tensor in loaded.state_dict().items())
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert (config["architectures"], config["dtype"]) == (["BertForSequenceClassification"], "float32")


def test_the_old_folder_stays_until_the_new_one_is_complete(
    tmp_path: Path, engine: Any, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_bert)
    folder = tmp_path / "model"
    save_model(folder, engine, World(), Companions(tokenizer, record(64), {}))

    def broken(_: object) -> None:
        old = read_record(folder)
        assert old is not None
        assert old.max_length == 64  # while the new one is written
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(type(tokenizer), "save_pretrained", lambda *_: broken(None))
        with pytest.raises(OSError, match="No space"):
            save_model(folder, engine, World(), Companions(tokenizer, record(32), {}))
    old = read_record(folder)
    assert old is not None
    assert old.max_length == 64
    assert transformers.AutoModelForSequenceClassification.from_pretrained(folder).num_labels == 2

    save_model(folder, engine, World(), Companions(tokenizer, record(32), {}))
    new = read_record(folder)
    assert new is not None
    assert new.max_length == 32
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
