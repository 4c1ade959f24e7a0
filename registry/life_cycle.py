"""What the hooks of a run's life are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class RunStart:
    """A training run begins (or goes on)."""

    folder: Path
    task: str
    config: Mapping[str, Any]
    total_steps: int
    first_step: int
    """0, or the number of steps already done where the run was resumed."""
    rank: int
    world_size: int


@dataclass(frozen=True)
class StepEnd:
    """One optimizer step is done."""

    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float | None
    tokens: int
    """Real (unpadded) tokens of the global batch."""
    seconds: float


@dataclass(frozen=True)
class EvaluationEnd:
    """An evaluation is done."""

    split: str
    step: int | None
    """The training step, or None for an evaluation outside training."""
    values: Mapping[str, float]
    examples: int
    best: bool = False


RunStatus = Literal["completed", "stopped-early", "interrupted", "failed"]
"""How a run ended."""


@dataclass(frozen=True)
class RunEnd:
    """A training run is over."""

    status: RunStatus
    step: int
    seconds: float
    message: str = ""
