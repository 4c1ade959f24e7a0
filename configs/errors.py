"""What can be wrong with a configuration, and how an unknown word in one is answered."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """Report a user's mistake in a configuration: one line per problem, each naming file and dotted key."""


def nearest(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """Return the known word that ``word`` resembles most, or None below ``likeness`` (0 to 1)."""
    by_lower_case = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(word.lower(), list(by_lower_case), n=1, cutoff=likeness)
    return by_lower_case[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest known word, or nothing where none is near."""
    near = nearest(word, known)
    return f" Did you mean '{near}'?" if near else ""
