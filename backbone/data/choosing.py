"""Take a few of many: evenly spaced, for rows of one kind often stand together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def evenly(items: Sequence[T], wanted: int) -> list[T]:
    """Return so many items, evenly spaced and in order; all of them where there are no more."""
    if len(items) <= wanted:
        return list(items)
    return [items[number * len(items) // wanted] for number in range(wanted)]
