"""Run a model over a data set and decode each example, on any number of processes.

Examples, not windows, are shared out, so that whoever decodes an example has all its windows. Every process brings
the same number of batches (ZeRO-3 and pipelines wait for one another), with stand-ins where it has fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from polyhead.backbone.data.batching import Batch, Collator, Group, group_by_length
from polyhead.backbone.inference.writing import write
from polyhead.backbone.model.stages import Stage, Tensors
from polyhead.backbone.parallel.engine import Finish, Spread, as_float32
from polyhead.backbone.parallel.processes import World
from polyhead.registry import EncodeSettings, Example, Feature, Generated, Output, Task, TaskSetup, Window

BATCHES_AT_ONCE = 16

Write = Callable[[Sequence[Feature]], Sequence[tuple[Generated, ...]]]
"""Prompts -> what the model writes on from each, best first."""
Progress = Callable[[int], None]


class Forward(Protocol):
    """A training engine, or a model that is only used."""

    stage: Stage
    spread: Spread

    def forward(self, batches: Sequence[Batch], finish: Finish) -> list[Any] | None:
        """Return what ``finish`` makes of the outputs and labels of each batch; None on ranks without the head."""
        ...


@dataclass(frozen=True)
class Inference:
    """What a model said of a data set."""

    predictions: list[Any]
    """One for each example, in order, on every process; none of a task that writes text, where nothing was written."""
    loss: float | None
    """Mean over all targets; None where the examples bear no labels."""
    setup: TaskSetup
    """The setup that the predictions were decoded with: calibrated, where that was asked for."""


class LoadedModel:
    """A whole model on this process, for evaluation and prediction."""

    def __init__(self, stage: Stage, world: World) -> None:
        self.stage = stage.to(world.device).eval()
        self.spread = Spread(world.rank, world.size, 0, 1)
        self.device = world.device

    def forward(self, batches: Sequence[Batch], finish: Finish) -> list[Any] | None:
        """Run the model over the batches."""
        found = []
        with torch.inference_mode():
            for batch in batches:
                moved = batch.to(self.device)
                found.append(finish(as_float32(self.stage(moved.inputs)), moved.labels))
        return found


@dataclass(frozen=True)
class Reader:
    """How the examples of a task are read by a model: what stays the same over all data sets of a run."""

    task: Task[Any, Any]
    settings: EncodeSettings
    max_tokens: int
    """Padded tokens in one batch."""

    @property
    def setup(self) -> TaskSetup:
        """Return the task's setup."""
        return self.settings.setup


