"""The toolkit's own head over tokens: dropout and one linear layer, for architectures without such a class.

Shapes: B batch, T tokens, D hidden width, L outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from polyhead.registry.contracts import HeadSpec


class TokenHead(nn.Module):
    """Score each token from its own state."""

    def __init__(self, width: int, size: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, size)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden_BTD: torch.Tensor, mask_BT: torch.Tensor) -> tuple[torch.Tensor]:
        """Return logits ``[B, T, L]`` for states ``[B, T, D]``; those of padding mean nothing."""
        del mask_BT
        return (self.linear(self.dropout(hidden_BTD)),)


def build_token_head(config: Any, spec: HeadSpec) -> nn.Module:
    """Return a `TokenHead` that fits a ``transformers`` config."""
    names = ("classifier_dropout", "hidden_dropout_prob", "dropout", "dropout_rate")
    found = (getattr(config, name, None) for name in names)
    dropout = next((float(rate) for rate in found if rate is not None), 0.0)
    return TokenHead(config.hidden_size, spec.size, dropout)
