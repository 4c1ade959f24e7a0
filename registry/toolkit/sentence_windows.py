"""Where a text may be cut: its sentences, English and Chinese, and windows of whole sentences."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

CJK = (
    "\u2e80-\u2fdf\u3001-\u303f\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\ufe30-\ufe4f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\U00020000-\U0003ffff"
)
"""Characters of scripts that are written without blanks, with their marks, as in a class of a regular expression;
Korean is written with blanks."""

_ABBREVIATIONS = (
    *("mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "cf", "fig", "figs", "eq", "eqs", "al"),
    *("vol", "sec", "approx", "resp", "jr", "sr", "inc", "ltd", "co"),
)
_CLOSING = "\"'”’」』）)】》]"
_CLOSE = f"[{re.escape(_CLOSING)}]*"
_ENDS = (
    rf"|[.!?]+{_CLOSE}(?:\s+|$)"  # half-width marks only before a blank: not in 3.5 or example.org
    rf"|(?<=[{CJK}])[.!?]+(?=[{CJK}])"  # but in Chinese they have no blank behind them
    r"|\s*\n\s*"
)
_SENTENCE_END = re.compile(rf"[。！？]+{_CLOSE}\s*{_ENDS}")
_CLAUSE_END = re.compile(rf"[。！？；…]+{_CLOSE}\s*{_ENDS}")
_DOTTED = re.compile(r"(?:[^\W\d_]\.)*[A-Z]|(?:[^\W\d_]\.)+[^\W\d_]")
_WORD_OR_CHARACTER = re.compile(rf"[{CJK}]|[^\W_{CJK}]+")
_LAST_WORD = re.compile(r"[\w.]+$")
_JOINERS = "\u200d\ufe0f\ufe0e"
_LOOK_AHEAD = 64
"""Characters behind a window that are looked at: whether its last full stop ends a sentence."""


def sentence_ends(text: str, *, clauses: bool = False) -> list[int]:
    """Return the positions behind each sentence and the blanks that follow it; the last is the end of the text.

    With ``clauses`` a Chinese semicolon and an ellipsis end one too.
    """
    found = (_CLAUSE_END if clauses else _SENTENCE_END).finditer(text)
    ends = [match.end() for match in found if not _is_abbreviation(text, match)]
    return ends if ends and ends[-1] == len(text) else [*ends, len(text)]


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, blanks around them removed."""
    cuts = [0, *sentence_ends(text)]
    found = (text[start:end].strip() for start, end in pairwise(cuts))
    return [sentence for sentence in found if sentence]


def _is_abbreviation(text: str, match: re.Match[str]) -> bool:
    """Tell whether a full stop belongs to ``Dr.``, ``U.S.`` or an initial, and ends no sentence."""
    if not match.group().startswith(".") or match.end() == len(text):
        return False
    word = _LAST_WORD.search(text, max(0, match.start() - 12), match.start())
    if word is None:
        return False
    if word.group().lower() == "no":  # a number, or an answer
        return text[match.end()].isdigit()
    return word.group().lower() in _ABBREVIATIONS or _DOTTED.fullmatch(word.group()) is not None


def cut_at(text: str, start: int, token_ends: Sequence[int]) -> int:
    """Return where a window that begins at ``start`` ends, given the ends of the tokens that would fit into it.

    Behind the last whole sentence; without one, behind the last blank of the window's second half; without one, behind
    the last token. Never inside a character, be it several tokens or several code points (accents, joined emoji).
    """
    limit = token_ends[-1]
    nearby = text[start : limit + _LOOK_AHEAD]
    whole = [end for end in sentence_ends(nearby, clauses=True) if end <= limit - start]
    if whole:
        return start + whole[-1]
    if text[limit : limit + 1].isspace():
        return limit
    blank = max(text.rfind(mark, (start + limit) // 2 + 1, limit) for mark in " \t\u3000")
    if blank >= 0:
        return blank + 1
    return next((end for end in reversed(token_ends) if end > start and not _inside_character(text, end)), limit)


def _inside_character(text: str, position: int) -> bool:
    if not 0 < position < len(text):
        return False
    following, before = text[position], text[position - 1]
    return bool(unicodedata.combining(following)) or following in _JOINERS or before == "\u200d"


def words_of(text: str) -> list[str]:
    """Return the words of a text, marks left out; each character of Chinese and Japanese is a word."""
    found: list[str] = _WORD_OR_CHARACTER.findall(text)
    return [word for word in found if len(word) > 1 or word.isalnum()]
