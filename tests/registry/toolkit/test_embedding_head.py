"""The embedding head pools as `sentence-transformers` does, in float32, on right-padded batches."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Pooling

from polyhead.registry.toolkit.embedding_head import POOLINGS, EmbeddingHead

THEIRS = {"mean": "mean", "cls": "cls", "last": "lasttoken", "max": "max"}


@pytest.fixture
def states() -> tuple[torch.Tensor, torch.Tensor]:
    mask_BT = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    return torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1)), mask_BT


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_that_of_sentence_transformers(states, pooling):
    hidden_BTD, mask_BT = states
    vector_BD, weight_B1 = EmbeddingHead(pooling)(hidden_BTD, mask_BT)
    theirs = Pooling(8, THEIRS[pooling])({"token_embeddings": hidden_BTD, "attention_mask": mask_BT})
    torch.testing.assert_close(vector_BD, theirs["sentence_embedding"])
    assert weight_B1.tolist() == [[5.0], [2.0], [1.0]]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_changes_nothing(states, pooling):
    hidden_BTD, mask_BT = states
    head = EmbeddingHead(pooling)
    alone, _ = head(hidden_BTD[1:2, :2], mask_BT[1:2, :2])
    torch.testing.assert_close(head(hidden_BTD, mask_BT)[0][1:2], alone)


def test_tokens_are_counted_exactly_in_bfloat16():
    _, weight_B1 = EmbeddingHead("mean")(torch.zeros(1, 301, 2, dtype=torch.bfloat16), torch.ones(1, 301).long())
    assert weight_B1.item() == 301


def test_it_has_no_parameters():
    assert list(EmbeddingHead("mean").parameters()) == []


def test_an_unknown_pooling_is_our_own_mistake():
    with pytest.raises(AssertionError):
        EmbeddingHead("sum")  # type: ignore[arg-type]
