"""How an unknown name is answered: did you mean, and what there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from polyhead.registry.errors import UnknownNameError


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for a ``kind`` ("task", "backbone", ...) that nobody registered under ``name``."""
    names = sorted(known)
    return UnknownNameError(f"unknown {kind} '{name}'.{did_you_mean(name, names)} {available(names)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest known name, or nothing where none is near."""
    by_lower_case = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), list(by_lower_case), n=1, cutoff=0.6)
    return f" Did you mean '{by_lower_case[near[0]]}'?" if near else ""


def available(names: Iterable[str], *, most: int = 20) -> str:
    """Return ``Available: a, b, c.``, cut after ``most`` names (and says how many more there are)."""
    listed = list(names)
    if not listed:
        return "None is available."
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return f"Available: {', '.join(listed[:most])}{more}."
