"""The pooled head: padding has no say, dropout is the config's."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig

from polyhead.registry import HeadSpec
from polyhead.registry.toolkit.pooled_head import PooledHead, build_last_token_head, build_pooled_head


def test_it_scores_the_mean_of_the_real_tokens():
    head = PooledHead(4, 2, dropout=0.0)
    hidden_BTD = torch.randn(2, 3, 4)
    (logits_BL,) = head(hidden_BTD, torch.tensor([[1, 1, 0], [1, 1, 1]]))
    expected = head.linear(torch.stack([hidden_BTD[0, :2].mean(0), hidden_BTD[1].mean(0)]))
    torch.testing.assert_close(logits_BL, expected)


def test_padding_has_no_say():
    head = PooledHead(4, 2, dropout=0.0)
    hidden_BTD = torch.randn(1, 5, 4)
    padded = torch.cat([hidden_BTD, torch.full((1, 3, 4), 1e4)], dim=1)
    (expected,) = head(hidden_BTD, torch.ones(1, 5, dtype=torch.long))
    (found,) = head(padded, torch.tensor([[1] * 5 + [0] * 3]))
    torch.testing.assert_close(found, expected)


def test_a_text_without_real_tokens_gives_numbers():
    (logits_BL,) = PooledHead(4, 2, dropout=0.0)(torch.randn(1, 2, 4), torch.zeros(1, 2, dtype=torch.long))
    assert torch.isfinite(logits_BL).all()


def test_half_precision_stays_half():
    head = PooledHead(4, 2, dropout=0.0).bfloat16()
    (logits_BL,) = head(torch.randn(1, 2, 4, dtype=torch.bfloat16), torch.ones(1, 2, dtype=torch.long))
    assert logits_BL.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"classifier_dropout": 0.3, "hidden_dropout_prob": 0.2}, 0.3),
        ({"classifier_dropout": 0.0, "hidden_dropout_prob": 0.2}, 0.0),
        ({"classifier_dropout": None, "hidden_dropout_prob": 0.2}, 0.2),
    ],
)
def test_it_fits_the_config(settings, expected):
    head = build_pooled_head(BertConfig(hidden_size=16, **settings), HeadSpec(size=5))
    assert (head.linear.in_features, head.linear.out_features, head.dropout.p) == (16, 5, expected)
    assert head.linear.bias.tolist() == [0.0] * 5


def test_the_last_real_token_speaks_for_a_decoder():
    head = build_last_token_head(BertConfig(hidden_size=4, hidden_dropout_prob=0.0), HeadSpec(size=2))
    hidden_BTD = torch.randn(3, 4, 4)
    (logits_BL,) = head(hidden_BTD, torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]]))
    expected = head.linear(torch.stack([hidden_BTD[0, 1], hidden_BTD[1, 3], hidden_BTD[2, 2]]))
    torch.testing.assert_close(logits_BL, expected)
