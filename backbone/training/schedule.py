"""Learning rate by step: a function without state, so that a resumed run needs none."""

from __future__ import annotations

import math

from polyhead.configs.schema import TrainingConfig


def warmup_steps(training: TrainingConfig, total_steps: int) -> int:
    """Return the steps of the rising part: a share of the run below 1, a number of steps from 1 on."""
    return math.ceil(training.warmup * total_steps) if training.warmup < 1 else int(training.warmup)


def learning_rate(training: TrainingConfig, step: int, total_steps: int) -> float:
    """Return the learning rate of a step (the first is 0): linear rise, then constant, linear fall or half a cosine.

    The formulas are those of ``transformers.get_scheduler``.
    """
    rising = warmup_steps(training, total_steps)
    if step < rising:
        return training.learning_rate * step / max(1, rising)
    progress = min(1.0, (step - rising) / max(1, total_steps - rising))
    factors = {
        "constant": 1.0,
        "linear": 1.0 - progress,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)),
    }
    return training.learning_rate * factors[training.schedule]
