"""Batches: every feature once, the same everywhere, within the budget; and what collating them gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from polyhead.backbone.data.batching import (
    BUCKET_BATCHES,
    IGNORED_LABEL,
    Collator,
    Group,
    Items,
    group_by_length,
    plan_epoch,
    split_batch,
)
from polyhead.backbone.data.features import FeatureSet, Ragged
from polyhead.registry import Feature, LabelField

lengths_of_a_batch = some.lists(some.integers(1, 60), min_size=1, max_size=40).map(np.array)
budgets = some.integers(1, 200)


def padded(group: Group, lengths: np.ndarray) -> int:
    return len(group) * int(max(lengths[list(group)])) if group else 0


def flat(parts: list[list[Group]]) -> list[int]:
    return sorted(position for part in parts for group in part for position in group)


# ── an epoch ────────────────────────────────────────────────────────────────────────────────────────────


@given(some.lists(some.integers(1, 500), max_size=700).map(np.array), some.integers(1, 9), some.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_an_epoch_holds_every_feature_once(lengths, batch_size, seed):
    plan = plan_epoch(lengths, batch_size, seed=seed, epoch=3)
    assert sorted(position for batch in plan for position in batch) == list(range(len(lengths)))
    assert len(plan) == -(-len(lengths) // batch_size)
    assert sorted((len(batch) for batch in plan), reverse=True)[:-1] == [batch_size] * (len(plan) - 1)
    assert list(plan) == list(plan_epoch(lengths, batch_size, seed=seed, epoch=3))


def test_epochs_and_seeds_differ():
    lengths = np.arange(1, 101)
    plans = [plan_epoch(lengths, 10, seed=seed, epoch=epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0), (2, 1))]
    assert len({tuple(plan) for plan in plans}) == 4


def test_within_a_bucket_batches_are_of_like_length():
    lengths = np.random.default_rng(0).integers(1, 400, size=2 * 8 * BUCKET_BATCHES)
    wasted = sum(padded(batch, lengths) for batch in plan_epoch(lengths, 8, seed=0, epoch=0)) / lengths.sum() - 1
    unsorted = sum(padded(tuple(range(at, at + 8)), lengths) for at in range(0, len(lengths), 8)) / lengths.sum() - 1
    assert wasted < 0.02
    assert unsorted > 0.5


# ── a global batch ──────────────────────────────────────────────────────────────────────────────────────


@given(lengths_of_a_batch, some.integers(1, 5), budgets)
@settings(max_examples=200)
def test_a_batch_goes_to_the_ranks_whole_and_evenly(lengths, ranks, budget):
    parts = split_batch(range(len(lengths)), lengths, ranks=ranks, max_tokens=budget)
    assert len(parts) == ranks
    assert len({len(part) for part in parts}) == 1, "every rank has the same number of micro-batches"
    assert len(parts[0]) == max(1, -(-len(group_by_length(range(len(lengths)), lengths, budget)) // ranks))
    assert flat(parts) == list(range(len(lengths)))
    groups = [group for part in parts for group in part]
    assert all(padded(group, lengths) <= budget or len(group) == 1 for group in groups)
    if () in groups:
        assert all(len(group) <= 1 for group in groups), "a stand-in only where there is no feature left to share out"
        assert groups.count(()) < ranks


@given(lengths_of_a_batch, some.integers(1, 4), budgets, some.randoms(use_true_random=False))
@settings(max_examples=50)
def test_a_batch_is_split_alike_in_whatever_order_it_comes(lengths, ranks, budget, draw):
    shuffled = list(range(len(lengths)))
    draw.shuffle(shuffled)
    expected = split_batch(range(len(lengths)), lengths, ranks=ranks, max_tokens=budget)
    assert split_batch(shuffled, lengths, ranks=ranks, max_tokens=budget) == expected


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_get_about_the_same_work(ranks, seed):
    lengths = np.random.default_rng(seed).integers(5, 120, size=64)
    parts = split_batch(range(64), lengths, ranks=ranks, max_tokens=512)
    work = [sum(padded(group, lengths) for group in part) for part in parts]
    assert max(work) / min(work) < 1.1


def test_fewer_features_than_ranks_leave_stand_ins():
    assert split_batch([7], np.full(8, 3), ranks=3, max_tokens=100) == [[(7,)], [()], [()]]


def test_a_lonely_batch_is_halved_for_two_ranks():
    assert split_batch(range(4), np.array([8, 8, 8, 8]), ranks=2, max_tokens=100) == [[(0, 1)], [(2, 3)]]


@given(lengths_of_a_batch, budgets)
def test_groups_are_sorted_and_within_the_budget(lengths, budget):
    groups = group_by_length(range(len(lengths)), lengths, budget)
    ordered = [position for group in groups for position in group]
    assert ordered == sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    assert all(padded(group, lengths) <= budget or len(group) == 1 for group in groups)


# ── collating ───────────────────────────────────────────────────────────────────────────────────────────


def feature_set(rows: list[list[int]], labels: dict[str, Ragged] | None = None) -> FeatureSet:
    return FeatureSet(
        np.arange(len(rows)),
        {  # in the order in which a file gives them back, not the model's
            "attention_mask": Ragged.of([[1] * len(row) for row in rows], np.int32),
            "input_ids": Ragged.of(rows, np.int32),
        },
        labels or {},
        Ragged.of([[] for _ in rows], np.int32),
    )


ROWS = [[5, 6, 7], [8], [9, 10]]


def test_inputs_are_padded_on_the_right_in_the_models_order():
    collator = Collator(feature_set(ROWS), ("input_ids", "attention_mask"), {"input_ids": 99}, ())
    batch = collator.collate((1, 0), with_labels=False)
    assert [tensor.dtype for tensor in batch.inputs] == [torch.int64, torch.int64]
    assert [tensor.tolist() for tensor in batch.inputs] == [[[8, 99, 99], [5, 6, 7]], [[1, 0, 0], [1, 1, 1]]]
    assert (batch.features, batch.labels, batch.tokens, batch.weight) == ((1, 0), (), 4, 1.0)


def test_a_batch_is_no_wider_than_its_longest_feature():
    collator = Collator(feature_set(ROWS), ("input_ids",), {}, ())
    assert collator.collate((1, 2), with_labels=False).inputs[0].tolist() == [[8, 0], [9, 10]]


def test_a_stand_in_counts_no_tokens():
    batch = Collator(feature_set(ROWS), ("input_ids",), {}, ()).collate((0,), with_labels=False, weight=0.0)
    assert (batch.tokens, batch.weight) == (0, 0.0)


def test_labels_of_each_shape():
    labels = {
        "tags": Ragged.of([[1, 2, 3], [4], [5, 6]], np.int64),
        "label": Ragged.of([[2], [0], [1]], np.int64),
        "score": Ragged.of([[0.5], [0.25], [1.0]], np.float32),
        "set": Ragged.of([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]], np.float32),
    }
    fields = (
        LabelField("label"),
        LabelField("set", "float", "vector"),
        LabelField("tags", "int", "tokens"),
        LabelField("score", "float"),
    )
    batch = Collator(feature_set(ROWS, labels), ("input_ids",), {}, fields).collate((2, 0), with_labels=True)
    assert [tensor.tolist() for tensor in batch.labels] == [
        [1, 2],
        [[1.0, 1.0], [1.0, 0.0]],
        [[5, 6, IGNORED_LABEL], [1, 2, 3]],
        [1.0, 0.5],
    ]
    assert [tensor.dtype for tensor in batch.labels] == [torch.int64, torch.float32, torch.int64, torch.float32]


def test_a_batch_moves_whole():
    batch = Collator(feature_set(ROWS), ("input_ids",), {}, ()).collate((0, 2), with_labels=False)
    moved = batch.to(torch.device("meta"))
    assert [tensor.device.type for tensor in moved.inputs] == ["meta"]
    assert (moved.features, moved.tokens, moved.weight) == (batch.features, batch.tokens, batch.weight)


@pytest.mark.parametrize("rows", [[[1, 2], [], [3]], [[]], []])
def test_ragged_rows_come_back(rows):
    ragged = Ragged.of(rows, np.int32)
    assert [ragged.row(index).tolist() for index in range(len(rows))] == rows


# ── what stays together ─────────────────────────────────────────────────────────────────────────────────


def several_windows(counts: list[int]) -> FeatureSet:
    """Return examples with as many features as the counts say; feature n has n + 1 tokens."""
    found = feature_set([list(range(n + 1)) for n in range(sum(counts))])
    example_of = np.repeat(np.arange(len(counts)), counts)
    return FeatureSet(example_of, found.inputs, found.labels, found.spans)


def test_a_feature_is_an_item_where_nothing_belongs_together():
    items = Items.of(several_windows([2, 1]), together=None)
    assert [unit.rows for unit in items.units([2, 0])] == [((2,),), ((0,),)]
    assert items.lengths.tolist() == [1, 2, 3]


def test_whole_examples_stay_together_in_order():
    items = Items.of(several_windows([2, 1, 3]), together=2)
    assert list(items.members) == [(0, 1), (2,), (3, 4, 5)]
    assert items.lengths.tolist() == [4, 3, 18]  # padded: features times the longest of them
    first, second = items.units([2, 0, 1])
    assert first.rows == ((3,), (4,), (5,), (0,), (1,))
    assert (first.tokens, second.rows, second.tokens) == (36, ((2,),), 3)


@given(lengths_of_a_batch, some.integers(60, 120))
def test_packed_rows_hold_every_feature_once_and_no_more_than_fits(lengths, width):
    features = feature_set([[0] * length for length in lengths.tolist()])
    units = Items.of(features, together=None, row_width=width).units(range(len(lengths)))
    assert sorted(feature for unit in units for row in unit.rows for feature in row) == list(range(len(lengths)))
    assert all(len(unit.rows) == 1 and unit.tokens == sum(lengths[list(unit.rows[0])]) <= width for unit in units)
    assert len(units) <= 2 * -(-int(lengths.sum()) // width)  # first fit: never more than twice the least


def test_a_packed_row_has_its_features_behind_one_another():
    labels = {"labels": Ragged.of([[6, 7, -100], [-100], [10, -100]], np.int64)}
    fields = (LabelField("labels", "int", "targets"),)
    batch = Collator(feature_set(ROWS, labels), ("input_ids",), {}, fields).collate_rows(
        [(0, 1), (2,)], with_labels=True
    )
    assert batch.inputs[0].tolist() == [[5, 6, 7, 8], [9, 10, 0, 0]]
    assert batch.labels[0].tolist() == [[6, 7, -100, -100], [10, -100, -100, -100]]
    assert (batch.features, batch.tokens) == ((0, 1, 2), 6)


def test_a_decoders_sequence_has_a_width_of_its_own():
    found = feature_set(ROWS)
    decoder = Ragged.of([[1], [2, 3, 4, 5, 6], [7]], np.int32)
    features = FeatureSet(found.example_of, {**found.inputs, "decoder_input_ids": decoder}, {}, found.spans)
    batch = Collator(features, ("input_ids", "decoder_input_ids"), {}, ()).collate((0, 1), with_labels=False)
    assert [tuple(tensor.shape) for tensor in batch.inputs] == [(2, 3), (2, 5)]
    assert features.lengths.tolist() == [4, 6, 3]
    assert features.token_counts.tolist() == [3, 1, 2]


# ── corrupted features ──────────────────────────────────────────────────────────────────────────────────


def shortened(feature: Feature, generator: np.random.Generator) -> Feature:
    """Keep a part of a feature's tokens, and make a label of what was drawn."""
    ids = list(feature.inputs["input_ids"])
    size = int(generator.integers(1, len(ids) + 1))
    return Feature(feature.example, {"input_ids": ids[:size]}, {"labels": [int(generator.integers(10**9))]})


