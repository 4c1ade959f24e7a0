"""How likely a text is if all one knows is how often each character occurs: the least that a model has to beat."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping

MOST_CHARACTERS = 5_000
"""How many characters are told apart; rarer ones count as one."""
OTHER = ""
"""Stands for all characters that are not told apart."""


def character_counts(texts: Iterable[str]) -> dict[str, int]:
    """Return how often the most frequent characters occur, and all others together."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    kept = dict(counts.most_common(MOST_CHARACTERS))
    return {**kept, OTHER: counts.total() - sum(kept.values())}


def negative_log_likelihoods(texts: Iterable[str], counts: Mapping[str, int]) -> list[float]:
    """Return the negative log-likelihood of each text, natural logarithm, by the counts of `character_counts`.

    Each character is counted once more than it occurs; what is left for the others is shared by all that Unicode has
    room for.
    """
    total = math.log(sum(counts.values()) + len(counts))
    costs = {character: total - math.log(count + 1) for character, count in counts.items()}
    unknown = costs[OTHER] + math.log(sys.maxunicode + 1 - (len(counts) - 1))
    return [math.fsum(costs.get(character, unknown) for character in text) for text in texts]
