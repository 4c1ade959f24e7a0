"""Masking: how many tokens are hidden, whole words, what becomes of them, and the same for the same seed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from polyhead.registry import DataError
from polyhead.registry.toolkit.masking import IGNORED, NO_WORD, MaskRates, choose_words, mask_token, mask_words

MASK = 103


class Tokenizer(SimpleNamespace):
    """A tokenizer of 200 tokens, of which the first three and the mask are special."""

    __hash__ = object.__hash__

    def __len__(self) -> int:
        return 200


TOKENIZER: Any = Tokenizer(mask_token_id=MASK, all_special_ids=[0, 1, 2, MASK])
sizes_of_words = some.lists(some.integers(1, 6), max_size=60)


def framed(sizes: list[int]) -> np.ndarray:
    """Return the words of a text with one token around it on either side."""
    return np.array([NO_WORD, *np.repeat(np.arange(len(sizes)), sizes).tolist(), NO_WORD], dtype=np.int64)


@given(sizes_of_words, some.floats(0.01, 1), some.integers(0, 2**32 - 1))
def test_words_are_chosen_whole_and_nothing_around_the_text(sizes, share, seed):
    words = framed(sizes)
    chosen = choose_words(words, np.random.default_rng(seed), share)
    assert not chosen[[0, -1]].any()
    assert all(len(set(chosen[words == word])) == 1 for word in range(len(sizes)))
    assert chosen.any() == bool(sizes)
    if sizes:
        assert abs(chosen.sum() - share * sum(sizes)) <= max(sizes)
    assert np.array_equal(chosen, choose_words(words, np.random.default_rng(seed), share))


def test_nothing_is_chosen_where_nothing_is_wanted():
    assert not choose_words(framed([1, 2]), np.random.default_rng(0), 0.0).any()


def test_the_share_holds_over_many_texts_of_words_of_all_lengths():
    draw = np.random.default_rng(0)
    texts = [framed(draw.integers(1, 5, 40).tolist()) for _ in range(500)]
    chosen = sum(int(choose_words(words, draw, 0.15).sum()) for words in texts)
    assert chosen / sum(len(words) - 2 for words in texts) == pytest.approx(0.15, abs=0.003)


def test_eight_of_ten_become_the_mask_and_one_another_token():
    ids = np.full(100_000, 150)
    seen, labels = mask_words(ids, np.arange(len(ids)), np.random.default_rng(0), MaskRates(0.5), TOKENIZER)
    hidden = labels != IGNORED
    assert hidden.mean() == pytest.approx(0.5, abs=1e-4)
    assert set(labels[hidden].tolist()) == {150}
    assert np.array_equal(seen[~hidden], ids[~hidden])
    assert (seen[hidden] == MASK).mean() == pytest.approx(0.8, abs=0.01)
    others = seen[hidden & (seen != MASK) & (seen != 150)]
    assert len(others) / hidden.sum() == pytest.approx(0.1, abs=0.01)
    assert set(others.tolist()) == set(range(200)) - {0, 1, 2, MASK, 150}


def test_rates_can_be_changed():
    ids = np.arange(110, 190)
    seen, labels = mask_words(ids, np.arange(80), np.random.default_rng(0), MaskRates(1.0, 1.0, 0.0), TOKENIZER)
    assert set(seen.tolist()) == {MASK}
    assert np.array_equal(labels, ids)


def test_a_tokenizer_without_a_mask_is_refused_with_the_remedy():
    with pytest.raises(DataError, match="has no mask token: take another backbone"):
        mask_token(Tokenizer(mask_token_id=None))
