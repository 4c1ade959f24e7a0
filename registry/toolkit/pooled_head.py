"""The toolkit's own head over a whole text: mean of the real tokens' states, dropout, one linear layer.

For architectures without such a class in ``transformers``, and for whoever prefers mean pooling.
Shapes: B batch, T tokens, D hidden width, L outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from polyhead.registry.contracts import HeadSpec


class PooledHead(nn.Module):
    """Score a text from the mean of its token states."""

    def __init__(self, width: int, size: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, size)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden_BTD: torch.Tensor, mask_BT: torch.Tensor) -> tuple[torch.Tensor]:
        """Return logits ``[B, L]`` for states ``[B, T, D]`` and a mask ``[B, T]`` of real tokens."""
        weight_BT1 = mask_BT.to(hidden_BTD.dtype).unsqueeze(-1)
        mean_BD = (hidden_BTD * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1.0)
        return (self.linear(self.dropout(mean_BD)),)


def build_pooled_head(config: Any, spec: HeadSpec) -> nn.Module:
    """Return a `PooledHead` that fits a ``transformers`` config."""
    found = (getattr(config, name, None) for name in ("classifier_dropout", "hidden_dropout_prob"))
    dropout = next((rate for rate in found if rate is not None), 0.0)
    return PooledHead(config.hidden_size, spec.size, dropout)
