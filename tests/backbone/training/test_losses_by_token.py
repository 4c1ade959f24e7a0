"""Where a loss is one of token by token, words are computed for labelled tokens only: the losses stay the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from polyhead.backbone.headed_task import headed
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.training.finetune import finetune
from polyhead.configs.load import load_config
from polyhead.registry import Registry

PAIRS = [
    {"prompt": f"The number {number} and what comes behind it:", "completion": f" {number + 1}, then {number + 2}"}
    for number in range(40)
]
CELLS = {  # architecture and rows
    "generation": ("llama", PAIRS),
    "translation": (
        "t5",
        [
            {"translation": {"en": row["prompt"], "zh": row["completion"] * (1 + at % 4)}}
            for at, row in enumerate(PAIRS)
        ],
    ),
    "masked-lm": ("bert", [{"text": row["prompt"] + row["completion"]} for row in PAIRS]),
}


@pytest.mark.parametrize("layout", ["single", "zero1", "zero3"])
@pytest.mark.parametrize("task", CELLS)
def test_the_losses_are_those_over_all_tokens(
    task: str,
    layout: str,
    tiny_backbones: dict[str, Path],
    registry: Registry,
    events: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    architecture, rows = CELLS[task]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    settings = [
        f"backbone={tiny_backbones[architecture]}",
        f"layout={layout}",
        f"data.train={data}",
        "data.validation_fraction=0",
        "data.cache=false",
        "data.max_length=64",
        "data.max_tokens=128",
        "training.batch_size=6",
        "training.max_steps=8",
        "training.optimizer=sgd",  # Adam makes much of gradients that are rounding alone
        "training.learning_rate=0.1",
        "training.dropout=0",
    ]
    sizes: list[int] = []
    ours = Stage.writing_at

    def noted(stage: Stage, places_N: torch.Tensor) -> Any:
        sizes.append(len(places_N))
        return ours(stage, places_N)

    @contextmanager
    def everywhere(_: Stage, __: torch.Tensor) -> Iterator[None]:
        yield

    found = []
    for name, way in (("some", noted), ("all", everywhere)):
        monkeypatch.setattr(Stage, "writing_at", way)
        config = load_config(task, [*settings, f"output={tmp_path / name}"], tasks=registry.tasks())
        found.append(finetune(config, registry).folder)
    some, every = ([step["loss"] for step in events(folder, "step")] for folder in found)
    assert len(some) == 8
    assert some == pytest.approx(every, rel=1e-6)
    assert min(sizes) < 60  # of at most 128 tokens
    left, right = (load_file(folder / "model" / "model.safetensors") for folder in found)
    assert all(torch.allclose(left[name], right[name], atol=1e-5) for name in left)


def test_a_head_with_a_loss_of_its_own_gets_all_tokens(registry: Registry) -> None:
    from dataclasses import replace

    task = registry.task("generation")
    spec = task.heads["decoder"](task.setup_from_labels((), task.options() if task.options else None))
    assert headed(task, spec).loss_by_token
    loss: Callable[..., Any] = task.loss
    assert not headed(task, replace(spec, loss=loss)).loss_by_token
