"""What classification learns on validation data, in runs on each family of backbones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyhead.backbone.evaluation.evaluate import Request as EvaluationRequest
from polyhead.backbone.evaluation.evaluate import evaluate
from polyhead.backbone.inference.predict import Request, predict
from polyhead.backbone.training.finetune import finetune
from polyhead.configs.schema import RunConfig
from polyhead.registry import Registry

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"
INTENTS = ("card_arrival", "age_limit", "exchange_rate")

Row = dict[str, Any]


def rows_of_intents(count: int, *intents: str) -> list[Row]:
    lines = (SAMPLES / "banking77" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["label"] in intents][:count]


@pytest.fixture
def run(
    tiny_backbones: dict[str, Path], registry: Registry, tmp_path: Path
) -> Callable[[str, list[Row], list[Row], Row], tuple[Path, RunConfig]]:
    """Return what trains on rows for some steps and gives the run's folder and settings."""

    def train(backbone: str, rows: list[Row], validation: list[Row], options: Row) -> tuple[Path, RunConfig]:
        for name, content in (("train", rows), ("validation", validation)):
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
            (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        config = RunConfig.model_validate(
            {
                "task": "classification",
                "backbone": str(tiny_backbones[backbone]),
                "output": str(tmp_path / "run"),
                "data": {
                    "train": str(tmp_path / "train.jsonl"),
                    "validation": str(tmp_path / "validation.jsonl"),
                    "cache": False,
                },
                "training": {"max_steps": 12, "evaluate_every": 6, "learning_rate": 5e-3, "batch_size": 16},
                "options": options,
            }
        )
        finetune(config, registry)
        return tmp_path / "run", config

    return train


def record_of(folder: Path) -> Row:
    found: Row = json.loads((folder / "model" / "polyhead.json").read_text(encoding="utf-8"))
    return found


def predicted(folder: Path, config: RunConfig, registry: Registry, tmp_path: Path) -> list[Row]:
    target = tmp_path / "predictions.jsonl"
    predict(Request(str(folder), config, (), str(tmp_path / "validation.jsonl"), str(target)), registry)
    return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["bert", "t5"])
def test_thresholds_are_saved_with_the_model(run, registry, tmp_path, backbone):
    rows = [
        {**row, "label": sorted({row["label"], "q" if "?" in row["text"] else row["label"]})}
        for row in rows_of_intents(48, *INTENTS)
    ]
    folder, config = run(backbone, rows, rows, {"multi_label": True})
    thresholds = record_of(folder)["facts"]["thresholds"]
    assert set(thresholds) == {*INTENTS, "q"}
    answers = predicted(folder, config, registry, tmp_path)
    for answer in answers:
        assert set(answer["labels"]) == {name for name, p in answer["scores"].items() if p >= thresholds[name]}
    scores = evaluate(EvaluationRequest(str(folder), config, "validation"), registry)
    right = sum(len(set(answer["labels"]) & set(row["label"])) for answer, row in zip(answers, rows, strict=True))
    given = sum(len(answer["labels"]) + len(row["label"]) for answer, row in zip(answers, rows, strict=True))
    assert scores.values["f1_micro"] == pytest.approx(2 * right / given)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["llama", "marian"])
def test_what_is_out_of_scope_is_rejected(run, registry, tmp_path, backbone):
    rows = rows_of_intents(48, *INTENTS)
    outside = [{"text": text, "label": "out_of_scope"} for text in ("今天天气怎么样?", "sing a song", "1 + 1", "🎈")]
    folder, config = run(backbone, rows, rows[:20] + outside, {"reject": "auto"})
    record = record_of(folder)
    assert set(record["labels"]) == set(INTENTS)
    assert {"temperature", "reject_below"} <= set(record["facts"])
    for answer in predicted(folder, config, registry, tmp_path):
        assert answer["candidate"] in INTENTS
        rejected = answer["score"] < record["facts"]["reject_below"]
        assert answer["label"] == ("out_of_scope" if rejected else answer["candidate"])
    scores = evaluate(EvaluationRequest(str(folder), config, "validation"), registry)
    assert {"out_of_scope_f1", "out_of_scope_auroc", "coverage", "ece", "ece_uncalibrated"} <= scores.values.keys()
    assert scores.values["loss"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["gpt2", "bart"])
def test_pairs_of_texts(run, registry, tmp_path, backbone):
    texts = [row["text"] for row in rows_of_intents(24, *INTENTS)]
    rows = [{"text": text, "text_pair": text, "label": "same"} for text in texts]
    rows += [{"text": one, "text_pair": other, "label": "不同"} for one, other in zip(texts, texts[7:], strict=False)]
    folder, config = run(backbone, rows, rows, {"calibrated": True})
    assert record_of(folder)["facts"]["temperature"] > 0
    assert {answer["label"] for answer in predicted(folder, config, registry, tmp_path)} <= {"same", "不同"}
    scores = evaluate(EvaluationRequest(str(folder), config, "validation"), registry)
    assert scores.values["ece_uncalibrated"] >= 0
