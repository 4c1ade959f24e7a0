"""The toolkit's own head over a whole text: one state made of the tokens' states, dropout, one linear layer.

For architectures without such a class in ``transformers``, and for whoever prefers mean pooling.
Shapes: B batch, T tokens, D hidden width, L outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from polyhead.registry.contracts import HeadSpec


class PooledHead(nn.Module):
    """Score a text from the mean of its token states, or from the last one."""

    def __init__(self, width: int, size: int, dropout: float, *, last: bool = False) -> None:
        super().__init__()
        self.last = last
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, size)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden_BTD: torch.Tensor, mask_BT: torch.Tensor) -> tuple[torch.Tensor]:
        """Return logits ``[B, L]`` for states ``[B, T, D]`` and a mask ``[B, T]`` of real tokens."""
        if self.last:
            places_BT = torch.arange(mask_BT.shape[1], device=mask_BT.device) * (mask_BT != 0)
            pooled_BD = hidden_BTD.gather(1, places_BT.argmax(1)[:, None, None].expand(-1, 1, hidden_BTD.shape[2]))[
                :, 0
            ]
        else:
            weight_BT1 = mask_BT.to(hidden_BTD.dtype).unsqueeze(-1)
            pooled_BD = (hidden_BTD * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1.0)
        return (self.linear(self.dropout(pooled_BD)),)


def build_pooled_head(config: Any, spec: HeadSpec) -> nn.Module:
    """Return a `PooledHead` over the mean of the states that fits a ``transformers`` config."""
    return PooledHead(config.hidden_size, spec.size, _dropout(config))


def build_last_token_head(config: Any, spec: HeadSpec) -> nn.Module:
    """Return a `PooledHead` over the last real token's state: of a causal decoder, the one that saw the whole text."""
    return PooledHead(config.hidden_size, spec.size, _dropout(config), last=True)


def _dropout(config: Any) -> float:
    found = (getattr(config, name, None) for name in ("classifier_dropout", "hidden_dropout_prob"))
    return next((float(rate) for rate in found if rate is not None), 0.0)
