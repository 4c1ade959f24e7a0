"""SIGKILL at random moments of runs that write checkpoint and model at every step: what is there is always whole."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Kill = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def kill(tiny_bert: Path, chinese_reviews: Path, tmp_path: Path, program: Any, ports: Any) -> Kill:
    """Return what trains and kills, and says what was left each time."""

    def run(kills: int, longest: float, *overrides: str) -> list[dict[str, Any]]:
        common = [f"backbone={tiny_bert}", f"data.train={chinese_reviews}", "data.validation_fraction=0"]
        common += ["data.cache=false", "data.max_length=32", "training.batch_size=10", "training.max_steps=5000"]
        common += ["training.log_to=[]", f"output={tmp_path / 'run'}"]  # an epoch is one step: all is written after it
        request = {
            "overrides": [*common, *overrides],
            "kills": kills,
            "longest": longest,
            "ports": ports(kills),
            "seed": 20,
            "log": str(tmp_path / "log.txt"),
        }
        script = str(Path(__file__).with_name("kill_runs.py"))
        done = program(sys.executable, script, json.dumps(request), patience=900.0)
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    return run


def check(found: list[dict[str, Any]]) -> None:
    """Every kill left whole checkpoints, the next start took the newest, and the model is whole or not there."""
    saved = False
    newest = 0
    for left in found:
        assert left["damage"] == []
        assert left["codes"][0] == -9
        assert left["steps"] or not saved
        began_at = newest  # what the killed process must have started from
        assert not left["starts"] or left["starts"][-1] <= max(left["steps"], default=0)
        if not left["early"]:
            assert left["starts"][-1] == began_at
        if left["steps"]:
            assert max(left["steps"]) >= newest
            newest, saved = max(left["steps"]), True
        # Between the two renames of a swap it is absent; the old one waits under another name for the next start.
        assert left["model"] == "whole" or (left["model"] == "absent" and (not saved or ".old-model" in left["drafts"]))
    again: dict[int, list[float]] = {}
    for step, loss in found[-1]["losses"]:
        again.setdefault(step, []).append(loss)
    for losses in again.values():
        assert losses == pytest.approx([losses[0]] * len(losses), abs=1e-6)


def test_twenty_kills_of_one_process(kill: Kill) -> None:
    found = kill(20, 1.0)
    check(found)
    assert len(found) == 20
    drafts = [any(name.startswith(".writing-") for name in left["drafts"]) for left in found]
    assert sum(drafts) >= 3  # some fell into the middle of writing
    assert found[-1]["steps"][-1] >= 4


@pytest.mark.parametrize("layout", ["zero2"])
def test_kills_of_the_first_of_two_processes(layout: str, kill: Kill) -> None:
    found = kill(5, 0.8, f"layout={layout}")
    check(found)
    assert found[-1]["steps"]
    assert all(code in {1, -9} for left in found for code in left["codes"]), [left["codes"] for left in found]
