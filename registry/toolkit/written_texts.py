"""What a model wrote: one text a window joined to one text, its candidates and its probability."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from polyhead.registry.contracts import Generated, Window
from polyhead.registry.toolkit.sentence_windows import CJK

_BLANK_BETWEEN = re.compile(rf"(?<=[{CJK}])[ ]+(?=[{CJK}])")
_BLANK_AROUND_MARK = re.compile(r" +(?=[，。！？；：、）》」』】…])|(?<=[（《「『【]) +")
_CONTRACTION = re.compile(r"(?<=\w) ?' ?(?=(?:s|t|m|re|ve|ll|d)\b)", re.IGNORECASE)
_AT_THE_END = re.compile(rf"[{CJK}]\Z")
_AT_THE_START = re.compile(rf"\A[{CJK}]")


@dataclass(frozen=True)
class WrittenText:
    """A text and how probable the model found it."""

    text: str
    log_probability: float
    """Natural logarithm, summed over all tokens of all windows, ends included."""
    tokens: int
    """How many tokens that sum runs over."""
    finished: bool
    """False where the limit of tokens cut it off, in some window."""


@dataclass(frozen=True)
class Written:
    """What was written for one source: the best text, all candidates, and from how many windows they were joined."""

    best: WrittenText
    candidates: tuple[WrittenText, ...]
    windows: int


def generated_windows(windows: Sequence[Window]) -> list[Window]:
    """Return the windows that something was generated from, in order: those of prompts."""
    return [window for window in windows if window.generated]


def join_windows(windows: Sequence[Window]) -> Written:
    """Join what was written window by window: candidate n is made of the n-th best of every window.

    Without windows (nothing was generated) the text is empty.
    """
    found = [window.generated for window in windows]
    depth = min((len(generated) for generated in found), default=0)
    candidates = tuple(_joined([generated[rank] for generated in found]) for rank in range(depth))
    return Written(candidates[0] if candidates else WrittenText("", 0.0, 0, finished=False), candidates, len(found))


def _joined(parts: Sequence[Generated]) -> WrittenText:
    return WrittenText(
        join_texts([tidy(part.text) for part in parts]),
        sum(part.log_probability for part in parts),
        sum(part.tokens for part in parts),
        all(part.finished for part in parts),
    )


def join_texts(texts: Sequence[str]) -> str:
    """Join texts with a blank between them, but with none where Chinese or Japanese meets."""
    joined = ""
    for text in (text.strip() for text in texts):
        touching = _AT_THE_END.search(joined) or _AT_THE_START.search(text)
        joined += text if not joined or not text or touching else f" {text}"
    return joined


def tidy(text: str) -> str:
    """Take out the blanks that WordPiece puts between Chinese characters and into contractions, and those around."""
    without = _BLANK_AROUND_MARK.sub("", _BLANK_BETWEEN.sub("", text))
    return (_CONTRACTION.sub("'", without) if " ' " in without else without).strip()


def by_source(windows: Sequence[Window]) -> list[list[Window]]:
    """Return the windows of several sources of one example, source by source: each begins at its own start."""
    groups: list[list[Window]] = []
    last = 0
    for window in windows:
        start = next((start for start, end in window.feature.offsets if start < end), 0)
        if not groups or start <= last:
            groups.append([])
        groups[-1].append(window)
        last = start
    return groups
