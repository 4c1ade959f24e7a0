"""The optimizer of a stage: AdamW, with weight decay where it belongs."""

from __future__ import annotations

from typing import Any

import torch

from polyhead.backbone.model.stages import Stage
from polyhead.configs.schema import RunConfig


def make_optimizer(stage: Stage, config: RunConfig) -> torch.optim.Optimizer:
    """Return AdamW with weight decay on matrices only: not on biases and norms."""
    training = config.training
    matrices = [parameter for parameter in stage.parameters() if parameter.requires_grad and parameter.ndim > 1]
    vectors = [parameter for parameter in stage.parameters() if parameter.requires_grad and parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": training.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=training.learning_rate,
        betas=training.betas,
        eps=training.epsilon,
        fused=True,
    )
