"""Every shipped recipe runs: two steps on an untrained backbone of the family that it names, and a few of its rows."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from polyhead.backbone.training.finetune import finetune
from polyhead.configs.load import list_recipes, load_config
from polyhead.registry import Registry

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).parents[2] / "configs" / "samples"
OF_TASK = {
    "classification": "banking77",
    "generation": "wikitext2",
    "ner": "uner_en_ewt",
    "qa": "squad2_subset",
    "sentiment": "rotten_tomatoes",
    "similarity": "stsb_en",
    "summarization": "scitldr",
    "translation": "tatoeba_en_zh",
}
PRETRAINING = "rotten_tomatoes"
"""A sample for the recipes that leave the data to you; the last for those that pretrain."""
TINY = {"encoder": "bert", "decoder": "llama"}


def first_rows(path: Path, count: int, target: Path) -> Path:
    """Write the first rows of a file; documents are cut, so that they fit into the window of a tiny backbone."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for _, line in zip(range(count), file, strict=False)]
    for row in rows:
        if "document" in row:
            row |= {"document": row["document"][:60], "summary": row["summary"][:20]}
    target.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return target


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_runs(
    name: str, tiny_backbones: dict[str, Path], registry: Registry, events: Any, tmp_path: Path
) -> None:
    shipped = load_config(name)
    family = registry.backbones()[shipped.backbone.name].family
    source = (
        shipped.data.train[0]
        if shipped.data.train
        else next((SAMPLES / OF_TASK.get(shipped.task, PRETRAINING)).glob("train.*"))
    )
    rows = first_rows(source, 24, tmp_path / "rows.jsonl")
    config = load_config(
        name,
        [
            f"backbone.name={tiny_backbones[TINY[family]]}",
            f"output={tmp_path / 'run'}",
            "layout=single",
            f"data.train={rows}",
            f"data.validation={rows}",
            f"data.test={rows}",
            "data.max_length=128",
            "data.stride=32",
            *(["backbone.decoder_blocks=2"] if shipped.backbone.decoder_blocks else []),
            "data.cache=false",
            "data.stream=false",
            "training.max_steps=2",
            "training.batch_size=12",
        ],
    )
    result = finetune(config, registry)
    losses = [step["loss"] for step in events(config.output, "step")]
    assert (result.status, len(losses)) == ("completed", 2)
    assert all(math.isfinite(loss) for loss in losses)
    assert (config.output / "model" / "config.json").is_file()


def test_each_task_has_recipes_for_two_families(registry: Registry) -> None:
    named = registry.backbones()
    configs = [load_config(name) for name in list_recipes()]
    for task in OF_TASK:
        families = {named[config.backbone.name].family for config in configs if config.task == task}
        assert families == {"encoder", "decoder"}, task
