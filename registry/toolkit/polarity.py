"""What labels say of a sentiment: their order, and a number from -1 (negative) to 1 (positive) for each."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from polyhead.registry.errors import DataError
from polyhead.registry.toolkit.labels import check_known

Scale = Literal["labels", "stars", "number"]

STARS = (1, 5)
MOST_GRADES = 11
"""With more different numbers than this, they are measurements, not classes."""
USUAL_RANGES = ((0, 1), (-1, 1), (1, 5), (0, 5), (-5, 5), (1, 10), (0, 10), (0, 100), (-100, 100))
"""The first of these that holds all numbers of the training data is taken for their range."""
_STARRED = re.compile(r"([0-9]+)\s*(?:stars?|星)?")

NAMES: dict[int, str] = {
    -2: "very negative,strongly negative,extremely negative,很差,非常差,非常负面,很负面,强烈负面,非常消极",
    -1: "negative,neg,bad,unfavorable,unfavourable,negativ,negatif,négatif,negativo,"
    "负面,負面,负向,負向,负,負,消极,消極,差评,差評,差,坏,壞,贬义,贬,不满意,ネガティブ,부정",
    0: "neutral,neu,mixed,conflict,both,neutre,neutro,中性,中立,中评,中評,中,一般,混合,褒贬不一,ニュートラル,중립",
    1: "positive,pos,good,favorable,favourable,positiv,positif,positivo,"
    "正面,正向,正,积极,積極,好评,好評,好,褒义,褒,满意,滿意,ポジティブ,긍정",
    2: "very positive,strongly positive,extremely positive,很好,非常好,非常正面,很正面,强烈正面,非常积极",
}
"""Names of polarities by strength, in small letters; blanks, ``_`` and ``-`` mean the same."""
STRENGTHS: dict[str, int] = {name: strength for strength, names in NAMES.items() for name in names.split(",")}
"""The strength of each known name."""


@dataclass(frozen=True)
class LabelScale:
    """What the labels of a model mean."""

    polarities: tuple[float, ...] | None
    """From -1 to 1, one for each label; None where some label's is not known."""
    ranks: tuple[int, ...] | None
    """The labels' places in their order: whole numbers (stars, where labels are those); None where there is none."""


def number_in(label: str) -> float | None:
    """Return the number that a label is (``4``, ``-0.5``, ``4 stars``, ``4星``), or None."""
    text = unicodedata.normalize("NFKC", label).strip().casefold()
    starred = _STARRED.fullmatch(text)
    try:
        value = float(starred[1] if starred else text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def scale_of(labels: Sequence[str]) -> Scale:
    """Tell from the labels of the training data what they are.

    ``number``: they are numbers, some of them fractions or more than `MOST_GRADES`; ``stars``: at least three whole
    numbers from 1 to 5; ``labels``: all else, a few other whole numbers included.
    """
    numbers = [number_in(label) for label in labels]
    if None in numbers:
        return "labels"
    values = [value for value in numbers if value is not None]
    if len(values) > MOST_GRADES or any(value % 1 for value in values):
        return "number"
    return "stars" if len(values) > 2 and STARS[0] <= min(values) <= max(values) <= STARS[1] else "labels"


def is_number_scale(labels: Sequence[str], scale: Scale | Literal["auto"]) -> bool:
    """Whether these are numbers to be told, not classes to be chosen from."""
    return scale == "number" or (scale == "auto" and scale_of(labels) == "number")


def label_scale(
    labels: tuple[str, ...], scale: Scale | Literal["auto"] = "auto", overrides: Mapping[str, float] | None = None
) -> LabelScale:
    """Return polarities and order of the labels.

    Args:
        labels: Names, in the model's order.
        scale: ``stars``: grades from 1 to 5; other whole numbers span their own range; ``auto``: told from the labels.
        overrides: Polarities by label, instead of what its name says.

    Raises:
        DataError: An override of an unknown label, or beyond -1 and 1; a label without polarity beside overrides;
            with ``stars``, a label that is no grade.

    """
    return _label_scale(labels, scale, tuple(sorted((overrides or {}).items())))


@functools.lru_cache(maxsize=64)  # asked for again at every prediction
def _label_scale(labels: tuple[str, ...], scale: str, overrides: tuple[tuple[str, float], ...]) -> LabelScale:
    given = dict(overrides)
    check_known("options.polarity", given, labels)
    for label, value in overrides:
        if not -1 <= value <= 1:
            raise DataError(f"options.polarity.{label}: expected a number from -1 to 1, found {value}")
    numbers = _whole_numbers(labels)
    stars = scale == "stars" or (scale == "auto" and scale_of(labels) == "stars")
    if stars:
        _check_stars(labels)
    known = _of_names(labels) if numbers is None else _of_grades(numbers, stars=stars)
    found = [given.get(label, value) for label, value in zip(labels, known, strict=True)]
    if None in found:
        if given:
            missing = ", ".join(label for label, value in zip(labels, found, strict=True) if value is None)
            raise DataError(f"options.polarity: say a number from -1 to 1 for these labels too: {missing}")
        return LabelScale(None, None)
    polarities = tuple(float(value) for value in found if value is not None)
    if len(set(polarities)) < len(labels):  # neutral and mixed: no order between them
        return LabelScale(polarities, None)
    if numbers is not None and not given:
        return LabelScale(polarities, tuple(numbers))
    return LabelScale(polarities, tuple(sorted(polarities).index(value) for value in polarities))


def usual_range(values: Sequence[float]) -> tuple[float, float]:
    """Return the usual range that holds all values, or the one they span."""
    low, high = min(values), max(values)
    return next(((float(a), float(b)) for a, b in USUAL_RANGES if a <= low and high <= b), (low, high))


def to_polarity(value: float, span: Sequence[float]) -> float:
    """Map a number of a range to its place between -1 and 1."""
    low, high = span
    return 2 * (value - low) / (high - low) - 1


def from_polarity(polarity: float, span: Sequence[float]) -> float:
    """Map a number between -1 and 1 to its place in a range."""
    low, high = span
    return low + (polarity + 1) / 2 * (high - low)


def _whole_numbers(labels: Sequence[str]) -> list[int] | None:
    numbers = [number_in(label) for label in labels]
    if not labels or any(value is None or value % 1 for value in numbers):
        return None
    return [int(value or 0) for value in numbers]


def _check_stars(labels: Sequence[str]) -> None:
    grades = range(STARS[0], STARS[1] + 1)
    for label in labels:
        if number_in(label) not in grades:
            raise DataError(f"options.scale=stars: label '{label}' is no whole number from {grades[0]} to {grades[-1]}")


def _of_grades(numbers: Sequence[int], *, stars: bool) -> list[float | None]:
    span = STARS if stars else (min(numbers), max(numbers))
    return [to_polarity(number, span) if span[0] < span[1] else None for number in numbers]


def _of_names(labels: Sequence[str]) -> list[float | None]:
    """Return strengths over the greatest one: beside ``very negative``, ``negative`` is a half."""
    strengths = [STRENGTHS.get(_plain(label)) for label in labels]
    greatest = max((abs(strength) for strength in strengths if strength is not None), default=0) or 1
    return [None if strength is None else strength / greatest for strength in strengths]


def _plain(label: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", label)).strip().casefold()
