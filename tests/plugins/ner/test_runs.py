"""Whole runs on tiny models: the causal mask, rows of text, empty texts, other people's taggers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from polyhead.backbone.evaluation.evaluate import Request as EvaluationRequest
from polyhead.backbone.evaluation.evaluate import evaluate
from polyhead.backbone.inference.predict import Request, predict
from polyhead.backbone.training.finetune import finetune
from polyhead.configs.schema import RunConfig
from polyhead.registry import Registry, RunError


def marked(text: str, **names: str) -> dict[str, Any]:
    """Return a row of text with the entities of these types, each given by its name."""
    spans = [
        {"start": text.index(name), "end": text.index(name) + len(name), "label": kind} for kind, name in names.items()
    ]
    return {"text": text, "entities": sorted(spans, key=lambda span: int(span["start"]))}


TEXT_ROWS = [
    marked("Anna 住在柏林。", 人="Anna", 地="柏林"),
    marked("Rome\r\nand Anna 👍🏽", 地="Rome", 人="Anna"),
    marked("\u200b"),
    marked("nobody here"),
]
TOKEN_ROWS = [
    {"tokens": ["the", "later", "word", "decides", ":", end], "ner_tags": [f"B-{kind}", "O", "O", "O", "O", "O"]}
    for end, kind in (("city", "LOC"), ("man", "PER"))
    for _ in range(8)
]
"""The first word's tag is told by the last word: a causal model cannot know it."""


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def config_of(backbone: Path, file: Path, output: Path, steps: int = 30, **options: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "task": "ner",
            "backbone": str(backbone),
            "output": str(output),
            "data": {"train": str(file), "validation": str(file), "cache": False},
            "training": {"max_steps": steps, "learning_rate": 5e-3, "batch_size": 16, "dropout": 0.0},
            "options": options,
        }
    )


@pytest.mark.parametrize("backbone", ["llama", "gpt2"])
def test_what_comes_later_is_seen_without_the_causal_mask_only(
    backbone: str, tiny_backbones: dict[str, Path], registry: Registry, tmp_path: Path
) -> None:
    file = written(tmp_path / "rows.jsonl", TOKEN_ROWS)
    f1 = {}
    for causal in (True, False):
        config = config_of(tiny_backbones[backbone], file, tmp_path / f"run-{causal}", causal=causal)
        finetune(config, registry)
        scores = evaluate(EvaluationRequest(str(config.output), config, "validation"), registry)
        assert scores is not None
        f1[causal] = scores.values["f1"]
    assert f1[True] <= 0.5
    assert f1[False] == 1.0


@pytest.mark.parametrize("backbone", ["bert", "marian"])
def test_rows_of_text_in_windows(
    backbone: str, tiny_backbones: dict[str, Path], registry: Registry, tmp_path: Path
) -> None:
    file = written(tmp_path / "rows.jsonl", TEXT_ROWS)
    config = config_of(tiny_backbones[backbone], file, tmp_path / "run", steps=40, scheme_inside="BIOES")
    config = config.model_copy(update={"data": config.data.model_copy(update={"max_length": 8, "stride": 3})})
    result = finetune(config, registry)
    assert result.evaluation is not None
    assert result.evaluation.values["f1"] == 1.0
    target = tmp_path / "found.jsonl"
    predict(Request(str(config.output), config, (), str(file), str(target)), registry)
    found = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [
        [{key: entity[key] for key in ("start", "end", "label")} for entity in prediction["entities"]]
        for prediction in found
    ] == [row["entities"] for row in TEXT_ROWS]
    assert all(e["text"] == row["text"][e["start"] : e["end"]] for row in found for e in row["entities"])


def foreign(folder: Path, trunk: Path, labels: list[str]) -> Path:
    """Write a tagger as others leave it: nothing of polyhead in its folder."""
    torch.manual_seed(1)
    model = transformers.AutoModelForTokenClassification.from_pretrained(
        trunk, id2label=dict(enumerate(labels)), label2id={label: at for at, label in enumerate(labels)}
    )
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(trunk).save_pretrained(folder)
    return folder


def test_a_tagger_of_others(tiny_bert: Path, registry: Registry, tmp_path: Path) -> None:
    model = foreign(tmp_path / "tagger", tiny_bert, ["O", "I-人", "B-地", "I-地"])
    file = written(tmp_path / "rows.jsonl", TEXT_ROWS)
    config = config_of(model, file, tmp_path / "run")
    scores = evaluate(EvaluationRequest(str(model), config, "test", files=(file,)), registry)
    assert scores is not None
    assert {"f1", "loss"} <= scores.values.keys()
    silent = foreign(tmp_path / "silent", tiny_bert, ["LABEL_0", "LABEL_1"])
    with pytest.raises(RunError, match=r"LABEL_0, LABEL_1.*are no entity tags"):
        evaluate(EvaluationRequest(str(silent), config, "test", files=(file,)), registry)