def corrupting(rows: list[list[int]]) -> Collator:
    return Collator(feature_set(rows), ("input_ids",), {}, (LabelField("labels", "int", "targets"),), shortened)


@given(some.permutations(range(6)), some.integers(1, 6), some.integers(0, 2**32 - 1), some.integers(0, 9))
def test_a_feature_is_corrupted_alike_in_whatever_batch_it_stands(order, width, seed, epoch):
    collator = corrupting([[n] * 20 for n in range(6)])
    rows = [tuple(order[at : at + width]) for at in range(0, 6, width)]
    batch = collator.collate_rows(rows, with_labels=True, draw=(seed, epoch))
    labels = [label for row in batch.labels[0].tolist() for label in row if label != IGNORED_LABEL]
    alone = [collator.collate((n,), with_labels=True, draw=(seed, epoch)) for n in order]
    assert labels == [int(one.labels[0]) for one in alone]
    assert batch.features == tuple(order)
    assert batch.tokens == sum(one.tokens for one in alone)
    assert batch.inputs[0].shape[1] == max(sum(alone[order.index(n)].tokens for n in row) for row in rows)


def test_epochs_and_seeds_and_evaluations_corrupt_differently_and_each_time_alike():
    collator = corrupting([[1, 2, 3]])
    draws = [{"draw": (1, 0)}, {"draw": (1, 1)}, {"draw": (2, 0)}, {}]
    first, again = ([int(collator.collate((0,), with_labels=True, **one).labels[0]) for one in draws] for _ in range(2))
    assert first == again
    assert len(set(first)) == 4


def test_what_is_corrupted_has_labels_though_its_features_bear_none():
    assert corrupting(ROWS).has_labels
    assert not Collator(feature_set(ROWS), ("input_ids",), {}, ()).has_labels
