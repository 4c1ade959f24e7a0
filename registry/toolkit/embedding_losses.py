"""Losses over the vectors of texts, as sums and counts; the definitions are those of `sentence-transformers`.

A micro-batch holds whole examples in order, each with all windows of all its texts: text 0 is the anchor, text 1 what
it is compared with, later ones are further negatives. `merge_windows` makes one vector of each text. Where examples
are compared with one another (CoSENT, in-batch negatives) they are so within groups of a fixed number of examples,
and the count is one of examples, so that neither micro-batches nor ranks change the mean.
Shapes: B windows, N texts, P pairs, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from polyhead.registry.contracts import LossSum
from polyhead.registry.toolkit.embedding_head import Pooling


@dataclass(frozen=True)
class Texts:
    """The texts of a batch: vectors [N, D], all else [N]."""

    vectors: torch.Tensor
    example_of: torch.Tensor
    """Which example of the batch each belongs to."""
    positions: torch.Tensor
    """Which text of its example each is: 0 for the anchor."""
    begins: torch.Tensor
    """Where in the batch each begins."""

    def beside_anchor(self, first: int, last: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the texts at these positions of their examples, and beside each the anchor of its example."""
        wanted_N = (self.positions >= first) & (self.positions <= (first if last is None else last))
        other_P = wanted_N.nonzero().squeeze(1)
        return self._of_example(0)[self.example_of[other_P]], other_P

    def _of_example(self, position: int) -> torch.Tensor:
        """Return for each example the text at this position; -1 where it has none."""
        examples = int(self.example_of.max()) + 1
        found = torch.full((examples,), -1, device=self.example_of.device)
        at = (self.positions == position).nonzero().squeeze(1)
        found[self.example_of[at]] = at
        return found

    def positives_beside(self, other_P: torch.Tensor) -> torch.Tensor:
        """Return for each of these texts the positive (text 1) of its example."""
        return self._of_example(1)[self.example_of[other_P]]

    def cosine(self, first_P: torch.Tensor, second_P: torch.Tensor) -> torch.Tensor:
        """Return the cosine of pairs of texts."""
        return functional.cosine_similarity(self.vectors[first_P], self.vectors[second_P])


LAST = 2**31
"""A position behind every text of an example."""


def merge_windows(
    window_BD: torch.Tensor, weight_B1: torch.Tensor, text_B: torch.Tensor, number_B: torch.Tensor, pooling: Pooling
) -> Texts:
    """Merge the windows of each text: the mean weighted by tokens; of ``max`` pooling the maximum.

    Args:
        window_BD: What `EmbeddingHead` gave for each window.
        weight_B1: Its token counts.
        text_B: Which text of its example each window belongs to, from 0.
        number_B: Which window of its text it is, from 0.
        pooling: How the windows themselves were pooled.

    """
    first_B = number_B == 0
    first_B = torch.cat([torch.ones_like(first_B[:1]), first_B[1:]])  # a stand-in may be any single window
    text_of_B = first_B.cumsum(0) - 1
    begins_N = first_B.nonzero().squeeze(1)
    position_N = text_B[begins_N]
    starts_N = torch.cat([torch.ones_like(position_N[:1], dtype=torch.bool), position_N[1:] == 0])
    empty_ND = window_BD.new_zeros(len(begins_N), window_BD.shape[1])
    if pooling == "max":
        index_BD = text_of_B.unsqueeze(1).expand_as(window_BD)
        vector_ND = empty_ND.scatter_reduce(0, index_BD, window_BD, "amax", include_self=False)
    else:
        weight_N1 = weight_B1.new_zeros(len(begins_N), 1).index_add(0, text_of_B, weight_B1)
        vector_ND = empty_ND.index_add(0, text_of_B, window_BD * weight_B1) / weight_N1.clamp(min=1.0)
    return Texts(vector_ND, starts_N.cumsum(0) - 1, position_N, begins_N)


# ── counts: known before the model has run, additive over any split ─────────────────────────────────────


def pair_count(text_B: torch.Tensor, number_B: torch.Tensor) -> torch.Tensor:
    """Count the pairs of an anchor and the text it is compared with: one an example."""
    return ((text_B == 1) & (number_B == 0)).sum().float()


