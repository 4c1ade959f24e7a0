"""How near an answer is to the given ones: SQuAD's definition by words, CMRC 2018's by Chinese characters.

Sources: ``evaluate-v2.0.py`` of SQuAD (https://rajpurkar.github.io/SQuAD-explorer/) and ``cmrc2018_evaluate.py``
(https://github.com/ymcui/cmrc2018). Scores lie between 0 and 1.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache, lru_cache
from typing import Any, Literal

Language = Literal["en", "zh"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_ENGLISH_MARKS = frozenset(string.punctuation)
_CHINESE_MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_HAN = re.compile("[\u4e00-\u9fa5]")


@dataclass(frozen=True)
class AnswerScore:
    """How near one answer is to the best of the given ones."""

    exact: float
    f1: float


def normalised(text: str) -> str:
    """Return a text as SQuAD compares it: lower case, without punctuation, articles and spare white space."""
    kept = "".join(character for character in text.lower() if character not in _ENGLISH_MARKS)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def answer_score(found: str, given: Sequence[str], language: Language) -> AnswerScore:
    """Return exact match and F1 of an answer (empty: none) against the best of the given ones (none: unanswerable)."""
    of = _english if language == "en" else _chinese
    scores = [of(found, reference) for reference in given]
    if not scores:
        right = float(not (normalised(found) if language == "en" else found.strip()))
        return AnswerScore(right, right)
    return AnswerScore(max(score.exact for score in scores), max(score.f1 for score in scores))


def references_that_count(given: Iterable[str], language: Language) -> list[str]:
    """Return the given answers that something is left of; where none is, SQuAD takes the question as unanswerable."""
    return [text for text in given if language == "zh" or normalised(text)]


def language_of(texts: Iterable[str]) -> Language:
    """Return ``zh`` where at least half of the letters and digits are Chinese characters."""
    letters = Counter(bool(_HAN.match(character)) for text in texts for character in text if character.isalnum())
    return "zh" if letters[True] and letters[True] >= letters[False] else "en"


def _english(found: str, given: str) -> AnswerScore:
    found, given = normalised(found), normalised(given)
    ours, theirs = found.split(), given.split()
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return AnswerScore(float(found == given), _f1(shared, len(ours), len(theirs)))


def _chinese(found: str, given: str) -> AnswerScore:
    exact = float(_without_marks(found) == _without_marks(given))
    ours, theirs = segments(found), segments(given)
    return AnswerScore(exact, _f1(_longest_common_run(ours, theirs), len(ours), len(theirs)))


def _f1(shared: int, ours: int, theirs: int) -> float:
    """Return F1 of the shared parts; nothing against nothing is right."""
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * shared / (ours + theirs)


def _without_marks(text: str) -> str:
    return "".join(character for character in text.lower().strip() if character not in _CHINESE_MARKS)


def segments(text: str) -> tuple[str, ...]:
    """Return Chinese characters one by one and what stands between them word by word, without punctuation marks."""
    found: list[str] = []
    run = ""
    for character in text.lower().strip():
        if character in _CHINESE_MARKS:
            continue
        if _HAN.match(character):
            found.extend(_words(run))
            found.append(character)
            run = ""
        else:
            run += character
    return (*found, *_words(run))


@lru_cache(maxsize=4096)
def _words(run: str) -> tuple[str, ...]:
    """Return the words of a run that is not Chinese, by the tokenizer that CMRC's script takes."""
    return tuple(_word_tokenizer()(run)) if run.strip() else ()


@cache
def _word_tokenizer() -> Callable[[str], Iterable[Any]]:
    from nltk.tokenize import NLTKWordTokenizer  # type: ignore[import-untyped]  # heavy: kept out of plugin discovery

    tokenize: Callable[[str], Iterable[Any]] = NLTKWordTokenizer().tokenize
    return tokenize


def _longest_common_run(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """Return how many segments in a row both have; the script calls it the longest common sequence."""
    match = SequenceMatcher(None, ours, theirs, autojunk=False).find_longest_match(0, len(ours), 0, len(theirs))
    return match.size


def best_threshold(scores: Sequence[float], no_answer_scores: Sequence[float], answerable: Sequence[bool]) -> float:
    """Return the no-answer score above which questions should stay unanswered for the highest sum of scores.

    Args:
        scores: What the best span of each question earns if it is answered; not read where there is no answer.
        no_answer_scores: The higher, the less likely the question has an answer.
        answerable: Whether it has.

    """
    order = sorted(range(len(scores)), key=no_answer_scores.__getitem__)
    ranked = [no_answer_scores[index] for index in order]
    total = best = float(len(answerable) - sum(answerable))
    chosen = (ranked[0] - 1.0) if ranked else 0.0
    for place, index in enumerate(order):
        total += scores[index] if answerable[index] else -1.0
        last = place + 1 == len(order)
        if total > best and (last or ranked[place] < ranked[place + 1]):
            best, chosen = total, ranked[place] + 1.0 if last else (ranked[place] + ranked[place + 1]) / 2
    return chosen
