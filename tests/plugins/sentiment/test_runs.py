"""Runs of each scale of sentiment on each family of backbones: train, save, evaluate, predict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from polyhead.backbone.evaluation.evaluate import Request as EvaluationRequest
from polyhead.backbone.evaluation.evaluate import evaluate
from polyhead.backbone.inference.predict import Request, predict
from polyhead.backbone.training.finetune import finetune
from polyhead.configs.schema import RunConfig
from polyhead.registry import Registry

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"

Row = dict[str, Any]


def reviews_with(make: Callable[[int, Row], Row]) -> list[Row]:
    lines = (SAMPLES / "rotten_tomatoes" / "train.jsonl").read_text(encoding="utf-8").splitlines()[:48]
    return [make(number, json.loads(line)) for number, line in enumerate(lines)]


def stars(number: int, row: Row) -> Row:
    return {"text": row["text"], "label": (4 if row["label"] == "positive" else 1) + number % 2}


def shares(number: int, row: Row) -> Row:
    return {"text": row["text"], "label": (0.75 if row["label"] == "positive" else 0.1) + number % 3 / 20}


def aspects(number: int, row: Row) -> Row:
    return {**row, "aspect": ("plot", "演员")[number % 2]}


@pytest.fixture
def run(
    tiny_backbones: dict[str, Path], registry: Registry, tmp_path: Path
) -> Callable[..., tuple[Path, Any, list[Row]]]:
    """Return what trains, evaluates and predicts, and gives the model folder, the evaluation and the predictions."""

    def train(backbone: str, rows: list[Row], **options: Any) -> tuple[Path, Any, list[Row]]:
        source, target = tmp_path / "rows.jsonl", tmp_path / "predictions.jsonl"
        source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        config = RunConfig.model_validate(
            {
                "task": "sentiment",
                "backbone": str(tiny_backbones[backbone]),
                "output": str(tmp_path / "run"),
                "data": {"train": str(source), "validation": str(source), "cache": False},
                "training": {"max_steps": 12, "learning_rate": 5e-3, "batch_size": 16},
                "options": options,
            }
        )
        finetune(config, registry)
        scores = evaluate(EvaluationRequest(str(config.output), config, "validation"), registry)
        predict(Request(str(config.output), config, (), str(source), str(target)), registry)
        lines = target.read_text(encoding="utf-8").splitlines()
        return config.output / "model", scores, [json.loads(line) for line in lines]

    return train


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["bert", "gpt2", "bart"])
def test_stars_in_order(run, backbone):
    model, scores, answers = run(backbone, reviews_with(stars), ordinal=True)
    assert scores.headline == "kappa_quadratic"
    assert {"mae", "accuracy"} <= scores.values.keys()
    for answer in answers:
        expected = sum(int(star) * p for star, p in answer["scores"].items())
        assert answer["polarity"] == pytest.approx((expected - 3) / 2)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(model)
    assert plain.config.id2label == {0: "1", 1: "2", 2: "4", 3: "5"}


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["bert", "llama", "t5", "marian"])
def test_numbers(run, backbone):
    model, scores, answers = run(backbone, reviews_with(shares))
    assert scores.headline == "mae"
    assert scores.values["loss"] < 0.6
    assert {tuple(answer) for answer in answers} == {("id", "number", "polarity")}
    assert all(answer["polarity"] == pytest.approx(2 * answer["number"] - 1) for answer in answers)
    if backbone != "marian":  # `transformers` has no such head for it
        plain = transformers.AutoModelForSequenceClassification.from_pretrained(model)
        assert (plain.config.num_labels, plain.config.problem_type) == (1, "regression")


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["bert", "llama", "bart"])
def test_aspects(run, backbone):
    _, scores, answers = run(backbone, reviews_with(aspects))
    assert [answer["aspect"] for answer in answers] == ["plot", "演员"] * 24
    table = next(table for table in scores.tables if table.title == "Scores by aspect")
    assert {row[:2] for row in table.rows} == {("plot", 24), ("演员", 24)}
    assert all(-1 <= answer["polarity"] <= 1 for answer in answers)


@pytest.mark.slow
def test_texts_with_and_without_an_aspect(run):
    """The head of BART wants as many end tokens in every text of a batch."""
    rows = reviews_with(lambda number, row: aspects(number, row) if number % 3 else row)
    _, _, answers = run("bart", rows)
    assert [answer.get("aspect") for answer in answers] == [row.get("aspect") for row in rows]


@pytest.mark.slow
def test_a_model_without_our_file_is_used_as_it_is(run, registry, tmp_path):
    """As if others had fine-tuned it: the stars and their polarities are told from the labels."""
    model, _, answers = run("bert", reviews_with(stars))
    (model / "polyhead.json").unlink()
    config = RunConfig.model_validate({"task": "sentiment", "data": {"validation": str(tmp_path / "rows.jsonl")}})
    target = tmp_path / "again.jsonl"
    predict(Request(str(model), config, (), str(tmp_path / "rows.jsonl"), str(target)), registry)
    again = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [answer["polarity"] for answer in again] == pytest.approx([answer["polarity"] for answer in answers])
    scores = evaluate(EvaluationRequest(str(model), config, "validation"), registry)
    assert {"accuracy", "mae", "kappa_quadratic", "loss"} <= scores.values.keys()
