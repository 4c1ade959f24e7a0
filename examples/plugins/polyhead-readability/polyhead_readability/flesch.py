"""Flesch's reading ease of an English text: Flesch 1948, A New Readability Yardstick, Journal of Applied Psychology 32.

206.835 - 1.015 * words / sentences - 84.6 * syllables / words: about 100 is very easy, 0 very hard.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)?")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)")
_VOWELS = re.compile(r"[aeiouy]+")


def reading_ease(text: str) -> float | None:
    """Return the reading ease of a text, None where it has no word."""
    words = _WORD.findall(text)
    if not words:
        return None
    sentences = max(1, len(_SENTENCE_END.findall(text)))
    return 206.835 - 1.015 * len(words) / sentences - 84.6 * sum(map(syllables, words)) / len(words)


def syllables(word: str) -> int:
    """Return about how many syllables an English word has: groups of vowels, less a silent e at the end."""
    lower = word.lower()
    count = len(_VOWELS.findall(lower))
    if lower.endswith("e") and not lower.endswith(("le", "ee")) and count > 1:
        count -= 1
    return max(1, count)
