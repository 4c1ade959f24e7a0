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
