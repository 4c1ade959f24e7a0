"""The toolkit's head over spans."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from polyhead.registry import HeadSpec
from polyhead.registry.toolkit.span_head import build_span_head


def test_every_token_gets_a_start_and_an_end_logit() -> None:
    head = build_span_head(SimpleNamespace(hidden_size=8), HeadSpec(2))
    hidden_BTD, mask_BT = torch.randn(3, 5, 8), torch.ones(3, 5, dtype=torch.long)
    start_BT, end_BT = head(hidden_BTD, mask_BT)
    assert start_BT.shape == end_BT.shape == (3, 5)
    torch.testing.assert_close(start_BT, hidden_BTD @ head.linear.weight[0])
    torch.testing.assert_close(end_BT, hidden_BTD @ head.linear.weight[1])
    (start_BT.sum() + 2 * end_BT.sum()).backward()
    assert head.linear.weight.grad.abs().min() > 0


def test_dropout_is_the_configs() -> None:
    config = SimpleNamespace(hidden_size=8, hidden_dropout_prob=0.3)
    assert build_span_head(config, HeadSpec(2)).dropout.p == 0.3
    assert build_span_head(SimpleNamespace(hidden_size=8), HeadSpec(2)).dropout.p == 0.0
