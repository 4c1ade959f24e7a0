"""What a check is: a function that says what it saw, or why the plugin fails, or why it does not apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S")


class CheckError(Exception):
    """Report what is wrong with a plugin, and what its author can do about it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


class NotApplicable(Exception):  # noqa: N818 - it is none
    """Say why a check does not apply to a plugin."""


@dataclass(frozen=True)
class Check(Generic[S]):
    """One check of one kind of subject."""

    name: str
    """As users write it: ``label-alignment``."""
    summary: str
    """What must hold, in one line."""
    run: Callable[[S], str]
    """Returns what was seen, in a few words. Raises `CheckError` or `NotApplicable`; whatever else it raises is a
    failure too, named as an error of the plugin."""
