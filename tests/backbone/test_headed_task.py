"""A head with a loss and a reduction of its own: trained, scored and asked by them, whole and in stages."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from polyhead.backbone.evaluation.evaluate import Request, evaluate
from polyhead.backbone.headed_task import headed
from polyhead.backbone.inference.session import open_session
from polyhead.backbone.model.cutting import block_count, cut_stage, plan_cuts
from polyhead.backbone.model.loading import find_backbone, load_with_head
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.parallel.processes import World
from polyhead.backbone.training.encoding import input_names
from polyhead.backbone.training.finetune import finetune
from polyhead.configs.load import load_config
from polyhead.registry import HeadSpec, LossSum, Output, Reduction, Registry, TaskSetup

TIMES = 3.0
"""How much larger the head's loss is than the task's."""


class TwoHeads(torch.nn.Module):
    """Give outputs of two widths: a number for each token, and what is added for each label."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.by_token = torch.nn.Linear(width, 1)
        self.added = torch.nn.Parameter(torch.linspace(-1, 1, size * size))

    def forward(self, hidden_BTD: torch.Tensor, mask_BT: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return ``[B, T, 1]``, ``[B, L * L]`` and the mask ``[B, T]``."""
        return self.by_token(hidden_BTD), self.added.expand(len(hidden_BTD), -1), mask_BT


def logits_of(outputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    tokens_BT1, added_BS, mask_BT = outputs
    one_B = (tokens_BT1[..., 0] * mask_BT).sum(1) / mask_BT.sum(1)
    size = math.isqrt(added_BS.shape[1])
    return one_B[:, None] * torch.arange(size) + added_BS[:, :size]


def loss(outputs: tuple[torch.Tensor, ...], labels: tuple[torch.Tensor, ...], setup: TaskSetup) -> LossSum:
    total = torch.nn.functional.cross_entropy(logits_of(outputs), labels[0], reduction="sum")
    return LossSum(TIMES * total, torch.tensor(float(len(labels[0]))))


def two_heads(setup: TaskSetup) -> HeadSpec:
    return HeadSpec(
        size=len(setup.labels),
        labels=setup.labels,
        build=lambda config, spec: TwoHeads(config.hidden_size, spec.size),
        outputs=(Output("tokens", per="token"), Output("added"), Output("mask", per="token")),
        loss=loss,
        reduction=Reduction((Output("logits"),), lambda outputs, labels, setup: (logits_of(outputs),)),
    )


@pytest.fixture
def with_two_heads(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr(registry, "head_factory", lambda task, family, name: two_heads)
    return registry


def test_the_head_goes_before_the_task(registry: Registry) -> None:
    task = registry.task("sentiment")
    setup = task.setup_from_labels(("bad", "good"), task.options())
    spec = two_heads(setup)
    assert (headed(task, spec).loss, headed(task, spec).reduction) == (loss, spec.reduction)
    plain = task.heads["encoder"](setup)
    assert (headed(task, plain).loss, headed(task, plain).reduction) == (task.loss, task.reduction)
    generation = registry.task("generation")
    assert headed(generation, plain).reduction is generation.reduction is not None


def test_it_is_trained_scored_and_asked_by_the_heads_own(
    with_two_heads: Registry, tiny_bert: Path, reviews: Path, tmp_path: Path, events: Callable[..., Any]
) -> None:
    registry, run = with_two_heads, tmp_path / "run"
    overrides = [
        f"backbone={tiny_bert}",
        f"data.train={reviews / 'train.jsonl'}",
        f"data.validation={reviews / 'validation.jsonl'}",
        f"output={run}",
        "training.max_steps=3",
        "training.batch_size=71",
        "training.learning_rate=1e-3",
        "training.dropout=0",
    ]
    result = finetune(load_config("sentiment", overrides, tasks=registry.tasks()), registry)
    config = load_config(str(run / "config.yaml"))
    scored = evaluate(Request(str(run), config, files=(reviews / "validation.jsonl",)), registry)
    rows = [json.loads(line) for line in (reviews / "validation.jsonl").read_text(encoding="utf-8").splitlines()]
    session = open_session(str(run), config, registry, World())
    examples = [session.task.to_example(row, str(number), None) for number, row in enumerate(rows)]
    predictions = list(session.predict(examples))

    losses = [event["loss"] for event in events(run, "step")]
    likelihoods = [math.log(found.scores[row["label"]]) for found, row in zip(predictions, rows, strict=True)]
    assert losses[-1] < losses[0]
    assert scored is not None
    assert scored.values == pytest.approx(dict(result.evaluation.values), abs=1e-6)
    assert scored.values["loss"] == pytest.approx(-TIMES * sum(likelihoods) / len(rows), rel=1e-5)


def test_its_loss_is_the_same_in_two_stages(with_two_heads: Registry, tiny_bert: Path) -> None:
    task, backbone = with_two_heads.task("sentiment"), find_backbone(str(tiny_bert), with_two_heads)
    spec = two_heads(task.setup_from_labels(("bad", "good"), task.options()))
    torch.manual_seed(1)
    model, head = load_with_head(backbone, spec, dropout=0.0)
    whole = Stage(model, head, spec, input_names(backbone, spec, task))
    batch = backbone.tokenizer(["a fine film", "so dull that it hurts"], padding=True, return_tensors="pt")
    inputs, labels = tuple(batch[name] for name in whole.input_names), (torch.tensor([1, 0]),)
    parts = [cut_stage(copy.deepcopy(whole), cut) for cut in plan_cuts(block_count(whole.model), 2)]

    tensors = inputs
    for part in parts:
        tensors = part(tensors)
    expected, actual = (headed(task, spec).loss(found, labels, None).total for found in (whole(inputs), tensors))
    expected.backward()
    actual.backward()

    assert actual.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(whole.head.added.grad, parts[-1].head.added.grad, atol=1e-6)