def triplet_count(text_B: torch.Tensor, number_B: torch.Tensor) -> torch.Tensor:
    """Count the triplets: one for each negative."""
    return ((text_B > 1) & (number_B == 0)).sum().float()


# ── sums ────────────────────────────────────────────────────────────────────────────────────────────────


def cosine_squared_error(texts: Texts, score_B: torch.Tensor) -> LossSum:
    """Sum the squared differences of cosine and score; the mean is ``CosineSimilarityLoss``."""
    anchor_P, other_P = texts.beside_anchor(1)
    error_P = texts.cosine(anchor_P, other_P) - score_B[texts.begins[other_P]]
    return _sum(texts, error_P.square().sum(), len(other_P))


def cosent(texts: Texts, score_B: torch.Tensor, *, temperature: float, group: int) -> LossSum:
    """Sum ``CoSENTLoss`` over groups, each weighted by its number of examples.

    Of a group: log(1 + sum of exp((cosine_j - cosine_i) / temperature)) over its pairs i, j where i has the higher
    score (Huang et al. 2024, doi:10.1109/TASLP.2024.3402087). One group of the whole batch gives the library's value.
    """
    total = texts.vectors.new_zeros(())
    anchor_P, other_P = texts.beside_anchor(1)
    for chosen in _groups(texts, other_P, group):
        cosine_P = texts.cosine(anchor_P[chosen], other_P[chosen]) / temperature
        score_P = score_B[texts.begins[other_P[chosen]]]
        difference_PP = cosine_P.unsqueeze(0) - cosine_P.unsqueeze(1)  # [i, j] = cosine of j - cosine of i
        wrong = difference_PP[score_P.unsqueeze(1) > score_P.unsqueeze(0)]
        total = total + torch.logsumexp(torch.cat([wrong.new_zeros(1), wrong]), 0) * len(score_P)
    return _sum(texts, total, len(other_P))


def multiple_negatives(texts: Texts, *, temperature: float, group: int) -> LossSum:
    """Sum the cross-entropy of each anchor's positive among all positives and negatives of its group.

    The mean over one group is ``MultipleNegativesRankingLoss`` (van den Oord et al. 2018, arXiv:1807.03748).
    """
    total = texts.vectors.new_zeros(())
    anchor_P, positive_P = texts.beside_anchor(1)
    _, negative_P = texts.beside_anchor(2, LAST)
    group_of = texts.example_of // group
    unit_ND = functional.normalize(texts.vectors)
    for chosen in _groups(texts, positive_P, group):
        anchors, positives = anchor_P[chosen], positive_P[chosen]
        negatives = negative_P[group_of[negative_P] == group_of[anchors[0]]]
        logits = unit_ND[anchors] @ unit_ND[torch.cat([positives, negatives])].T / temperature
        target_P = torch.arange(len(anchors), device=logits.device)
        total = total + functional.cross_entropy(logits, target_P, reduction="sum")
    return _sum(texts, total, len(positive_P))


def triplet(texts: Texts, *, margin: float) -> LossSum:
    """Sum max(0, cosine with the negative - cosine with the positive + margin) over all triplets.

    The mean is ``TripletLoss`` with its cosine distance (Hermans et al. 2017, arXiv:1703.07737).
    """
    anchor_P, negative_P = texts.beside_anchor(2, LAST)
    positive_P = texts.positives_beside(negative_P)
    closer_P = texts.cosine(anchor_P, negative_P) - texts.cosine(anchor_P, positive_P)
    return _sum(texts, functional.relu(closer_P + margin).sum(), len(negative_P))


def _groups(texts: Texts, other_P: torch.Tensor, group: int) -> Iterator[torch.Tensor]:
    """Yield the positions in ``other_P`` of each group of examples."""
    number_P = texts.example_of[other_P] // group
    for number in sorted(set(number_P.tolist())):
        yield (number_P == number).nonzero().squeeze(1)


def _sum(texts: Texts, total: torch.Tensor, targets: int) -> LossSum:
    """Return the sum, tied to the vectors even where there is nothing to sum, so that every rank has a gradient."""
    return LossSum(total + 0.0 * texts.vectors.sum(), torch.tensor(float(targets), device=total.device))
