"""Show what plugins do and how long it takes: ``POLYHEAD_TRACE_PLUGINS=1``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

TRACE = "POLYHEAD_TRACE_PLUGINS"
"""The environment variable that turns it on; empty and ``0`` leave it off."""


class Trace:
    """One line on the error stream for each import of a plugin, and for each call of its hooks and readers."""

    def __init__(self) -> None:
        self.answer: object = None
        """What the call gave."""


@contextmanager
def traced(plugin: str, call: str) -> Iterator[Trace]:
    """Time what happens inside, and print it where tracing is on; what fails is printed too.

    ``plugin`` is named as ``distribution:plugin``, ``call`` as the hook with its arguments.
    """
    trace, started = Trace(), time.perf_counter()
    if os.environ.get(TRACE, "") in {"", "0"}:
        yield trace
        return
    try:
        yield trace
    except BaseException as error:
        _print(plugin, call, started, f"{type(error).__name__}: {error}")
        raise
    _print(plugin, call, started, _in_words(trace.answer))


def _print(plugin: str, call: str, started: float, outcome: str) -> None:
    rank = os.environ.get("RANK")
    place = f"plugins rank {rank}" if rank else "plugins"
    milliseconds = (time.perf_counter() - started) * 1_000
    sys.stderr.write(f"[{place}] {milliseconds:9.2f} ms  {plugin}  {call}  -> {' '.join(outcome.split())}\n")


def _in_words(answer: object) -> str:
    if isinstance(answer, list | tuple):
        names = [str(getattr(item, "name", type(item).__name__)) for item in answer]
        return ", ".join(names) or "nothing"
    return "nothing" if answer is None else type(answer).__name__
