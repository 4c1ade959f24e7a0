"""Losses as sums and counts. Shapes: B batch, L labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from polyhead.registry.contracts import LossSum

IGNORED = -100
"""The label of what is no target: filled-up tokens."""


def cross_entropy(logits_BL: torch.Tensor, labels_B: torch.Tensor, weights: Sequence[float] | None) -> LossSum:
    """Return the (weighted) negative log-likelihood of the labels.

    The count is the sum of the targets' weights, so that sum / count is what
    ``torch.nn.CrossEntropyLoss(weight=...)`` gives with ``reduction="mean"``.
    """
    weight_L = None if weights is None else torch.tensor(weights, device=logits_BL.device, dtype=logits_BL.dtype)
    total = functional.cross_entropy(logits_BL, labels_B, weight=weight_L, reduction="sum", ignore_index=IGNORED)
    return LossSum(total, cross_entropy_count(labels_B, weights))


def cross_entropy_count(labels_B: torch.Tensor, weights: Sequence[float] | None) -> torch.Tensor:
    """Return how many targets there are, each counted by its label's weight."""
    targets = labels_B[labels_B != IGNORED]
    if weights is None:
        return torch.tensor(float(targets.numel()), device=labels_B.device)
    return torch.tensor(weights, device=labels_B.device)[targets].sum()


def binary_cross_entropy(logits_BL: torch.Tensor, labels_BL: torch.Tensor, weights: Sequence[float] | None) -> LossSum:
    """Return the binary cross-entropy over all labels; ``weights`` multiply the positive targets of each label.

    Sum / count is what ``torch.nn.BCEWithLogitsLoss(pos_weight=...)`` gives with ``reduction="mean"``.
    """
    weight_L = None if weights is None else torch.tensor(weights, device=logits_BL.device, dtype=logits_BL.dtype)
    total = functional.binary_cross_entropy_with_logits(logits_BL, labels_BL, pos_weight=weight_L, reduction="sum")
    return LossSum(total, binary_cross_entropy_count(labels_BL))


def binary_cross_entropy_count(labels_BL: torch.Tensor) -> torch.Tensor:
    """Return how many targets there are: every label of every text."""
    return torch.tensor(float(labels_BL.numel()), device=labels_BL.device)


def ordinal_targets(ranks: Sequence[int]) -> list[list[float]]:
    """Return, for each label as the true one, the share of the target that every label gets: ``[L, L]``.

    softmax of minus the squared distance of the ranks: Díaz and Marathe 2019, Soft Labels for Ordinal Regression,
    equation 3. Near misses cost less than far ones, and the head stays one of a logit a label.
    """
    ranks_L = torch.tensor(ranks, dtype=torch.float64)
    targets_LL: list[list[float]] = torch.softmax(-((ranks_L[:, None] - ranks_L[None, :]) ** 2), dim=1).tolist()
    return targets_LL


def soft_cross_entropy(
    logits_BL: torch.Tensor,
    labels_B: torch.Tensor,
    targets_LL: Sequence[Sequence[float]],
    weights: Sequence[float] | None,
) -> LossSum:
    """Return the (weighted) cross-entropy with the distribution that stands for each label.

    It is counted as `cross_entropy` is.
    """
    counted_B = labels_B != IGNORED
    known_B = labels_B[counted_B]
    wanted_BL = torch.tensor(targets_LL, device=logits_BL.device, dtype=logits_BL.dtype)[known_B]
    losses_B = -(wanted_BL * functional.log_softmax(logits_BL[counted_B], dim=-1)).sum(-1)
    if weights is not None:
        losses_B = losses_B * torch.tensor(weights, device=logits_BL.device, dtype=logits_BL.dtype)[known_B]
    return LossSum(losses_B.sum(), cross_entropy_count(labels_B, weights))


def squared_error(outputs_B1: torch.Tensor, targets_B: torch.Tensor) -> LossSum:
    """Return the squared error of one number a text; sum / count is ``torch.nn.MSELoss()``."""
    total = functional.mse_loss(outputs_B1.squeeze(-1), targets_B.to(outputs_B1.dtype), reduction="sum")
    return LossSum(total, number_count(targets_B))


def number_count(targets_B: torch.Tensor) -> torch.Tensor:
    """Return how many numbers are to be told."""
    return torch.tensor(float(targets_B.numel()), device=targets_B.device)
