"""A head without parameters that makes one vector of a text, as `sentence-transformers` pools it.

It gives the vector of one window and how many tokens stand behind it, so that whoever merges the windows of a long
text can weigh them. Padding is on the right. Shapes: B batch, T tokens, D hidden width.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn

Pooling = Literal["mean", "cls", "last", "max"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
EMBEDDING, WEIGHT = "embedding", "weight"
"""The names of the head's outputs."""


class EmbeddingHead(nn.Module):
    """Pool the states of a text's real tokens into one vector."""

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        assert pooling in POOLINGS, pooling
        self.pooling = pooling

    def forward(self, hidden_BTD: torch.Tensor, mask_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return vectors ``[B, D]`` and token counts ``[B, 1]``, in float32 whatever the model computes in."""
        hidden_BTD = hidden_BTD.float()  # bfloat16 cannot count beyond 256
        weight_B1 = mask_BT.sum(1, keepdim=True).float()
        return self._pooled(hidden_BTD, mask_BT, weight_B1), weight_B1

    def _pooled(self, hidden_BTD: torch.Tensor, mask_BT: torch.Tensor, weight_B1: torch.Tensor) -> torch.Tensor:
        if self.pooling == "mean":
            return (hidden_BTD * mask_BT.unsqueeze(-1)).sum(1) / weight_B1.clamp(min=1.0)
        if self.pooling == "max":
            return hidden_BTD.masked_fill(mask_BT.unsqueeze(-1) == 0, torch.finfo(torch.float32).min).amax(1)
        if self.pooling == "cls":
            return hidden_BTD[:, 0]
        last_B = weight_B1.squeeze(1).long().clamp(min=1) - 1
        return hidden_BTD[torch.arange(len(hidden_BTD), device=hidden_BTD.device), last_B]
