"""Where words begin, character by character: by blanks and marks, and in Chinese and Japanese by a list of words.

The list is learned from texts: sequences of characters that stand together more often than chance would have it (Sproat
and Shih 1990, mutual information) and whose neighbours on both sides vary (Feng et al. 2004, accessor variety). It may
also be read from a file. A run of characters is then cut into the likeliest words of the list (a unigram model).
Import this module inside a function: it loads numpy.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import Unigram

from polyhead.registry.errors import DataError
from polyhead.registry.toolkit.sentence_windows import CJK

Words = Sequence[tuple[str, float]]
"""Words of a script without blanks, each with its score: the logarithm of how often it occurs among all words."""

LONGEST = 4
"""Characters in the longest word that is learned."""
FEWEST = 5
"""How often a word must occur to be learned."""
COHESION = 12.0
"""How much more often the parts of a word must stand together than chance would have it."""
VARIETY = 3
"""How many different neighbours a word must have on either side; the edge of a run counts as one of its own."""
MOST_WORDS = 12_000
MOST_CHARACTERS = 400_000
"""How much of the texts is looked at."""

_RUN = re.compile(rf"(?:(?=[{CJK}])\w)+")
_PIECES = re.compile(rf"(?P<run>(?:(?=[{CJK}])\w)+)|(?:(?![{CJK}])\w)+|\S")


# ── the list of words ───────────────────────────────────────────────────────────────────────────────────


def learn_words(texts: Iterable[str]) -> list[tuple[str, float]]:
    """Return the words that texts in scripts without blanks are made of, single characters among them.

    The same texts give the same words in the same order, on every process. Empty where there are no such texts.
    """
    runs = Counter(_runs(texts))
    counts = _sequences(runs)
    singles = sum(count for sequence, count in counts.items() if len(sequence) == 1)
    cohesive = {
        sequence
        for sequence, count in counts.items()
        if len(sequence) > 1 and count >= FEWEST and _cohesion(sequence, counts, singles) >= COHESION
    }
    varied = _varied(runs, cohesive)
    longer = sorted(varied, key=lambda sequence: (-counts[sequence], sequence))[:MOST_WORDS]
    known = {sequence: counts[sequence] for sequence in longer}
    known |= {sequence: count for sequence, count in counts.items() if len(sequence) == 1}
    total = math.log(sum(known.values()) or 1)
    return [(word, round(math.log(count) - total, 6)) for word, count in sorted(known.items())]


def read_words(path: Path) -> list[tuple[str, float]]:
    """Return the words of a file: one a line, with a number behind it that says how often it occurs, or without.

    Raises:
        DataError: The file cannot be read, or holds a line of another form.

    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"options.chinese_words: {path} cannot be read: {error}") from error
    counts: dict[str, float] = {}
    for number, line in enumerate(lines, 1):
        word, _, rest = line.strip().partition("\t") if "\t" in line else line.strip().partition(" ")
        if not word:
            continue
        count = rest.split()[0] if rest.split() else "1"
        if not re.fullmatch(r"\d+(\.\d+)?", count) or float(count) <= 0:
            raise DataError(f"{path}, line {number}: expected a word, or a word and how often it occurs: {line!r:.60}")
        counts[word] = counts.get(word, 0.0) + float(count)
    if not counts:
        raise DataError(f"options.chinese_words: {path} holds no words")
    total = math.log(sum(counts.values()))
    return [(word, round(math.log(count) - total, 6)) for word, count in sorted(counts.items())]


def _runs(texts: Iterable[str]) -> Iterable[str]:
    left = MOST_CHARACTERS
    for text in texts:
        for run in _RUN.findall(text):
            yield run
            left -= len(run)
        if left <= 0:
            return


def _sequences(runs: Counter[str]) -> Counter[str]:
    """Count all sequences of up to the longest word's length."""
    counts: Counter[str] = Counter()
    for run, times in runs.items():
        for start in range(len(run)):
            for end in range(start + 1, min(start + LONGEST, len(run)) + 1):
                counts[run[start:end]] += times
    return counts


def _cohesion(sequence: str, counts: Counter[str], total: int) -> float:
    """Return how many times as often it occurs as its parts would by chance, cut where that is least."""
    cuts = range(1, len(sequence))
    return counts[sequence] * total / max(counts[sequence[:cut]] * counts[sequence[cut:]] for cut in cuts)


def _varied(runs: Iterable[str], candidates: set[str]) -> list[str]:
    """Return the candidates that have enough different neighbours on both sides."""
    before: dict[str, set[str]] = {sequence: set() for sequence in candidates}
    behind: dict[str, set[str]] = {sequence: set() for sequence in candidates}
    for number, run in enumerate(runs):
        for start in range(len(run)):
            for end in range(start + 2, min(start + LONGEST, len(run)) + 1):
                sequence = run[start:end]
                if sequence in candidates:
                    before[sequence].add(run[start - 1] if start else str(number))
                    behind[sequence].add(run[end] if end < len(run) else str(number))
    return [each for each in candidates if min(len(before[each]), len(behind[each])) >= VARIETY]


# ── words in a text ─────────────────────────────────────────────────────────────────────────────────────


class WordCutter:
    """Tells where the words of a text begin."""

    def __init__(self, words: Words) -> None:
        unknown = ("\0", min((score for _, score in words), default=0.0) - 10.0)
        self._model = Tokenizer(Unigram([unknown, *words], unk_id=0)) if words else None
        self._cut = lru_cache(maxsize=100_000)(self._cut_run)

    def starts(self, text: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return for each character whether a word begins there: ``[characters]``.

        A mark is a word by itself, and so is a character of a script without blanks where no words are known. A blank
        counts as the beginning of what follows it.
        """
        found = np.zeros(len(text), dtype=bool)
        places: list[int] = []
        end = 0
        for match in _PIECES.finditer(text):
            begin = match.start()
            places.extend(range(end, begin + 1))  # the blanks between
            if match["run"] is not None:
                places.extend(begin + start for start in self._cut(match["run"]))
            end = match.end()
        places.extend(range(end, len(text)))
        found[places] = True
        return found

    def _cut_run(self, run: str) -> tuple[int, ...]:
        """Return where the words of a run of characters begin."""
        if self._model is None:
            return tuple(range(len(run)))
        found = self._model.encode(run)
        starts: list[int] = []
        for token, (start, end) in zip(found.ids, found.offsets, strict=True):
            starts.extend(range(start, end) if token == 0 else (start,))
        return tuple(starts)


@lru_cache(maxsize=4)
def cutter_for(words: tuple[tuple[str, float], ...]) -> WordCutter:
    """Return the cutter of a list of words; the same list gives the same one."""
    return WordCutter(words)


def words_of_tokens(
    text: str, spans: Sequence[tuple[int, int]], cutter: WordCutter
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return for each token the number of its word, counted from 0, given the tokens' places in the text: ``[tokens]``.

    A token that begins inside a word belongs to it, be it ``##ing``, a byte of a character or a character of a Chinese
    word; blanks that are a token of their own go with what follows them.
    """
    if not spans:
        return np.zeros(0, dtype=np.int64)
    edges = np.asarray(spans, dtype=np.int64)
    begins = cutter.starts(text + " ")
    opens = begins[np.minimum(edges[:, 0], len(text))]
    opens[1:] &= edges[1:, 0] >= edges[:-1, 1]  # not a further byte of the same character
    blank = np.array([not text[start:end].strip() for start, end in spans])
    opens[1:] &= ~(blank[:-1] & ~blank[1:])
    opens[0] = True
    return np.cumsum(opens) - 1
