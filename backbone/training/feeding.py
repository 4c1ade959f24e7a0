"""The micro-batches of each step, made while the step before still computes.

What a step trains on is a function of its number, so that a run can be resumed and spread in any way; who makes it,
the training process itself or others beside it, changes nothing.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from polyhead.backbone.data.batching import Batch, plan_epoch, split_batch
from polyhead.backbone.parallel.engine import Spread
from polyhead.backbone.training.preparation import Prepared
from polyhead.configs.schema import RunConfig

MOST_WORKERS = 4
"""Beside each training process on a GPU, where the configuration says nothing: more seldom help."""


@dataclass(frozen=True)
class StepBatches:
    """What this rank trains on in one step: its part of the global batch."""

    micro_batches: list[Batch]
    targets: float
    """What the loss of this part is a sum over."""
    tokens: int

    def pin_memory(self) -> StepBatches:
        """Return the same in memory that a GPU copies from while it computes; torch's loader calls it."""
        return StepBatches([batch.pin_memory() for batch in self.micro_batches], self.targets, self.tokens)


class Steps(Dataset[StepBatches]):
    """What each step trains on, by its number from 0 on."""

    def __init__(self, config: RunConfig, prepared: Prepared, spread: Spread) -> None:
        self._config, self._prepared, self._spread = config, prepared, spread
        self.steps_per_epoch = math.ceil(len(prepared.items.members) / config.training.batch_size)
        self._epoch_plan: tuple[int, Sequence[tuple[int, ...]]] = (-1, [])

    def __getitem__(self, step: int) -> StepBatches:
        """Return this rank's part of the global batch of a step."""
        config, prepared, spread = self._config, self._prepared, self._spread
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._epoch_plan[0] != epoch:
            training = config.training
            plan = plan_epoch(prepared.items.lengths, training.batch_size, seed=training.seed, epoch=epoch)
            self._epoch_plan = (epoch, plan)
        chosen = self._epoch_plan[1][index]
        batches = micro_batches(chosen, prepared, config, spread.data_size, spread.data_rank, epoch=epoch)
        return StepBatches(batches, count_targets(batches, prepared), sum(batch.tokens for batch in batches))

    def loaded(self, first: int, end: int, device: torch.device) -> Iterable[StepBatches]:
        """Give the steps from ``first`` on, before ``end``; worker processes make them ahead where there are any."""
        workers = self._config.data.workers
        on_gpu = device.type == "cuda"
        if workers is None:
            workers = _spare_cores() if on_gpu else 0
        return DataLoader(
            self,
            batch_size=None,
            sampler=range(first, end),
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
            worker_init_fn=_leave_signals_to_the_trainer,
            pin_memory=on_gpu,
        )


def micro_batches(
    chosen: Sequence[int], prepared: Prepared, config: RunConfig, data_size: int, data_rank: int, *, epoch: int
) -> list[Batch]:
    """Return one rank's part of the global batch of these items of the training data."""
    units = prepared.items.units(chosen)
    sizes = np.array([unit.tokens for unit in units])
    parts = split_batch(range(len(units)), sizes, ranks=data_size, max_tokens=config.data.max_tokens)
    return [
        prepared.train.collator.collate_rows(
            [row for unit in sorted(part) or (0,) for row in units[unit].rows],  # a smaller group stays last
            with_labels=True,
            weight=1.0 if part else 0.0,
            draw=(config.training.seed, epoch),
        )
        for part in parts[data_rank]
    ]


def count_targets(batches: Sequence[Batch], prepared: Prepared) -> float:
    """Return how many targets the loss of these batches is a sum over; stand-ins count for nothing."""
    return sum(float(prepared.task.count_targets(batch.labels, prepared.setup)) * batch.weight for batch in batches)


def is_lost_worker(error: BaseException) -> bool:
    """Whether an error is torch's word for a process that made batches, and is gone."""
    return isinstance(error, RuntimeError) and "DataLoader worker" in str(error)


def _leave_signals_to_the_trainer(worker: int) -> None:  # noqa: ARG001 - the form that torch asks for
    """Go on through what asks a whole process group to stop: the trainer still wants its batches for a checkpoint."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)


def _spare_cores() -> int:
    """Return how many worker processes this training process has cores for."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MOST_WORKERS, (os.cpu_count() or 1) // here - 1))
