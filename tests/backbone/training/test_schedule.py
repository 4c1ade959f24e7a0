"""The learning rate by step is what transformers' schedules give."""

from __future__ import annotations

import pytest
import torch
import transformers

from polyhead.backbone.training.schedule import learning_rate, warmup_steps
from polyhead.configs.schema import TrainingConfig


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize(("warmup", "steps"), [(0, 7), (0.1, 45), (0.25, 10), (3, 20), (1, 2), (0.99, 3)])
def test_every_step_is_that_of_transformers(schedule: str, warmup: float, steps: int) -> None:
    training = TrainingConfig.model_validate({"schedule": schedule, "warmup": warmup, "learning_rate": 3e-4})
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    reference = transformers.get_scheduler(name, optimizer, warmup_steps(training, steps), steps)
    for step in range(steps):
        assert reference.get_last_lr()[0] == pytest.approx(learning_rate(training, step, steps), abs=1e-12), step
        optimizer.step()
        reference.step()


@pytest.mark.parametrize(
    ("warmup", "total", "steps"), [(0, 100, 0), (0.1, 100, 10), (0.1, 45, 5), (7, 100, 7), (1, 9, 1)]
)
def test_warmup_is_a_share_below_1_and_steps_from_1_on(warmup: float, total: int, steps: int) -> None:
    assert steps == warmup_steps(TrainingConfig(warmup=warmup), total)
