"""Where the words of a text stand: split by Unicode rules, or joined from tokens; spans are in characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

Span = tuple[int, int]
"""Start and end (exclusive) in characters of a text."""

_ZERO_WIDTH_SPACES = frozenset("\u200b\u2060\ufeff")
_ZERO_WIDTH_JOINER = "\u200d"
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
_UNSPACED = (  # scripts written without spaces between words
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3031, 0x312F),  # kana, bopomofo
    (0x31A0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width kana
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x323AF),
)
_WIDE_MARKS = ((0x3000, 0x303F), (0xFE30, 0xFE4F), (0xFF01, 0xFF65))
_SHARED_MARKS = frozenset("“”‘’…—·《》")
"""Marks that Chinese and Western texts share: no space stands between them and a Chinese character."""


def split_words(text: str) -> tuple[Span, ...]:
    """Return the words of a text in order.

    White space, control characters and zero-width spaces separate words and belong to none. A run of letters and digits
    is a word; so is each punctuation mark and symbol, and each character of a script that is written without spaces
    (Chinese, Japanese, Thai, ...). Combining marks, variation selectors and joiners belong to what they follow, so
    that an emoji made of several code points is one word.
    """
    words: list[Span] = []
    start, run = -1, False  # where the open word began; whether letters may follow in it
    for at, character in enumerate(text):
        kind = _kind(character)
        continues = start >= 0 and (kind == "mark" or (kind == "letter" and run) or _joins(text, start, at))
        if continues:
            continue
        if start >= 0:
            words.append(_trimmed(text, start, at))
        # a joiner that follows nothing is no word; a combining mark that follows nothing is
        starts = kind in {"letter", "single"} or (kind == "mark" and not _is_format(character))
        start, run = (at if starts else -1), kind == "letter"
    if start >= 0:
        words.append(_trimmed(text, start, len(text)))
    return tuple(words)


def join_tokens(tokens: Sequence[str]) -> tuple[str, tuple[Span, ...]]:
    """Return the text that tokens make, and where each stands in it.

    A space goes between two tokens, but not between characters of scripts that are written without spaces, nor next to
    a full-width mark.
    """
    pieces: list[str] = []
    spans: list[Span] = []
    at, last = 0, ""
    for token in tokens:
        if last and token and not _touch(last, token[0]):
            pieces.append(" ")
            at += 1
        pieces.append(token)
        spans.append((at, at + len(token)))
        at += len(token)
        last = token[-1] if token else last
    return "".join(pieces), tuple(spans)


def find_tokens(tokens: Sequence[str], text: str) -> tuple[tuple[Span, ...], int | None]:
    """Return where tokens stand in a text, and the index of the first that does not follow the one before it.

    Only white space may lie between them; where all are found the index is None.
    """
    spans: list[Span] = []
    at = 0
    for index, token in enumerate(tokens):
        while not text.startswith(token, at) and at < len(text) and _kind(text[at]) == "space":
            at += 1
        if not text.startswith(token, at):
            return tuple(spans), index
        spans.append((at, at + len(token)))
        at += len(token)
    return tuple(spans), None


def word_at(words: Sequence[Span], length: int) -> list[int]:
    """Return for each character of a text of this length the index of its word, -1 where it has none."""
    found = [-1] * length
    for index, (start, end) in enumerate(words):
        found[start:end] = [index] * (end - start)
    return found


def trim(text: str, start: int, end: int) -> Span:
    """Return the span without the white space at its ends; an empty one where there is nothing else."""
    while start < end and _kind(text[start]) == "space":
        start += 1
    while start < end and _kind(text[end - 1]) == "space":
        end -= 1
    return start, end


def cut_at(borders: Iterator[int], length: int) -> list[Span]:
    """Return the pieces that a text of this length falls into when it is cut at these borders."""
    edges = sorted({0, length, *borders})
    return list(pairwise(edges))


def _kind(character: str) -> str:
    category = unicodedata.category(character)
    if character in _ZERO_WIDTH_SPACES or category in {"Cc", "Zs", "Zl", "Zp"}:
        return "space"
    if category in {"Mn", "Mc", "Me", "Cf"} or ord(character) in _SKIN_TONES:
        return "mark"
    if category[0] in "PS" or _within(character, _UNSPACED):
        return "single"
    return "letter"


def _joins(text: str, start: int, at: int) -> bool:
    """Return whether a symbol goes on with the emoji before it: after a joiner, or as second half of a flag."""
    if unicodedata.category(text[at]) != "So":
        return False
    if text[at - 1] == _ZERO_WIDTH_JOINER:
        return True
    return ord(text[at]) in _FLAG_LETTERS and at == start + 1 and ord(text[start]) in _FLAG_LETTERS


def _trimmed(text: str, start: int, end: int) -> Span:
    while end - 1 > start and _is_format(text[end - 1]):
        end -= 1
    return start, end


def _is_format(character: str) -> bool:
    return unicodedata.category(character) == "Cf"


def _touch(left: str, right: str) -> bool:
    if _within(left, _WIDE_MARKS) or _within(right, _WIDE_MARKS):
        return True
    wide = _within(left, _UNSPACED), _within(right, _UNSPACED)
    return all(wide) or (any(wide) and (left in _SHARED_MARKS or right in _SHARED_MARKS))


def _within(character: str, ranges: Sequence[tuple[int, int]]) -> bool:
    code = ord(character)
    return any(low <= code <= high for low, high in ranges)
