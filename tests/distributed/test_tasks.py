"""Tasks that ask more of the engine than one label a text: on two and three processes they give what one gives."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyhead.backbone.evaluation.evaluate import Request, evaluate
from polyhead.backbone.training.finetune import finetune
from polyhead.configs.load import load_config
from polyhead.registry import Registry

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).parents[2] / "configs" / "samples"
STEPS = 6
CASES = {  # task: (backbone, layout, sample, settings)
    "similarity": ("bert", "zero2", "stsb_en", ["options.loss=cosent", "options.group=4"]),
    "translation": ("bert", "zero3", "tatoeba_en_zh", ["options.max_new_tokens=6"]),
    "generation": ("llama", "zero2", "wikitext2", []),
    "masked-lm": ("bert", "zero2", "tatoeba_en_zh", []),
    "qa": ("t5", "zero1", "squad2_subset", []),
    "ner": ("bert", "pipe2+zero1", "uner_en_ewt", []),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module")
def arguments(folder: Path, tiny_backbones: dict[str, Path]) -> Callable[[str], list[str]]:
    """Return what gives the settings of a task's run; 29 rows, so that no split comes out even."""

    def settings_of(task: str) -> list[str]:
        backbone, _, sample, more = CASES[task]
        path = folder / f"{task}.jsonl"
        if not path.exists():
            with gzip.open(next((SAMPLES / sample).glob("validation.jsonl.gz")), "rt", encoding="utf-8") as file:
                rows = [row for row in map(json.loads, file) if len(json.dumps(row)) < 1500][:29]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return [
            f"backbone={tiny_backbones[backbone]}",
            f"data.train={path}",
            f"data.validation={path}",
            "data.cache=false",
            "data.max_tokens=256",
            "data.max_length=128",
            "training.batch_size=12",
            f"training.max_steps={STEPS}",
            "training.learning_rate=2e-3",
            "training.gradient_clipping=0.5",
            "training.dropout=0",
            *more,
        ]

    return settings_of


@pytest.fixture(scope="module")
def spread(folder: Path, arguments: Any, run_ranks: Callable[[Path, list[list[str]]], None]) -> Path:
    """Train every case on two processes; return the folder of the runs."""
    commands = [
        ["finetune", task, *arguments(task), f"layout={layout}", f"output={folder / task}"]
        for task, (_, layout, _, _) in CASES.items()
    ]
    run_ranks(folder, commands)
    return folder


@pytest.mark.parametrize("task", CASES)
def test_the_losses_are_those_of_one_process(
    task: str, spread: Path, arguments: Any, events: Any, registry: Registry, tmp_path: Path
) -> None:
    alone = load_config(task, [*arguments(task), f"output={tmp_path / 'alone'}"], tasks=registry.tasks())
    finetune(alone, registry)
    for event, number in (("step", "loss"), ("evaluation", "values")):
        expected, found = events(alone.output, event), events(spread / task, event)
        assert len(found) == len(expected) > 0
        for one, two in zip(expected, found, strict=True):
            assert two["step"] == one["step"]
            assert two[number] == pytest.approx(one[number], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("task", "processes"), [("translation", 3), ("similarity", 2)])
def test_scores_are_gathered_by_example(
    task: str, processes: int, spread: Path, polyhead: Any, registry: Registry
) -> None:
    run = spread / task
    printed = polyhead("evaluate", str(run), "--split", "validation", "--json", "--processes", str(processes)).stdout
    found = json.loads(printed)
    config = load_config(str(run / "config.yaml"))
    alone = evaluate(Request(str(run), config, "validation"), registry)
    assert alone is not None
    assert found["examples"] == alone.examples == 29
    assert found["metrics"] == pytest.approx(dict(alone.values), abs=1e-6)
