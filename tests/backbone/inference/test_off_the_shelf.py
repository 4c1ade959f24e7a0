"""Models that others fine-tuned: evaluated and used for prediction from their plain folders, and refused in words."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from polyhead.backbone.evaluation.evaluate import Request as EvaluationRequest
from polyhead.backbone.evaluation.evaluate import evaluate
from polyhead.backbone.inference.predict import Request, predict
from polyhead.backbone.model.loading import quiet_transformers
from polyhead.configs.schema import RunConfig
from polyhead.registry import BackboneError, Registry

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"
TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
HEADS = {  # task: (class of transformers, backbone, labels, sample, text in a prediction)
    "ner": ("AutoModelForTokenClassification", "bert", TAGS, "uner_en_ewt"),
    "qa": ("AutoModelForQuestionAnswering", "bert", (), "squad2_subset"),
    "sentiment": ("AutoModelForSequenceClassification", "gpt2", ("negative", "positive"), "rotten_tomatoes"),
    "translation": ("AutoModelForSeq2SeqLM", "marian", (), "tatoeba_en_zh"),
    "generation": ("AutoModelForCausalLM", "llama", (), "wikitext2"),
}


@pytest.fixture(scope="module")
def shelf(tiny_backbones: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what gives the folder of a model with a task's head, saved by transformers alone."""
    root = tmp_path_factory.mktemp("shelf")

    def folder_of(task: str) -> Path:
        name, backbone, labels, _ = HEADS[task]
        folder = root / task
        if not folder.exists():
            with quiet_transformers(), torch.random.fork_rng():
                torch.manual_seed(5)
                more: dict[str, Any] = {"id2label": dict(enumerate(labels))} if labels else {}
                config = transformers.AutoConfig.from_pretrained(tiny_backbones[backbone], **more)
                getattr(transformers, name).from_config(config).save_pretrained(folder)
                transformers.AutoTokenizer.from_pretrained(tiny_backbones[backbone]).save_pretrained(folder)
        return folder

    return folder_of


def first_rows(sample: str, count: int, target: Path) -> Path:
    """Write the first rows of a sample; of a text that is to be written on only the beginning."""
    path = next((SAMPLES / sample).glob("test.jsonl*"))
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for _, line in zip(range(count), file, strict=False)]
    for row in rows:
        if "text" in row:
            row["text"] = row["text"][:200]
    target.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return target


def config_of(task: str, **data: Any) -> RunConfig:
    options = {"max_new_tokens": 6} if task in ("translation", "generation") else {}
    return RunConfig.model_validate({"task": task, "data": {"cache": False, **data}, "options": options})


@pytest.mark.parametrize("task", HEADS)
def test_a_fine_tuned_folder_is_scored_and_predicts(
    task: str, shelf: Callable[[str], Path], registry: Registry, tmp_path: Path
) -> None:
    rows = first_rows(HEADS[task][3], 5, tmp_path / "rows.jsonl")
    folder = str(shelf(task))
    found = evaluate(EvaluationRequest(folder, config_of(task), files=(rows,)), registry)
    assert found is not None
    assert (found.task, found.examples) == (task, 5)
    assert found.headline in found.values
    target = tmp_path / "predictions.jsonl"
    outcome = predict(Request(folder, config_of(task), (), str(rows), str(target)), registry)
    ids = [json.loads(line)["id"] for line in target.read_text(encoding="utf-8").splitlines()]
    assert outcome.predictions == len(set(ids)) == 5


@pytest.mark.parametrize("task", ["ner", "qa", "sentiment", "translation", "generation"])
def test_a_bare_backbone_is_refused(
    task: str, tiny_backbones: dict[str, Path], registry: Registry, tmp_path: Path
) -> None:
    rows = first_rows(HEADS[task][3], 2, tmp_path / "rows.jsonl")
    with pytest.raises(BackboneError, match="fine-tune"):
        evaluate(EvaluationRequest(str(tiny_backbones["bert"]), config_of(task), files=(rows,)), registry)
