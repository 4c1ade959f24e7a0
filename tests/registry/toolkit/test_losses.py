"""Losses are sums and counts whose quotient is torch's mean, however the batch is split."""

from __future__ import annotations

import pytest
import torch

from polyhead.registry.toolkit.losses import (
    IGNORED,
    binary_cross_entropy,
    binary_cross_entropy_count,
    cross_entropy,
    cross_entropy_count,
)

WEIGHTS = [0.5, 2.0, 1.25]


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("ignored", [0, 3])
def test_cross_entropy_is_torchs_mean(draw, weights, ignored):
    logits_BL = torch.randn(11, 3, generator=draw)
    labels_B = torch.randint(3, (11,), generator=draw)
    labels_B[:ignored] = IGNORED
    total, targets = cross_entropy(logits_BL, labels_B, weights)
    weight = None if weights is None else torch.tensor(weights)
    torch.testing.assert_close(total / targets, torch.nn.CrossEntropyLoss(weight=weight)(logits_BL, labels_B))
    assert targets == cross_entropy_count(labels_B, weights)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_binary_cross_entropy_is_torchs_mean(draw, weights):
    logits_BL = torch.randn(7, 3, generator=draw)
    labels_BL = torch.randint(2, (7, 3), generator=draw).float()
    total, targets = binary_cross_entropy(logits_BL, labels_BL, weights)
    weight = None if weights is None else torch.tensor(weights)
    torch.testing.assert_close(total / targets, torch.nn.BCEWithLogitsLoss(pos_weight=weight)(logits_BL, labels_BL))
    assert targets == binary_cross_entropy_count(labels_BL) == 21


@pytest.mark.parametrize("cut", [1, 4, 10])
def test_no_split_of_a_batch_changes_the_mean(draw, cut):
    logits_BL, labels_B = torch.randn(11, 3, generator=draw), torch.randint(3, (11,), generator=draw)
    whole = cross_entropy(logits_BL, labels_B, WEIGHTS)
    parts = [
        cross_entropy(logits, labels, WEIGHTS)
        for logits, labels in zip(logits_BL.split([cut, 11 - cut]), labels_B.split([cut, 11 - cut]), strict=True)
    ]
    torch.testing.assert_close(
        sum(part.total for part in parts) / sum(part.targets for part in parts), whole.total / whole.targets
    )


def test_nothing_but_ignored_labels_counts_nothing():
    total, targets = cross_entropy(torch.zeros(2, 3), torch.full((2,), IGNORED), WEIGHTS)
    assert (float(total), float(targets)) == (0.0, 0.0)


def test_the_loss_has_a_gradient(draw):
    logits_BL = torch.randn(4, 3, generator=draw, requires_grad=True)
    cross_entropy(logits_BL, torch.tensor([0, 1, 2, 0]), None).total.backward()
    expected = torch.softmax(logits_BL.detach(), -1) - torch.eye(3)[[0, 1, 2, 0]]
    torch.testing.assert_close(logits_BL.grad, expected)