def run_inference(
    model: Forward,
    reader: Reader,
    collator: Collator,
    examples: Sequence[Example],
    world: World,
    *,
    write: Write | None = None,
    calibrate: bool = False,
    progress: Progress | None = None,
) -> Inference:
    """Return predictions for all examples, and the loss where they bear labels.

    Args:
        model: Gives outputs for batches.
        reader: The task and how it reads.
        collator: Holds the examples' features.
        examples: The examples that the features came from.
        world: This process and its peers.
        write: Writes text for the tasks that do; without it they give no predictions, only the loss.
        calibrate: Let the task choose its thresholds on these examples.
        progress: Called with the number of features that each step went through.

    """
    task, setup, spread = reader.task, reader.setup, model.spread
    windows_of = collator.features.windows_of_examples(len(examples))
    together = _together(reader, collator)
    share = together or 1  # examples that the loss compares go to one process, however many there are
    mine = [index for index in range(len(examples)) if index // share % spread.data_size == spread.data_rank]
    units = _units([tuple(windows_of[index]) for index in mine], together)
    outputs, totals = _Outputs(model, reader, collator, world).of(units, progress)
    total, targets = world.sum(totals)
    loss = total / targets if targets else None
    if task.encode_prompts is not None and write is None:
        return Inference([], loss, setup)
    windows: dict[int, list[Window]] = {}
    if model.stage.is_last:
        windows = {
            index: [Window(collator.features.feature(at), outputs[at]) for at in windows_of[index]] for index in mine
        }
        if task.encode_prompts is not None and write is not None:
            _add_written(windows, reader, examples, write)

    def decode(setup: TaskSetup) -> list[Any]:
        decoded = [(index, task.decode(examples[index], found, setup)) for index, found in windows.items()]
        gathered = dict(pair for part in world.gather(decoded) for pair in part)
        return [gathered[index] for index in range(len(examples))]

    predictions = decode(setup)
    if calibrate and task.calibrate is not None:
        setup = task.calibrate(predictions, examples, setup)
        predictions = decode(setup)
    return Inference(predictions, loss, setup)


def _together(reader: Reader, collator: Collator) -> int | None:
    """Return how many examples the loss needs side by side; None where each feature stands alone, or none is needed."""
    task = reader.task
    return task.together(reader.setup) if task.together is not None and collator.has_labels else None


def _units(windows: Sequence[Group], together: int | None) -> list[Group]:
    """Return the features that go whole into a batch: single ones, or those of so many examples."""
    if together is None:
        return [(window,) for found in windows for window in found]
    chunks = [windows[start : start + together] for start in range(0, len(windows), together)]
    return [tuple(window for found in chunk for window in found) for chunk in chunks]


def writer_for(
    reader: Reader,
    stage: Stage,
    device: torch.device,
    *,
    progress: Progress | None = None,
    stream: Callable[[str], None] | None = None,
) -> Write:
    """Return what writes text with a whole model, as the task's settings say.

    ``stream`` is given the text piece by piece while it is written.
    """
    task, settings = reader.task, reader.settings
    assert task.generation is not None

    def writer(prompts: Sequence[Feature]) -> Sequence[tuple[Generated, ...]]:
        assert task.generation is not None
        training = stage.training
        stage.eval()
        try:
            return write(
                stage.model,
                settings.tokenizer,
                prompts,
                task.generation(reader.setup),
                family=settings.family,
                max_tokens=reader.max_tokens,
                device=device,
                progress=progress,
                stream=stream,
            )
        finally:
            stage.train(training)

    return writer


def _add_written(windows: dict[int, list[Window]], reader: Reader, examples: Sequence[Example], write: Write) -> None:
    """Add the windows of the prompts, with what the model wrote, behind those of the features."""
    assert reader.task.encode_prompts is not None
    mine = list(windows)
    prompts = reader.task.encode_prompts([examples[index] for index in mine], reader.settings)
    for prompt, written in zip(prompts, write(prompts), strict=True):
        windows[mine[prompt.example]].append(Window(prompt, {}, written))


class _Outputs:
    """Runs features through a model and keeps what the task wants of its outputs."""

    def __init__(self, model: Forward, reader: Reader, collator: Collator, world: World) -> None:
        self._model, self._collator, self._world, self._reader = model, collator, world, reader
        self._task, self._setup = reader.task, reader.setup
        reduction = reader.task.reduction
        self._names = reduction.outputs if reduction is not None else model.stage.spec.outputs

    def of(
        self, units: Sequence[Group], progress: Progress | None
    ) -> tuple[dict[int, dict[str, Any]], tuple[float, float]]:
        """Return the outputs by feature and the loss as (sum, targets), of this process's features."""
        outputs: dict[int, dict[str, Any]] = {}
        total = targets = 0.0
        for batches in self._rounds(units):
            for batch, found in zip(batches, self._model.forward(batches, self._finish) or (), strict=False):
                if batch.weight:
                    kept, loss_total, loss_targets = found
                    outputs |= self._by_feature(batch, kept)
                    total, targets = total + loss_total, targets + loss_targets
            if progress is not None:
                progress(sum(len(batch.features) for batch in batches if batch.weight))
        return outputs, (total, targets)

    def _rounds(self, units: Sequence[Group]) -> Iterator[list[Batch]]:
        features = self._collator.features
        sizes = np.array([features.lengths[list(unit)].max() * len(unit) for unit in units], dtype=np.int64)
        groups = group_by_length(range(len(units)), sizes, self._reader.max_tokens)
        rounds = [(tuple(feature for unit in sorted(group) for feature in units[unit]), 1.0) for group in groups]
        rounds += [((0,), 0.0)] * (self._world.max(len(groups)) - len(groups))
        for start in range(0, len(rounds), BATCHES_AT_ONCE):
            yield [
                self._collator.collate(group, with_labels=self._collator.has_labels, weight=weight)
                for group, weight in rounds[start : start + BATCHES_AT_ONCE]
            ]

    def _finish(self, outputs: Tensors, labels: Tensors) -> tuple[Tensors, float, float]:
        """Compute the loss and shrink the outputs where they lie, then bring them to the CPU."""
        total = targets = 0.0
        if labels:
            loss = self._task.loss(outputs, labels, self._setup)
            total, targets = float(loss.total), float(loss.targets)
        if self._task.reduction is not None:
            outputs = self._task.reduction.apply(outputs, labels, self._setup)
        return tuple(output.cpu() for output in outputs), total, targets

    def _by_feature(self, batch: Batch, tensors: Tensors) -> dict[int, dict[str, Any]]:
        """Take the outputs of a batch apart: one array per feature and output, padding removed."""
        lengths = self._collator.features.token_counts
        arrays = {output.name: tensor.numpy() for output, tensor in zip(self._names, tensors, strict=True)}

        def row(output: Output, line: int, length: int) -> Any:
            values = arrays[output.name][line]
            return values[:length] if output.per == "token" else values

        return {
            position: {output.name: row(output, line, lengths[position]) for output in self._names}
            for line, position in enumerate(batch.features)
        }
