"""Denoising: a text is shuffled and has holes, and is to be written as it was.

Lewis et al. 2020 (BART), section 2.2: text infilling (spans whose lengths are Poisson distributed, each in the place of
one mask; a span of length 0 inserts a mask), sentence permutation, token deletion. BART was trained with 30 % of the
words in spans of 3 on average, and all sentences permuted.
Import this module inside a function: it loads numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Integers = np.ndarray[Any, np.dtype[np.int64]]
Booleans = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Noise:
    """How much is done to a text."""

    infilled: float = 0.3
    """The share of all words that are in spans which a mask stands for."""
    mean_span: float = 3.0
    """Words in a span, on average."""
    permute: bool = True
    """Whether sentences are put into another order."""
    deleted: float = 0.0
    """The share of all tokens that are left out without a mask."""


@dataclass(frozen=True)
class Text:
    """A text without what the tokenizer puts around it: for each token its id, its word and its sentence."""

    ids: Integers
    words: Integers
    """Counted from 0, rising."""
    sentences: Integers
    """Counted from 0, rising."""


def add_noise(text: Text, mask: int, noise: Noise, generator: np.random.Generator) -> Integers:
    """Return what is read of a text: never more tokens than it has.

    Args:
        text: The text.
        mask: The token that stands for a span.
        noise: What is done.
        generator: Where chance comes from.

    """
    ids, words = text.ids, text.words
    if noise.permute:
        order = permuted(text.sentences, generator)
        ids, words = ids[order], words[order]
    if noise.deleted > 0:
        kept = generator.random(len(ids)) >= noise.deleted
        kept[:1] = kept[:1] | ~kept.any()
        ids, words = ids[kept], words[kept]
    return infill(ids, words, mask, noise, generator)


def permuted(sentences: Integers, generator: np.random.Generator) -> Integers:
    """Return the places of the tokens when their sentences are in a random order: ``[tokens]``."""
    if not len(sentences) or sentences[0] == sentences[-1]:
        return np.arange(len(sentences))
    ranks = generator.permutation(int(sentences[-1]) + 1)
    return np.argsort(ranks[sentences], kind="stable")


def infill(ids: Integers, words: Integers, mask: int, noise: Noise, generator: np.random.Generator) -> Integers:
    """Put one mask in the place of each of some spans of words, and some where nothing was."""
    begins = np.concatenate(([True], words[1:] != words[:-1])) if len(words) else np.zeros(0, dtype=bool)
    starts = np.append(np.flatnonzero(begins), len(ids))  # of the words as they stand now, and where they end
    count = len(starts) - 1
    lengths, inserted = span_lengths(count, noise, generator)
    if not len(lengths):
        return ids
    gaps = np.sort(generator.integers(0, count - int(lengths.sum()) + 1, len(lengths)))
    firsts = gaps + np.cumsum(lengths) - lengths  # words before a span: those that stay, and those of earlier spans
    begin, end = starts[firsts], starts[firsts + lengths]
    edges = np.zeros(len(ids) + 1, dtype=np.int64)
    np.add.at(edges, begin, 1)
    np.add.at(edges, end, -1)
    gone = np.cumsum(edges[:-1]) > 0
    seen = np.where(gone, mask, ids)
    gone[begin] = False  # the mask stands where the span began
    seen[begin] = mask
    room = max(0, int(gone.sum()))
    places = generator.integers(0, len(starts), min(inserted, room))
    return _with_masks(seen, gone, starts[places], mask)


def span_lengths(words: int, noise: Noise, generator: np.random.Generator) -> tuple[Integers, int]:
    """Return how long the spans of a text are, in words, and how many masks are inserted besides.

    The lengths add up to the share of words that is wanted, rounded; the last is cut to fit.
    """
    wanted = min(max(round(words * noise.infilled), 1), words) if noise.infilled > 0 and words else 0
    if not wanted:
        return np.zeros(0, dtype=np.int64), 0
    drawn = generator.poisson(noise.mean_span, wanted + int(4 * wanted / noise.mean_span) + 8)
    ends = np.cumsum(drawn)
    last = int(np.searchsorted(ends, wanted))
    if last == len(drawn):  # all but impossible: so many spans of length 0
        return np.array([wanted]), 0
    drawn = drawn[: last + 1]
    drawn[last] -= ends[last] - wanted
    return drawn[drawn > 0], int((drawn == 0).sum())


def _with_masks(seen: Integers, gone: Booleans, places: Integers, mask: int) -> Integers:
    """Leave out the tokens that are gone, and insert masks before some places."""
    if not len(places):
        return seen[~gone]
    kept = np.concatenate(([0], np.cumsum(~gone)))
    return np.insert(seen[~gone], kept[places], mask)
