"""Span corruption: what is read and what is written make up the text again; how much is taken; what T5's code gives."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from polyhead.registry import DataError
from polyhead.registry.toolkit.span_corruption import corrupt_spans, noise_spans, sentinels_of, span_counts

SENTINELS = np.arange(1000, 2000)
densities, means = some.floats(0.01, 0.99), some.floats(1, 10)


def restored(read: list[int], target: list[int]) -> list[int]:
    """Put what is written behind each sentinel in its place."""
    spans: dict[int, list[int]] = {}
    for token in target:
        if token >= SENTINELS[0]:
            spans[token] = []
        else:
            spans[list(spans)[-1]].append(token)
    return [token for each in read for token in (spans.pop(each) if each >= SENTINELS[0] else [each])]


@given(some.lists(some.integers(0, 999), max_size=300), densities, means, some.integers(0, 2**32 - 1))
def test_both_halves_make_up_the_text(tokens, density, mean_span, seed):
    ids = np.array(tokens, dtype=np.int64)
    taken = noise_spans(len(ids), density, mean_span, np.random.default_rng(seed))
    read, target = corrupt_spans(ids, taken, SENTINELS)
    assert restored(read.tolist(), target.tolist()) == tokens
    count, spans = span_counts(len(ids), density, mean_span)
    assert taken.sum() == count
    assert (len(read), len(target)) == (len(ids) - count + spans, count + (spans or bool(tokens)))
    assert len(read) <= max(1, len(ids))
    sentinels = [token for token in read.tolist() if token >= SENTINELS[0]]
    assert sentinels == SENTINELS[:spans].tolist()
    assert np.array_equal(taken, noise_spans(len(ids), density, mean_span, np.random.default_rng(seed)))


def test_an_example_of_a_text():
    taken = np.array([False, True, True, False, False, True, True])
    read, target = corrupt_spans(np.arange(1, 8), taken, SENTINELS)
    assert read.tolist() == [1, 1000, 4, 5, 1001]
    assert target.tolist() == [1000, 2, 3, 1001, 6, 7]


def test_numbers_are_those_of_the_authors():
    """512 tokens that are read and 114 that are written come of 568, end tokens included (T5, random_spans_helper)."""
    taken, spans = span_counts(568, 0.15, 3.0)
    assert (568 - taken + spans + 1, taken + spans + 1) == (512, 114)


def test_every_place_is_taken_about_as_often():
    draw = np.random.default_rng(0)
    masks = np.stack([noise_spans(100, 0.15, 3.0, draw) for _ in range(4_000)])
    assert masks.mean() == pytest.approx(0.15)
    assert masks[:, 20:80].mean(0) == pytest.approx(np.full(60, masks[:, 20:80].mean()), abs=0.04)
    assert not masks[:, 0].any()
    assert masks[:, -1].all()


class Tokenizer(SimpleNamespace):
    """A tokenizer that has nothing but a vocabulary."""

    __hash__ = object.__hash__

    def __len__(self) -> int:
        return len(self.vocabulary)

    def get_vocab(self) -> dict[str, int]:
        return self.vocabulary


def tokenizer_of(*names: str) -> Any:
    return Tokenizer(vocabulary={name: 7 * n for n, name in enumerate(names)})


def test_sentinels_are_t5s_or_what_bert_left_unused():
    assert sentinels_of(tokenizer_of("a", "<extra_id_1>", "<extra_id_0>", "<extra_id_3>")).tolist() == [14, 7]
    assert sentinels_of(tokenizer_of("[unused0]", "b", "[unused1]")).tolist() == [0, 14]
    with pytest.raises(DataError, match=r"has no sentinels .* take another backbone"):
        sentinels_of(tokenizer_of("a", "b"))
