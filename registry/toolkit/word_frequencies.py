"""How well a text is guessed if all one knows is how often each word occurs: the least that a model has to beat."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from polyhead.registry.toolkit.sentence_windows import words_of

MOST_WORDS = 5_000
"""How many words are told apart; rarer ones count as one."""
OTHER = ""
"""Stands for all words that are not told apart."""


def word_counts(texts: Iterable[str]) -> dict[str, int]:
    """Return how often the most frequent words occur, and all others together."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words_of(text.lower()))
    kept = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS])
    return {**kept, OTHER: counts.total() - sum(kept.values())}


@dataclass(frozen=True)
class Guess:
    """How well the words of a text are guessed."""

    nll: float
    """Negative log-likelihood, natural logarithm."""
    words: int
    right: int
    """How often the most frequent word of all is the right one."""


def guess_words(texts: Iterable[str], counts: Mapping[str, int]) -> list[Guess]:
    """Return how well each text is guessed by the counts of `word_counts`; each word counts once more than it occurs.

    All words that are not told apart have one probability together.
    """
    total = math.log(sum(counts.values()) + len(counts))
    costs = {word: total - math.log(count + 1) for word, count in counts.items()}
    likeliest = max((word for word in counts if word != OTHER), key=lambda word: (counts[word], word), default=OTHER)
    found = []
    for text in texts:
        words = words_of(text.lower())
        nll = math.fsum(costs.get(word, costs[OTHER]) for word in words)
        found.append(Guess(nll, len(words), words.count(likeliest)))
    return found
