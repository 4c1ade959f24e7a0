"""Denoising: nothing is made up, holes are whole words, sentences keep their words, and lengths are Poisson's."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from polyhead.registry.toolkit.denoising import Noise, Text, add_noise, infill, permuted, span_lengths

MASK = -7


def text_of(sizes: list[int], sentences: int) -> Text:
    """Return a text of words of these sizes, whose tokens are their own numbers, in sentences of about equal length."""
    words = np.repeat(np.arange(len(sizes)), sizes)
    return Text(np.arange(len(words)), words, words * sentences // max(1, len(sizes)))


texts = some.builds(text_of, some.lists(some.integers(1, 4), min_size=1, max_size=60), some.integers(1, 6))
noises = some.builds(
    Noise, some.floats(0, 1), some.floats(1, 6), some.booleans(), some.sampled_from([0.0, 0.0, 0.1, 0.9])
)
seeds = some.integers(0, 2**32 - 1)


@given(texts, noises, seeds)
def test_what_is_read_is_a_part_of_the_text_and_masks(text, noise, seed):
    read = add_noise(text, MASK, noise, np.random.default_rng(seed))
    kept = [token for token in read.tolist() if token != MASK]
    assert len(kept) == len(set(kept))
    assert set(kept) <= set(text.ids.tolist())
    assert 0 < len(read) <= len(text.ids)
    assert np.array_equal(read, add_noise(text, MASK, noise, np.random.default_rng(seed)))


@given(texts, some.floats(0, 1), seeds)
def test_holes_are_whole_words_in_a_text_that_keeps_its_order(text, share, seed):
    noise = Noise(share)
    read = infill(text.ids, text.words, MASK, noise, np.random.default_rng(seed)).tolist()
    kept = [token for token in read if token != MASK]
    words = [list(tokens) for _, tokens in groupby(text.ids.tolist(), key=lambda token: text.words[token])]
    left = [word for word in words if word[0] in kept]
    assert kept == [token for word in left for token in word]
    assert len(words) - len(left) == (min(max(round(len(words) * share), 1), len(words)) if share else 0)
    for word in left:  # no mask stands inside a word
        at = read.index(word[0])
        assert read[at : at + len(word)] == word


@given(texts, seeds)
def test_sentences_move_whole(text, seed):
    order = permuted(text.sentences, np.random.default_rng(seed))
    moved = [key for key, _ in groupby(text.sentences[order].tolist())]
    assert sorted(moved) == sorted(set(text.sentences.tolist()))
    assert sorted(order.tolist()) == list(range(len(order)))
    for sentence in moved:
        places = [place for place in order.tolist() if text.sentences[place] == sentence]
        assert places == sorted(places)


def test_every_order_of_sentences_comes_up():
    draw = np.random.default_rng(0)
    orders = Counter(tuple(permuted(np.array([0, 0, 1, 2]), draw).tolist()) for _ in range(600))
    assert len(orders) == 6
    assert min(orders.values()) > 60


def test_spans_have_the_mean_that_is_wanted_and_add_up():
    draw = np.random.default_rng(0)
    found = [span_lengths(1_000, Noise(0.3, 3.0), draw) for _ in range(200)]
    assert {int(lengths.sum()) for lengths, _ in found} == {300}
    spans = sum(len(lengths) + inserted for lengths, inserted in found)
    assert 300 * 200 / spans == pytest.approx(3.0, rel=0.03)
    assert sum(inserted for _, inserted in found) / spans == pytest.approx(np.exp(-3.0), rel=0.2)


def test_nothing_happens_where_nothing_is_wanted():
    text = text_of([1] * 20, 3)
    assert np.array_equal(add_noise(text, MASK, Noise(0, 3, permute=False), np.random.default_rng(0)), text.ids)
