"""The optimizer of a stage: AdamW or plain gradient descent, with weight decay where it belongs."""

from __future__ import annotations

from typing import Any

import torch

from polyhead.backbone.model.stages import Stage
from polyhead.configs.schema import RunConfig
from polyhead.registry import RunError


def make_optimizer(stage: Stage, config: RunConfig) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name, with weight decay on matrices only: not on biases and norms."""
    training = config.training
    matrices = [parameter for parameter in stage.parameters() if parameter.requires_grad and parameter.ndim > 1]
    vectors = [parameter for parameter in stage.parameters() if parameter.requires_grad and parameter.ndim <= 1]
    every: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": training.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = _of_one_number(every) if stage.cut is not None else [group for group in every if group["params"]]
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=training.learning_rate)
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=training.betas, eps=training.epsilon, fused=True)


def _of_one_number(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fill an empty group with a parameter of the other one, decayed as before.

    DeepSpeed sums gradient norms over a pipeline's stages group by group, so every stage needs the same number of them;
    and a stage may have matrices alone (T5 has no biases, LoRA trains none).

    Raises:
        RunError: The stage has one parameter that trains.

    """
    full, empty = sorted(groups, key=lambda group: -len(group["params"]))
    if empty["params"]:
        return groups
    if len(full["params"]) < 2:
        raise RunError("a pipeline stage has fewer than two parameters that train: use fewer stages, or no pipeline")
    first, *rest = full["params"]
    return [{**full, "params": rest}, {**full, "params": [first]}]
