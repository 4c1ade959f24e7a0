"""The toolkit's own head over spans: dropout, one linear layer that scores each token as a start and as an end.

For architectures without a question-answering class in ``transformers``.
Shapes: B batch, T tokens, D hidden width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from polyhead.registry.contracts import HeadSpec


class SpanHead(nn.Module):
    """Score every token as the first and as the last of a span."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, 2)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden_BTD: torch.Tensor, mask_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return start logits and end logits, ``[B, T]`` each, for states ``[B, T, D]``.

        The mask of real tokens ``[B, T]`` is not needed: which tokens may be chosen is the loss's and the decoding's
        affair, as it is with the heads of ``transformers``.
        """
        del mask_BT
        start_BT, end_BT = self.linear(self.dropout(hidden_BTD)).unbind(-1)
        return start_BT.contiguous(), end_BT.contiguous()


def build_span_head(config: Any, spec: HeadSpec) -> nn.Module:  # noqa: ARG001 - the contract's form
    """Return a `SpanHead` that fits a ``transformers`` config."""
    found = (getattr(config, name, None) for name in ("classifier_dropout", "hidden_dropout_prob"))
    dropout = next((rate for rate in found if rate is not None), 0.0)
    return SpanHead(config.hidden_size, dropout)
