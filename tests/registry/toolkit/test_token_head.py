"""The toolkit's token head is dropout and one linear layer over each token."""

from __future__ import annotations

import pytest
import torch
import transformers

from polyhead.registry import HeadSpec
from polyhead.registry.toolkit.token_head import build_token_head


def test_each_token_is_scored_by_itself() -> None:
    config = transformers.BartConfig(d_model=8)
    head = build_token_head(config, HeadSpec(size=3)).eval()
    hidden_BTD, mask_BT = torch.randn(2, 5, 8), torch.ones(2, 5)
    (logits_BTL,) = head(hidden_BTD, mask_BT)
    assert logits_BTL.shape == (2, 5, 3)
    torch.testing.assert_close(head(hidden_BTD[:, 2:3], mask_BT[:, 2:3])[0], logits_BTL[:, 2:3])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (transformers.BertConfig(hidden_dropout_prob=0.3), 0.3),
        (transformers.BertConfig(classifier_dropout=0.2, hidden_dropout_prob=0.3), 0.2),
        (transformers.T5Config(dropout_rate=0.4), 0.0),
        (transformers.MarianConfig(classifier_dropout=None, dropout=0.5), 0.5),
        (transformers.LlamaConfig(), 0.0),
    ],
)
def test_dropout_is_the_configs(config: transformers.PreTrainedConfig, expected: float) -> None:
    assert build_token_head(config, HeadSpec(size=2)).dropout.p == expected
