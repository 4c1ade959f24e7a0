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
    number_count,
    ordinal_targets,
    soft_cross_entropy,
    squared_error,
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


def test_ordinal_targets_fall_off_with_the_squared_distance():
    targets = torch.tensor(ordinal_targets([1, 2, 5]))
    torch.testing.assert_close(targets.sum(1), torch.ones(3))
    fallen = torch.exp(-torch.tensor([[0.0, 1.0, 16.0], [1.0, 0.0, 9.0], [16.0, 9.0, 0.0]]))
    torch.testing.assert_close(targets, fallen / fallen.sum(1, keepdim=True))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_soft_targets_that_are_sure_give_cross_entropy(draw, weights):
    logits_BL, labels_B = torch.randn(6, 3, generator=draw), torch.tensor([0, 2, 1, IGNORED, 2, 0])
    found = soft_cross_entropy(logits_BL, labels_B, torch.eye(3).tolist(), weights)
    expected = cross_entropy(logits_BL, labels_B, weights)
    torch.testing.assert_close(found.total, expected.total)
    assert found.targets == expected.targets


def test_soft_cross_entropy_is_torchs(draw):
    logits_BL, labels_B = torch.randn(6, 3, generator=draw), torch.tensor([0, 2, 1, 1, 2, 0])
    targets = ordinal_targets([0, 1, 2])
    total, count = soft_cross_entropy(logits_BL, labels_B, targets, None)
    expected = torch.nn.CrossEntropyLoss()(logits_BL, torch.tensor(targets)[labels_B])
    torch.testing.assert_close(total / count, expected)


def test_a_near_miss_costs_less_than_a_far_one():
    targets, labels_B = ordinal_targets([1, 2, 3, 4, 5]), torch.tensor([4])
    near, far = (soft_cross_entropy(10 * torch.eye(5)[[at]], labels_B, targets, None).total for at in (3, 0))
    assert near < far


def test_the_squared_error_is_torchs(draw):
    outputs_B1, targets_B = torch.randn(7, 1, generator=draw), torch.randn(7, generator=draw)
    total, count = squared_error(outputs_B1, targets_B)
    torch.testing.assert_close(total / count, torch.nn.MSELoss()(outputs_B1[:, 0], targets_B))
    assert count == number_count(targets_B) == 7
