"""Loss and marginals against the definition: every sequence of tags, one by one."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from polyhead_crf.chain import Chain, log_marginals, negative_log_likelihood

TAGS = 3
LENGTHS = (4, 1, 3)


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    emissions_BTL = torch.randn(len(LENGTHS), max(LENGTHS), TAGS, generator=generator) * 2
    chain_C = torch.randn(TAGS * TAGS + 2 * TAGS, generator=generator) * 2
    mask_BT = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return emissions_BTL, chain_C.expand(len(LENGTHS), -1), mask_BT


def every_way(emissions_TL: torch.Tensor, chain: Chain) -> dict[tuple[int, ...], float]:
    """Return the exponentiated score of each sequence of tags of one text."""
    steps, start, end = chain.steps[0], chain.start[0], chain.end[0]
    scores = {}
    for tags in product(range(TAGS), repeat=len(emissions_TL)):
        score = start[tags[0]] + end[tags[-1]] + sum(emissions_TL[at, tag] for at, tag in enumerate(tags))
        score = score + sum(steps[tags[at], tags[at + 1]] for at in range(len(tags) - 1))
        scores[tags] = float(score.double().exp())
    return scores


@pytest.mark.parametrize(
    "labels",
    [
        [[0, 2, 1, 1], [2, -100, -100, -100], [1, 0, 0, -100]],
        [[-100, 2, -100, 1], [-100, -100, -100, -100], [0, -100, 2, -100]],
    ],
    ids=["every token", "some tokens"],
)
def test_the_loss_is_that_of_the_definition(labels: list[list[int]]) -> None:
    emissions_BTL, chain_BC, mask_BT = drawn()
    chain, labels_BT = Chain.of(chain_BC), torch.tensor(labels)
    expected = 0.0
    for text, length in enumerate(LENGTHS):
        ways = every_way(emissions_BTL[text, :length], chain)
        known = {at: tag for at, tag in enumerate(labels[text][:length]) if tag >= 0}
        agreeing = sum(way for tags, way in ways.items() if all(tags[at] == tag for at, tag in known.items()))
        expected -= float(torch.log(torch.tensor(agreeing / sum(ways.values()))))
    assert float(negative_log_likelihood(emissions_BTL, mask_BT, chain, labels_BT)) == pytest.approx(expected, rel=1e-5)


def test_the_marginals_are_those_of_the_definition() -> None:
    emissions_BTL, chain_BC, mask_BT = drawn()
    found_BTL = log_marginals(emissions_BTL, mask_BT, Chain.of(chain_BC)).exp()
    for text, length in enumerate(LENGTHS):
        ways = every_way(emissions_BTL[text, :length], Chain.of(chain_BC))
        for at, tag in product(range(length), range(TAGS)):
            expected = sum(way for tags, way in ways.items() if tags[at] == tag) / sum(ways.values())
            assert float(found_BTL[text, at, tag]) == pytest.approx(expected, abs=1e-5)


def test_padding_changes_nothing() -> None:
    emissions_BTL, chain_BC, mask_BT = drawn()
    labels_BT = torch.tensor([[0, 2, 1, 1], [2, -100, -100, -100], [1, 0, 0, -100]])
    other_BTL = emissions_BTL.masked_fill(~mask_BT[..., None], 99.0)
    chain = Chain.of(chain_BC)
    assert torch.equal(
        negative_log_likelihood(emissions_BTL, mask_BT, chain, labels_BT),
        negative_log_likelihood(other_BTL, mask_BT, chain, labels_BT),
    )
    real = mask_BT[..., None].expand_as(other_BTL)
    one, other = (log_marginals(each, mask_BT, chain) for each in (emissions_BTL, other_BTL))
    assert torch.equal(one[real], other[real])


def test_without_transitions_it_is_cross_entropy() -> None:
    emissions_BTL, chain_BC, mask_BT = drawn()
    labels_BT = torch.tensor([[0, -100, 1, 1], [2, -100, -100, -100], [1, 0, 0, -100]])
    nothing = Chain.of(torch.zeros_like(chain_BC))
    expected = torch.nn.functional.cross_entropy(
        emissions_BTL.flatten(0, 1), labels_BT.flatten(), ignore_index=-100, reduction="sum"
    )
    actual = negative_log_likelihood(emissions_BTL, mask_BT, nothing, labels_BT)
    assert float(actual) == pytest.approx(float(expected), rel=1e-5)
    assert torch.allclose(log_marginals(emissions_BTL, mask_BT, nothing)[0], emissions_BTL[0].log_softmax(1), atol=1e-5)


def test_the_gradient_is_expected_minus_observed() -> None:
    """Of every linear chain: the derivative by an emission is the tag's probability, less one where it is the label."""
    emissions_BTL, chain_BC, mask_BT = drawn(1)
    emissions_BTL.requires_grad_()
    labels_BT = torch.tensor([[0, 2, 1, 1], [2, -100, -100, -100], [1, 0, 0, -100]])
    negative_log_likelihood(emissions_BTL, mask_BT, Chain.of(chain_BC), labels_BT).backward()
    expected_BTL = log_marginals(emissions_BTL.detach(), mask_BT, Chain.of(chain_BC)).exp()
    expected_BTL = expected_BTL - torch.nn.functional.one_hot(labels_BT.clamp(min=0), TAGS)
    assert emissions_BTL.grad is not None
    assert torch.allclose(emissions_BTL.grad, expected_BTL * mask_BT[..., None], atol=1e-5)


def test_long_texts_stay_finite() -> None:
    emissions_BTL = torch.full((1, 600, TAGS), 50.0, requires_grad=True)
    chain = Chain.of(torch.zeros(1, TAGS * TAGS + 2 * TAGS))
    loss = negative_log_likelihood(
        emissions_BTL, torch.ones(1, 600, dtype=torch.bool), chain, torch.zeros(1, 600).long()
    )
    loss.backward()
    assert float(loss.detach()) == pytest.approx(600 * torch.log(torch.tensor(3.0)).item(), rel=1e-3)
    assert torch.isfinite(emissions_BTL.grad).all()  # type: ignore[arg-type]
