"""The parameters of the head: a linear layer over each token, and the scores of tags beside one another.

Shapes: B batch, T tokens, D hidden width, L tags, C = L * L + 2 * L.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from polyhead.registry import HeadSpec
from polyhead.registry.toolkit.token_head import build_token_head

SPEED = 10.0
"""How much faster the scores of transitions learn than everything else: at the learning rate of a backbone, the few
steps of a fine-tuning would leave them where they begin."""


class CrfHead(nn.Module):
    """Give the emissions, and the transitions once for each text, so that both go to the loss as plain tensors."""

    def __init__(self, emit: nn.Module, tags: int) -> None:
        super().__init__()
        self.emit = emit
        self.chain_C = nn.Parameter(torch.zeros(tags * tags + 2 * tags))

    def forward(
        self, hidden_BTD: torch.Tensor, mask_BT: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return emissions ``[B, T, L]``, the chain ``[B, C]`` and the mask ``[B, T]``."""
        (emissions_BTL,) = self.emit(hidden_BTD, mask_BT)
        return emissions_BTL, (SPEED * self.chain_C).expand(len(hidden_BTD), -1), mask_BT


def build_crf_head(config: Any, spec: HeadSpec) -> nn.Module:
    """Return a `CrfHead` that fits a ``transformers`` config."""
    return CrfHead(build_token_head(config, spec), spec.size)
