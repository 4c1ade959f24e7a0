"""How things are measured here: child processes in turns, their seconds, and what the machine could have done.

A and B run in turns, A B A B, so that a busy neighbour slows both alike. A ratio is taken within each turn; what is
told of it is median, smallest and largest. CPU seconds are user and system seconds of the process and what it started.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "PYTHONWARNINGS": "ignore",
    "DS_ACCELERATOR": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
}


@dataclass(frozen=True)
class Usage:
    """What one child process took."""

    wall: float
    """Seconds from start to end."""
    cpu: float
    """User and system seconds, those of its own children included."""
    peak_bytes: int
    output: str
    report: Any
    """What it wrote as JSON into the file that its environment names as ``BENCHMARK_REPORT``; None if nothing."""


def run_child(command: Sequence[str]) -> Usage:
    """Run a command and return what it took.

    Raises:
        RuntimeError: It failed; bears the end of its output.

    """
    with tempfile.TemporaryDirectory() as folder:
        output, report = Path(folder) / "output", Path(folder) / "report"
        environment = {**os.environ, **ENVIRONMENT, "BENCHMARK_REPORT": str(report)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's second start finds everything compiled
        with output.open("wb") as file:
            started = time.perf_counter()
            child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
            _, status, used = os.wait4(child.pid, 0)
            wall = time.perf_counter() - started
            child.returncode = os.waitstatus_to_exitcode(status)
        text = output.read_text(encoding="utf-8", errors="replace")
        if child.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}:\n{text[-2000:]}")
        found = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else None
    return Usage(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, text, found)


def write_report(report: Any) -> None:
    """Hand a child's findings to the process that measures it."""
    Path(os.environ["BENCHMARK_REPORT"]).write_text(json.dumps(report), encoding="utf-8")


def take_turns(
    sides: Mapping[str, Callable[[], Usage]], pairs: int, tell: Callable[[str], None]
) -> dict[str, list[Usage]]:
    """Run every side once, and that ``pairs`` times over."""
    found: dict[str, list[Usage]] = {name: [] for name in sides}
    for number in range(1, pairs + 1):
        for name, run in sides.items():
            found[name].append(run())
            tell(f"  turn {number}/{pairs}  {name}: {found[name][-1].cpu:.2f} CPU s, {found[name][-1].wall:.2f} s")
    return found


@dataclass(frozen=True)
class Spread:
    """A figure that was taken several times."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise values."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f}-{self.most:.2f})"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    benchmark: str
    figure: str
    ours: str
    peer: str
    value: Spread
    """Peer divided by ours (more is better), or a figure of ours alone."""
    goal: float | None = None
    at_most: bool = False
    """Whether less is better."""

    @property
    def verdict(self) -> str:
        """Say what the goal is and whether the median reaches it."""
        if self.goal is None:
            return ""
        reached = self.value.median <= self.goal if self.at_most else self.value.median >= self.goal
        return f"{'≤' if self.at_most else '≥'} {self.goal:g}: {'reached' if reached else 'not reached'}"


@dataclass(frozen=True)
class Result:
    """What one benchmark found."""

    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    """Every single measurement, for ``--json``."""


def compare(
    benchmark: str,
    figure: str,
    ours: Sequence[float],
    peer: Sequence[float],
    *,
    goal: float | None = None,
) -> Row:
    """Return the row of a ratio: peer over ours within each turn."""
    ratios = [theirs / own for own, theirs in zip(ours, peer, strict=True)]
    return Row(benchmark, figure, seconds(ours), seconds(peer), Spread.of(ratios), goal)


def seconds(values: Sequence[float]) -> str:
    """Return the median of some seconds, as text."""
    middle = statistics.median(values)
    return f"{middle:.3f} s" if middle < 1 else f"{middle:.2f} s"


def raw(usages: Mapping[str, Sequence[Usage]]) -> dict[str, Any]:
    """Return measurements as they go into the JSON file: all but what the programs printed."""
    return {
        name: [{key: value for key, value in asdict(usage).items() if key != "output"} for usage in taken]
        for name, taken in usages.items()
    }


def multiply_speed() -> float:
    """Return how many floating-point operations a CPU second of one thread does in float32 matrix products."""
    return float(run_child([sys.executable, str(HERE / "matrix_product.py")]).report["per_second"])
