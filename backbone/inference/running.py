"""Run a model over a data set and decode each example, on any number of processes.

Examples, not windows, are shared out, so that whoever decodes an example has all its windows. Every process brings
the same number of batches (ZeRO-3 and pipelines wait for one another), with stand-ins where it has fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from polyhead.backbone.data.batching import Batch, Collator, group_by_length
from polyhead.backbone.model.stages import Stage, Tensors
from polyhead.backbone.parallel.engine import Spread
from polyhead.backbone.parallel.processes import World
from polyhead.registry import Example, Output, Task, TaskSetup, Window

BATCHES_AT_ONCE = 16


class Forward(Protocol):
    """A training engine, or a model that is only used."""

    stage: Stage
    spread: Spread

    def forward(self, batches: Sequence[Batch]) -> list[Tensors] | None:
        """Return the outputs for each batch on the CPU in float32, None on ranks without the head."""
        ...


@dataclass(frozen=True)
class Inference:
    """What a model said of a data set."""

    predictions: list[Any]
    """One for each example, in order, on every process."""
    loss: float | None
    """Mean over all targets; None where the examples bear no labels."""


class LoadedModel:
    """A whole model on this process, for evaluation and prediction."""

    def __init__(self, stage: Stage, world: World) -> None:
        self.stage = stage.to(world.device).eval()
        self.spread = Spread(world.rank, world.size, 0, 1)
        self._device = world.device

    def forward(self, batches: Sequence[Batch]) -> list[Tensors] | None:
        """Run the model over the batches."""
        with torch.inference_mode():
            return [
                tuple(output.float().cpu() for output in self.stage(batch.to(self._device).inputs)) for batch in batches
            ]


def run_inference(
    model: Forward,
    task: Task[Any, Any],
    setup: TaskSetup,
    collator: Collator,
    examples: Sequence[Example],
    world: World,
    *,
    max_tokens: int,
    progress: Callable[[int], None] | None = None,
) -> Inference:
    """Return predictions for all examples, and the loss where they bear labels.

    Args:
        model: Gives outputs for batches.
        task: Decodes, and computes the loss.
        setup: The task's setup.
        collator: Holds the examples' features.
        examples: The examples that the features came from.
        world: This process and its peers.
        max_tokens: Padded tokens in one batch.
        progress: Called with the number of features that each step went through.

    """
    spread, windows_of = model.spread, collator.features.windows_of_examples(len(examples))
    mine = [index for index in range(len(examples)) if index % spread.data_size == spread.data_rank]
    positions = [window for index in mine for window in windows_of[index]]
    outputs, totals = _outputs(model, task, setup, collator, positions, world, max_tokens, progress)
    decoded: list[tuple[int, Any]] = []
    if model.stage.is_last:
        for index in mine:
            windows = [Window(collator.features.feature(at), outputs[at]) for at in windows_of[index]]
            decoded.append((index, task.decode(examples[index], windows, setup)))
    gathered = dict(pair for part in world.gather(decoded) for pair in part)
    total, targets = world.sum(totals)
    return Inference([gathered[index] for index in range(len(examples))], total / targets if targets else None)


def _outputs(
    model: Forward,
    task: Task[Any, Any],
    setup: TaskSetup,
    collator: Collator,
    positions: Sequence[int],
    world: World,
    max_tokens: int,
    progress: Callable[[int], None] | None,
) -> tuple[dict[int, dict[str, Any]], tuple[float, float]]:
    """Return the outputs by feature and the loss as (sum, targets), of this process's features."""
    features = collator.features
    groups = group_by_length(positions, features.lengths, max_tokens)
    rounds = [(group, 1.0) for group in groups]
    rounds += [((0,), 0.0)] * (world.max(len(groups)) - len(groups))
    outputs: dict[int, dict[str, Any]] = {}
    total = targets = 0.0
    for start in range(0, len(rounds), BATCHES_AT_ONCE):
        chunk = rounds[start : start + BATCHES_AT_ONCE]
        batches = [collator.collate(group, with_labels=features.has_labels, weight=weight) for group, weight in chunk]
        for batch, tensors in zip(batches, model.forward(batches) or (), strict=False):
            if batch.weight:
                outputs |= _by_feature(batch, tensors, model.stage.spec.outputs, features.lengths)
                if features.has_labels:
                    loss = task.loss(tensors, batch.labels, setup)
                    total, targets = total + float(loss.total), targets + float(loss.targets)
        if progress is not None:
            progress(sum(len(batch.features) for batch in batches if batch.weight))
    return outputs, (total, targets)


def _by_feature(batch: Batch, tensors: Tensors, outputs: Sequence[Output], lengths: Any) -> dict[int, dict[str, Any]]:
    """Take the outputs of a batch apart: one array per feature and output, padding removed."""
    arrays = {output.name: tensor.numpy() for output, tensor in zip(outputs, tensors, strict=True)}
    return {
        position: {
            output.name: arrays[output.name][line][: lengths[position]]
            if output.per == "token"
            else arrays[output.name][line]
            for output in outputs
        }
        for line, position in enumerate(batch.features)
    }
