"""Losses of vectors: equal to `sentence-transformers`, whatever windows texts have and however a batch is split."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from sentence_transformers.sentence_transformer import losses as theirs
from sentence_transformers.util import pairwise_cos_sim
from torch.nn import functional

from polyhead.registry.toolkit import embedding_losses as ours

WIDTH = 16


def draw(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


def batch(columns: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the windows of examples with one text a column, each text one window."""
    count, texts = len(columns[0]), len(columns)
    return (
        torch.stack(list(columns), 1).flatten(0, 1),
        torch.full((count * texts, 1), 7.0),
        torch.arange(texts).repeat(count),
        torch.zeros(count * texts, dtype=torch.long),
    )


def texts_of(columns: Sequence[torch.Tensor]) -> ours.Texts:
    return ours.merge_windows(*batch(columns), "mean")


def spread(score_P: torch.Tensor) -> torch.Tensor:
    """Return one score a window of pairs."""
    return score_P.repeat_interleave(2)


def test_cosine_is_the_librarys():
    first, second, score = draw(9), draw(9, 1), torch.rand(9)
    found = ours.cosine_squared_error(texts_of([first, second]), spread(score))
    expected = functional.mse_loss(torch.cosine_similarity(first, second), score)
    library = theirs.CosineSimilarityLoss(torch.nn.Identity()).compute_loss_from_embeddings([first, second], score)
    torch.testing.assert_close(found.total / found.targets, expected)
    torch.testing.assert_close(found.total / found.targets, library)


@pytest.mark.parametrize("scores", ["graded", "tied", "binary", "constant"])
def test_cosent_is_the_librarys(scores):
    first, second = draw(12), draw(12, 1)
    score = {
        "graded": torch.linspace(0, 1, 12),
        "tied": torch.tensor([0.2, 0.2, 0.5, 1.0]).repeat(3),
        "binary": torch.tensor([0.0, 1.0, 1.0]).repeat(4),
        "constant": torch.ones(12),
    }[scores]
    library = theirs.CoSENTLoss(torch.nn.Identity(), scale=20.0, similarity_fct=pairwise_cos_sim)
    found = ours.cosent(texts_of([first, second]), spread(score), temperature=0.05, group=12)
    torch.testing.assert_close(
        found.total / found.targets, library.compute_loss_from_embeddings([first, second], score)
    )


@pytest.mark.parametrize("columns", [2, 3, 5])
def test_multiple_negatives_is_the_librarys(columns):
    embeddings = [draw(10, seed) for seed in range(columns)]
    library = theirs.MultipleNegativesRankingLoss(torch.nn.Identity(), scale=20.0)
    found = ours.multiple_negatives(texts_of(embeddings), temperature=0.05, group=10)
    torch.testing.assert_close(
        found.total / found.targets, library.compute_loss_from_embeddings(embeddings, torch.zeros(10))
    )


def test_triplet_is_the_librarys():
    embeddings = [draw(10, seed) for seed in range(3)]
    metric = theirs.TripletDistanceMetric.COSINE
    library = theirs.TripletLoss(torch.nn.Identity(), distance_metric=metric, triplet_margin=0.5)
    found = ours.triplet(texts_of(embeddings), margin=0.5)
    torch.testing.assert_close(
        found.total / found.targets, library.compute_loss_from_embeddings(embeddings, torch.zeros(10))
    )


def test_several_negatives_are_several_triplets():
    anchor, positive, first, second = (draw(4, seed) for seed in range(4))
    both = ours.triplet(texts_of([anchor, positive, first, second]), margin=0.3)
    one, other = (ours.triplet(texts_of([anchor, positive, negative]), margin=0.3) for negative in (first, second))
    torch.testing.assert_close(both.total, one.total + other.total)
    assert (both.targets, one.targets) == (8, 4)


