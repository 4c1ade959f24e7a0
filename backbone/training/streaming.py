"""One process writes the tokens of a corpus, the others wait for it; then all of them read the same files."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from polyhead.backbone.data.token_store import Corpus, Store, open_store, store_path, write_store
from polyhead.backbone.parallel.processes import World
from polyhead.registry import EncodeSettings, PolyheadError, Task

Say = Callable[[str], None]
BEAT_SECONDS = 30.0
"""How often the others hear that the work goes on: they would give up waiting after some minutes."""
TELL_SECONDS = 10.0


def stored_features(task: Task[Any, Any], settings: EncodeSettings, corpus: Corpus, world: World, say: Say) -> Store:
    """Return the features of a corpus from disk, written now where they were not before; every rank calls it.

    Raises:
        PolyheadError: What is wrong with the texts or the disk, on every rank.

    """
    path = store_path(task, settings, corpus)
    if world.is_main:
        problem = None
        if open_store(path) is None:
            try:
                write_store(path, task, settings, corpus, _Beat(world, say))
            except PolyheadError as error:
                problem = error
        world.broadcast((True, problem))
    else:
        is_done = False
        while not is_done:
            is_done, problem = world.broadcast((False, None))
    if problem is not None:
        raise problem
    if open_store(path) is None and world.local_rank == 0:  # another host, with a cache folder of its own
        write_store(path, task, settings, corpus, lambda _: None)
    world.barrier()
    store = open_store(path)
    assert store is not None
    return store


class _Beat:
    """Tells people and processes how far the writing is."""

    def __init__(self, world: World, say: Say) -> None:
        self._world, self._say = world, say
        self._started = self._told = self._beaten = time.monotonic()

    def __call__(self, examples: int) -> None:
        """Note that so many texts are done."""
        now = time.monotonic()
        if now - self._told >= TELL_SECONDS:
            self._told = now
            self._say(f"streamed {examples:,} texts, {examples / (now - self._started):,.0f} a second")
        if now - self._beaten >= BEAT_SECONDS:
            self._beaten = now
            self._world.broadcast((False, None))
