"""Span corruption: spans of a text give way to sentinels, and are to be written behind these.

Raffel et al. 2020 (T5), section 3.1.4: 15 % of the tokens in spans of 3 on average. ``a b c d e f g`` is read as
``a <0> d e <1>`` and written as ``<0> b c <1> f g``. Which tokens are taken follows ``random_spans_noise_mask`` of the
authors' code (google-research/text-to-text-transfer-transformer, ``t5/data/preprocessors.py``): the number of tokens
and of spans depends on the length alone, a text begins with a span that stays and ends with one that goes.
Import this module inside a function: it loads numpy.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from polyhead.registry.errors import DataError

Integers = np.ndarray[Any, np.dtype[np.int64]]
Booleans = np.ndarray[Any, np.dtype[np.bool_]]

SENTINELS = ("<extra_id_{}>", "[unused{}]")
"""How tokenizers call tokens that stand for nothing yet: T5's, and BERT's."""
MOST_SENTINELS = 1_000


def span_counts(length: int, density: float, mean_span: float) -> tuple[int, int]:
    """Return how many tokens of a text are taken, and in how many spans; at least one stays."""
    if length < 2:
        return 0, 0
    taken = min(max(round(length * density), 1), length - 1)
    return taken, min(max(round(taken / mean_span), 1), taken, length - taken)


def noise_spans(length: int, density: float, mean_span: float, generator: np.random.Generator) -> Booleans:
    """Return which tokens are taken: ``[length]``."""
    taken, spans = span_counts(length, density, mean_span)
    if not spans:
        return np.zeros(length, dtype=bool)
    lengths = np.empty(2 * spans, dtype=np.int64)
    lengths[0::2] = _partition(length - taken, spans, generator)
    lengths[1::2] = _partition(taken, spans, generator)
    return np.repeat(np.arange(2 * spans) % 2 == 1, lengths)


def corrupt_spans(ids: Integers, taken: Booleans, sentinels: Integers) -> tuple[Integers, Integers]:
    """Return what is read, and what is to be written, without what stands around a text.

    Args:
        ids: The tokens of a text.
        taken: Which of them are taken.
        sentinels: At least one for each span that is taken.

    """
    return _replaced(ids, taken, sentinels), _replaced(ids, ~taken, sentinels)


def sentinels_of(tokenizer: Any) -> Integers:
    """Return the tokens that stand for spans, in their order.

    Raises:
        DataError: The tokenizer has none; says what to do.

    """
    found = _sentinels_of(tokenizer, len(tokenizer))
    if not len(found):
        raise DataError(
            "the tokenizer of this backbone has no sentinels (<extra_id_0>, <extra_id_1>, ...), which span corruption "
            "needs: take another backbone, or a tokenizer of your own (polyhead tokenizer train makes one with them)"
        )
    return found


@lru_cache(maxsize=8)
def _sentinels_of(tokenizer: Any, size: int) -> Integers:
    vocabulary = tokenizer.get_vocab()
    for form in SENTINELS:
        found: list[int] = []
        while len(found) < min(MOST_SENTINELS, size) and (name := form.format(len(found))) in vocabulary:
            found.append(vocabulary[name])
        if found:
            return np.array(found, dtype=np.int64)
    return np.zeros(0, dtype=np.int64)


def _partition(items: int, parts: int, generator: np.random.Generator) -> Integers:
    """Return the lengths of some parts, none of them empty, that items are divided into; each division is as likely."""
    cuts = np.arange(items - 1) < parts - 1
    generator.shuffle(cuts)
    return np.diff(np.concatenate(([0], np.flatnonzero(cuts) + 1, [items])))


def _replaced(ids: Integers, gone: Booleans, sentinels: Integers) -> Integers:
    """Put a sentinel in the place of each run of tokens that are gone."""
    first = gone & ~np.concatenate(([False], gone[:-1]))
    found = ids.copy()
    found[first] = sentinels[: int(first.sum())]
    return found[~gone | first]