def test_negatives_may_be_fewer_in_some_examples():
    vectors = draw(7)  # a pair, a triplet, a pair
    text = torch.tensor([0, 1, 0, 1, 2, 0, 1])
    texts = ours.merge_windows(vectors, torch.ones(7, 1), text, torch.zeros(7, dtype=torch.long), "mean")
    found = ours.multiple_negatives(texts, temperature=0.05, group=8)
    unit = functional.normalize(vectors)
    logits = unit[[0, 2, 5]] @ unit[[1, 3, 6, 4]].T / 0.05
    torch.testing.assert_close(found.total, functional.cross_entropy(logits, torch.arange(3), reduction="sum"))
    assert found.targets == 3


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_windows_of_a_text_are_merged_by_their_tokens(pooling):
    vectors, weights = draw(5), torch.tensor([[8.0], [8.0], [3.0], [5.0], [8.0]])
    text, number = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 1, 2, 0, 1])
    texts = ours.merge_windows(vectors, weights, text, number, pooling)
    parts = [(vectors[:3], weights[:3]), (vectors[3:], weights[3:])]
    merged = [v.amax(0) if pooling == "max" else (v * w).sum(0) / w.sum() for v, w in parts]
    torch.testing.assert_close(texts.vectors, torch.stack(merged))
    assert (texts.example_of.tolist(), texts.positions.tolist(), texts.begins.tolist()) == ([0, 0], [0, 1], [0, 3])


def test_equal_texts_side_by_side_are_not_taken_for_one_example():
    text, number = torch.tensor([0, 1, 0, 0, 1]), torch.tensor([0, 0, 0, 1, 0])  # example 2 has an anchor of 2 windows
    texts = ours.merge_windows(draw(5), torch.ones(5, 1), text, number, "mean")
    assert texts.example_of.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("name", ["cosent", "multiple-negatives", "cosine", "triplet"])
def test_no_split_into_whole_groups_changes_the_mean(name):
    columns, score = [draw(11, seed) for seed in range(3)], torch.rand(11)

    def loss(start: int, end: int):
        texts = texts_of([column[start:end] for column in columns])
        score_B = score[start:end].repeat_interleave(3)
        if name == "cosent":
            return ours.cosent(texts, score_B, temperature=0.05, group=4)
        if name == "multiple-negatives":
            return ours.multiple_negatives(texts, temperature=0.05, group=4)
        return ours.triplet(texts, margin=0.4) if name == "triplet" else ours.cosine_squared_error(texts, score_B)

    whole, parts = loss(0, 11), [loss(0, 4), loss(4, 8), loss(8, 11)]
    torch.testing.assert_close(sum(part.total for part in parts), whole.total)
    assert sum(part.targets for part in parts) == whole.targets == 11


def test_counts_are_known_before_the_model_has_run():
    text, number = torch.tensor([0, 1, 0, 0, 1, 1, 2, 3]), torch.tensor([0, 0, 0, 1, 0, 1, 0, 0])
    texts = ours.merge_windows(draw(8), torch.ones(8, 1), text, number, "mean")
    assert ours.pair_count(text, number) == ours.cosine_squared_error(texts, torch.zeros(8)).targets == 2
    assert ours.triplet_count(text, number) == ours.triplet(texts, margin=0.1).targets == 2


@pytest.mark.parametrize(("text", "number"), [(0, 0), (1, 0), (0, 3)])
def test_a_stand_in_of_any_one_window_has_a_gradient_of_zero(text, number):
    vector = draw(1).requires_grad_()
    for loss in (
        lambda texts: ours.cosent(texts, torch.zeros(1), temperature=0.05, group=4),
        lambda texts: ours.cosine_squared_error(texts, torch.zeros(1)),
        lambda texts: ours.multiple_negatives(texts, temperature=0.05, group=4),
        lambda texts: ours.triplet(texts, margin=0.1),
    ):
        texts = ours.merge_windows(vector, torch.ones(1, 1), torch.tensor([text]), torch.tensor([number]), "mean")
        found = loss(texts)
        (gradient,) = torch.autograd.grad(found.total * 0.0, vector)
        assert torch.isfinite(found.total)
        assert gradient.abs().sum() == 0


def test_losses_fall_along_their_gradient():
    columns = [draw(6, seed).requires_grad_() for seed in range(3)]
    score_B = torch.rand(6).repeat_interleave(3)
    for loss in (
        lambda texts: ours.cosent(texts, score_B, temperature=0.05, group=6),
        lambda texts: ours.cosine_squared_error(texts, score_B),
        lambda texts: ours.multiple_negatives(texts, temperature=0.05, group=6),
        lambda texts: ours.triplet(texts, margin=0.5),
    ):
        before = loss(texts_of(columns)).total
        gradients = torch.autograd.grad(before, columns, allow_unused=True)
        moved = [c if g is None else c - 1e-3 * g for c, g in zip(columns, gradients, strict=True)]
        assert loss(texts_of(moved)).total < before
