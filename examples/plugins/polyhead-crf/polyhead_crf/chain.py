"""The mathematics of a linear chain: log-likelihood and marginals, exactly, in log space.

The chain runs over all tokens of a window, sub-tokens and special tokens too. A token without a label (-100: a further
sub-token of a word, ``[CLS]``) has a tag all the same, only that nobody knows it: the likelihood of the labels is
summed over all its tags,

    log p(labels | text) = log sum of exp score(tags) over all tags that agree with the labels
                         - log sum of exp score(tags) over all tags.

So the same chain serves where labels are absent, and nothing has to be guessed about which tokens begin a word.

Lafferty, McCallum and Pereira 2001, Conditional Random Fields; Sutton and McCallum 2012, An Introduction to Conditional
Random Fields, section 4.1 (forward and backward) and 5.3 (latent variables).

Shapes: B batch, T tokens, L tags, C = L * L + 2 * L.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Chain:
    """How well tags fit beside one another, once for each text (all of a batch are alike)."""

    steps: torch.Tensor
    """``[B, L, L]``: score of going from the first tag to the second."""
    start: torch.Tensor
    """``[B, L]``"""
    end: torch.Tensor
    """``[B, L]``"""

    @classmethod
    def of(cls, chain_BC: torch.Tensor) -> Chain:
        """Take apart what the head gives."""
        size = round((chain_BC.shape[1] + 1) ** 0.5) - 1  # L * L + 2 * L = (L + 1) ** 2 - 1
        steps_BS, start_BL, end_BL = torch.split_with_sizes(chain_BC.float(), [size * size, size, size], dim=1)
        return cls(steps_BS.reshape(-1, size, size), start_BL, end_BL)

    def twice(self) -> Chain:
        """Return the chain of a batch that stands there twice."""
        return Chain(*(torch.cat((each, each)) for each in (self.steps, self.start, self.end)))


def negative_log_likelihood(
    emissions_BTL: torch.Tensor, mask_BT: torch.Tensor, chain: Chain, labels_BT: torch.Tensor
) -> torch.Tensor:
    """Return the sum over the batch; a text without any label adds nothing.

    Args:
        emissions_BTL: How well each tag fits each token.
        mask_BT: True for tokens, False for padding, which stands behind them.
        chain: How well tags fit beside one another.
        labels_BT: The tag of each token, negative where it is not known.

    """
    emissions_BTL = emissions_BTL.float()
    tags_L = torch.arange(emissions_BTL.shape[2], device=emissions_BTL.device)
    known_BT1 = (labels_BT >= 0).unsqueeze(2)
    excluded_BTL = known_BT1 & (labels_BT.unsqueeze(2) != tags_L)
    agreeing_BTL = emissions_BTL.masked_fill(excluded_BTL, -torch.inf)
    # Both sums in one pass over the tokens.
    sums = _log_sum(torch.cat((emissions_BTL, agreeing_BTL)), torch.cat((mask_BT, mask_BT)), chain.twice())
    all_B, agreeing_B = sums.chunk(2)
    return (all_B - agreeing_B).sum()


def log_marginals(emissions_BTL: torch.Tensor, mask_BT: torch.Tensor, chain: Chain) -> torch.Tensor:
    """Return the log-probability of each tag at each token, given the whole text; at padding, equal ones."""
    emissions_BTL = emissions_BTL.float()
    forward_BTL = torch.stack(_forward(emissions_BTL, mask_BT, chain), dim=1)
    backward_BTL = torch.stack(_backward(emissions_BTL, mask_BT, chain), dim=1)
    both_BTL = (forward_BTL + backward_BTL).masked_fill(~mask_BT.unsqueeze(2), 0.0)
    return torch.log_softmax(both_BTL, dim=2)


def _log_sum(emissions_BTL: torch.Tensor, mask_BT: torch.Tensor, chain: Chain) -> torch.Tensor:
    """Return the logarithm of the sum of exp score over all sequences of tags."""
    last_BL = _forward(emissions_BTL, mask_BT, chain)[-1]
    return torch.logsumexp(last_BL + chain.end, dim=1)


def _forward(emissions_BTL: torch.Tensor, mask_BT: torch.Tensor, chain: Chain) -> list[torch.Tensor]:
    """Return for each token the sums over all ways that end there in each tag; behind the text, those of its end."""
    found = [chain.start + emissions_BTL[:, 0]]
    for token in range(1, emissions_BTL.shape[1]):
        next_BL = torch.logsumexp(found[-1].unsqueeze(2) + chain.steps, dim=1) + emissions_BTL[:, token]
        found.append(torch.where(mask_BT[:, token, None], next_BL, found[-1]))
    return found


def _backward(emissions_BTL: torch.Tensor, mask_BT: torch.Tensor, chain: Chain) -> list[torch.Tensor]:
    """Return for each token the sums over all ways from there to the end of the text."""
    found = [chain.end]
    for token in range(emissions_BTL.shape[1] - 1, 0, -1):
        reached_BL = found[-1] + emissions_BTL[:, token]
        before_BL = torch.logsumexp(chain.steps + reached_BL.unsqueeze(1), dim=2)
        found.append(torch.where(mask_BT[:, token, None], before_BL, chain.end))
    return found[::-1]
