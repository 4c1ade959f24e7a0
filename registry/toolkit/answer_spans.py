"""Which spans of a paragraph are the best answers, and what of the text they are.

Shapes: T tokens of a window, C those that an answer may hold, M the longest answer.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from numpy.typing import NDArray

JOINERS = "\u200d\ufe0e\ufe0f"
"""Zero-width joiner and variation selectors: they tie characters into one."""


def best_spans(
    start_T: NDArray[np.float32], end_T: NDArray[np.float32], offsets_T2: NDArray[np.int64], *, longest: int, most: int
) -> Iterator[tuple[float, int, int]]:
    """Yield the best spans of a window: score (start logit plus end logit), first character, end; best first.

    Args:
        start_T: Start logits.
        end_T: End logits.
        offsets_T2: Characters of each token, negative where an answer may not be.
        longest: Most tokens in a span.
        most: Most spans.

    """
    places_C = np.flatnonzero(offsets_T2[:, 0] >= 0)
    if not len(places_C):
        return
    width = min(longest, len(places_C))
    behind_C = np.concatenate([end_T[places_C].astype(np.float64), np.full(width - 1, -np.inf)])
    scores_CM = start_T[places_C].astype(np.float64)[:, None] + sliding_window_view(behind_C, width)
    flat = scores_CM.ravel()
    kept = np.argpartition(-flat, most)[:most] if most < len(flat) else np.arange(len(flat))
    for position in kept[np.argsort(-flat[kept], kind="stable")].tolist():
        if flat[position] == -np.inf:
            return
        first, further = divmod(position, width)
        yield (
            float(flat[position]),
            int(offsets_T2[places_C[first], 0]),
            int(offsets_T2[places_C[first + further], 1]),
        )


def tidy_span(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a span without white space around it, and with the marks that belong to its characters.

    An answer never begins or ends inside what a reader takes for one character: before a combining accent or a
    variation selector, or between emoji that are joined to one. Empty where there was nothing but white space.
    """
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    while 0 < start < end and _continues(text, start):
        start -= 1
    while start < end < len(text) and _continues(text, end):
        end += 1
    return start, end


def _continues(text: str, position: int) -> bool:
    """Whether the character at a position belongs to the one before it."""
    character, before = text[position], text[position - 1]
    return not before.isspace() and (
        character in JOINERS or before == "\u200d" or unicodedata.category(character).startswith("M")
    )
