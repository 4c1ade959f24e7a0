"""Ctrl-C and SIGTERM: a run ends after the step it is in, with a checkpoint."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second one dies at once."""
    received: list[int] = []

    def take(number: int, _: FrameType | None) -> None:
        if received:
            signal.signal(number, before[number])
            signal.raise_signal(number)
        received.append(number)

    before: dict[int, Any] = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def signal_names(numbers: Iterable[int]) -> str:
    """Return the names of signals for a message; a rank that received none was told by another."""
    return ", ".join(signal.Signals(number).name for number in numbers) or "a signal to another rank"
