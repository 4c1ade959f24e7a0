"""Masked language modelling: some tokens of a text are hidden, whole words at a time, and have to be restored.

Devlin et al. 2019 (BERT): 15 % of the tokens are to be restored; of these 80 % become the mask, 10 % another token, and
10 % stay. Whole words as in its later release, in Chinese as in Cui et al. 2021 (BERT-wwm).
Import this module inside a function: it loads numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from polyhead.registry.errors import DataError

Integers = np.ndarray[Any, np.dtype[np.int64]]
Booleans = np.ndarray[Any, np.dtype[np.bool_]]

IGNORED = -100
"""The label of a token that is not to be restored (as in `losses`, which loads torch)."""
NO_WORD = -1
"""The word of a token that is none: those that the tokenizer puts around a text."""


@dataclass(frozen=True)
class MaskRates:
    """What becomes of the tokens that are to be restored."""

    chosen: float = 0.15
    """The share of all tokens that are to be restored."""
    masked: float = 0.8
    """The share of these that become the mask."""
    replaced: float = 0.1
    """The share of these that become another token; the rest stay as they are."""


def mask_words(
    ids: Integers, words: Integers, generator: np.random.Generator, rates: MaskRates, tokenizer: Any
) -> tuple[Integers, Integers]:
    """Return the tokens with some words hidden, and the labels: ``[tokens]`` each.

    Args:
        ids: The tokens of a text.
        words: The number of each token's word, `NO_WORD` for what is never hidden.
        generator: Where chance comes from.
        rates: How many tokens, and what becomes of them.
        tokenizer: Has the mask, and the tokens that others are replaced by.

    Raises:
        DataError: The tokenizer has no mask token.

    """
    chosen = choose_words(words, generator, rates.chosen)
    labels = np.where(chosen, ids, IGNORED)
    fate = generator.random(len(ids))
    seen = np.where(chosen & (fate < rates.masked), mask_token(tokenizer), ids)
    replaced = chosen & (fate >= rates.masked) & (fate < rates.masked + rates.replaced)
    if replaced.any():
        plain = _plain_tokens(tokenizer, len(tokenizer))
        seen[replaced] = plain[generator.integers(0, len(plain), int(replaced.sum()))]
    return seen, labels


def choose_words(words: Integers, generator: np.random.Generator, share: float) -> Booleans:
    """Return which tokens belong to the words that were drawn, whose tokens are as near to the share as they come.

    At least one word is drawn where there is one and the share is above 0.
    """
    sizes = np.bincount(words[words >= 0])
    present = np.flatnonzero(sizes)
    if not len(present) or share <= 0:
        return np.zeros(len(words), dtype=bool)
    order = generator.permutation(present)
    taken = np.cumsum(sizes[order]) - sizes[order] / 2 < share * sizes.sum()
    taken[0] = True
    drawn = np.zeros(len(sizes) + 1, dtype=bool)  # the last place is that of NO_WORD
    drawn[order[taken]] = True
    return drawn[words]


def mask_token(tokenizer: Any) -> int:
    """Return the id of the mask.

    Raises:
        DataError: The tokenizer has none; says what to do.

    """
    found = _mask_token(tokenizer)
    if found is None:
        raise DataError(
            "the tokenizer of this backbone has no mask token: take another backbone, or a tokenizer of your own "
            "(polyhead tokenizer train makes one with it)"
        )
    return found


@lru_cache(maxsize=8)
def _mask_token(tokenizer: Any) -> int | None:
    found = tokenizer.mask_token_id
    return None if found is None else int(found)


@lru_cache(maxsize=8)
def _plain_tokens(tokenizer: Any, size: int) -> Integers:
    """Return the ids of all tokens that are text."""
    return np.setdiff1d(np.arange(size), np.array(sorted(tokenizer.all_special_ids)))
