"""LoRA and new tokens on two processes: the losses and the model of one process; checkpoints go from any to any."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from polyhead.backbone.training.finetune import finetune
from polyhead.configs.load import load_config
from polyhead.registry import Registry

pytestmark = pytest.mark.slow

STEPS, HALF = 8, 4
RUNS = ("zero2", "zero3", "zero2 to zero3", "zero3 to zero2")


@pytest.fixture(scope="module")
def wanted(settings: list[str], reviews: Path, chinese_reviews: Path) -> list[str]:
    """Return the settings of every run here: English and Chinese texts on an English tokenizer."""
    return [
        *settings,
        f"data.train=[{reviews / 'train.jsonl'}, {chinese_reviews}]",
        f"data.validation={chinese_reviews}",
        "options={}",
        "backbone.lora.rank=4",
        "backbone.lora.targets=all-linear",
        "backbone.new_tokens=characters",
        "backbone.new_tokens_min_count=1",
        "training.dropout=0",
        f"training.max_steps={STEPS}",
        f"training.checkpoint_every={HALF}",
    ]


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
    wanted: list[str],
    registry: Registry,
    run_ranks: Callable[[Path, list[list[str]]], None],
) -> Path:
    """Train in one process, on two, and from one layout on under the other; return the folder of all runs."""
    folder = tmp_path_factory.mktemp("runs")
    finetune(load_config("classification", [*wanted, f"output={folder / 'single'}"]), registry)
    start = ["finetune", "classification", *wanted]
    commands = [[*start, f"layout={layout}", f"output={folder / layout}"] for layout in RUNS[:2]]
    for name in RUNS[2:]:
        old, _, new = name.partition(" to ")
        commands.append(["copy", str(folder / old), str(folder / name), f"step-{HALF:08d}"])
        commands.append([*start, f"layout={new}", f"output={folder / name}", "--resume"])
    run_ranks(folder, commands)
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_every_layout_gives_the_losses_of_one_process(name: str, runs: Path, events: Any) -> None:
    expected = [step["loss"] for step in events(runs / "single", "step")]
    losses = [step["loss"] for step in events(runs / name, "step")]
    assert losses[:STEPS] == pytest.approx(expected, abs=1e-5)
    assert losses[STEPS:] == pytest.approx(expected[HALF:] if " to " in name else [], abs=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_a_checkpoint_holds_what_trains(name: str, runs: Path) -> None:
    (shard,) = (runs / name / "checkpoints" / f"step-{STEPS:08d}").glob("weights-*")
    names = load_file(shard).keys()
    plain = {key.rpartition(".")[0] for key in names if "lora_" not in key}
    assert plain == {"bert.embeddings.word_embeddings", "bert.pooler.dense", "classifier"}
    assert sum("lora_A" in key for key in names) == 4 * 6


@pytest.mark.parametrize("name", ["single", *RUNS])
def test_the_model_loads_in_plain_transformers(name: str, runs: Path, tiny_bert: Path, chinese_reviews: Path) -> None:
    folder = runs / name / "model"
    model, report = transformers.AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == model.config.vocab_size > 30_522
    texts = [json.loads(line)["text"] for line in chinese_reviews.read_text(encoding="utf-8").splitlines()]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    assert tokenizer.unk_token_id not in inputs["input_ids"]
    assert tokenizer.unk_token_id in transformers.AutoTokenizer.from_pretrained(tiny_bert)(texts[0])["input_ids"]
    reference = transformers.AutoModelForSequenceClassification.from_pretrained(runs / "single" / "model")
    with torch.no_grad():
        assert torch.allclose(model.eval()(**inputs).logits, reference.eval()(**inputs).logits, rtol=0, atol=1e-5)
