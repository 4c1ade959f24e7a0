"""B4: two pipeline stages against one process, and against torch's own one-forward-one-backward schedule.

With m micro-batches two stages can be at most 2m / (m + 1) times as fast as one process: at the ends one of them waits.
The efficiency is the part of it that is reached. MiniLM in float32, micro-batches of 512 tokens, rows of one length.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from b03_zero import in_ranks
from measure import Result, Row, Spread, Usage, compare, multiply_speed, raw, seconds, take_turns
from mixed_rows import UNIFORM, write_rows

TOKENS = 512
ROWS = TOKENS // UNIFORM
MICRO_BATCHES = (2, 4, 8, 16, 32)
STEPS = 3
GOALS = {8: 0.92, 16: 0.95}


def measure(pairs: int, tell: Callable[[str], None]) -> Result:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        files = {count: Path(folder) / f"rows-{count}.jsonl" for count in MICRO_BATCHES}
        for count, file in files.items():
            write_rows(file, STEPS * count * ROWS, uniform=True)
        sides = {
            "pipe2+zero1": lambda: _polyhead(files, "pipe2+zero1", 2),
            "one process": lambda: _polyhead(files, "single", 1),
            "torch pipelining": lambda: _pipelining(files),
        }
        before = multiply_speed()
        found = take_turns(sides, pairs, tell)
        speeds = (before, multiply_speed())
    notes = [
        f"micro-batches of {TOKENS} tokens; {STEPS - 1} steps counted for each number of them, wall clock",
        f"one thread, float32 matrix products: {speeds[0] / 1e9:.0f} GFLOP/s before, {speeds[1] / 1e9:.0f} after",
    ]
    return Result(_rows(found), notes, {**raw(found), "flops": speeds})


def _polyhead(files: dict[int, Path], layout: str, processes: int) -> Usage:
    runs = [
        {
            "layout": layout,
            "data.train": str(file),
            "data.max_tokens": TOKENS,
            "training.batch_size": count * ROWS,
            "partition": "[3,3]" if processes == 2 else "auto",
        }
        for count, file in files.items()
    ]
    with tempfile.TemporaryDirectory() as output:
        return in_ranks(processes, "polyhead", {"rows": "", "runs": runs, "output": output})


def _pipelining(files: dict[int, Path]) -> Usage:
    runs = [{"micro_batches": count, "batch_size": count * ROWS, "rows": str(file)} for count, file in files.items()]
    return in_ranks(2, "pipelining", {"runs": runs})


def _wall(found: Sequence[Usage], run: int) -> list[float]:
    """Return the seconds of a step, in each turn."""
    return [float(usage.report[run]["wall"]) / (len(usage.report[run]["losses"]) - 1) for usage in found]


def _rows(found: dict[str, list[Usage]]) -> list[Row]:
    rows = []
    for run, count in enumerate(MICRO_BATCHES):
        ideal = 2 * count / (count + 1)
        ours, alone = _wall(found["pipe2+zero1"], run), _wall(found["one process"], run)
        reached = [one / two / ideal for one, two in zip(alone, ours, strict=True)]
        figure = f"{count} micro-batches: part of the ideal {ideal:.2f}"
        rows.append(Row("B4", figure, seconds(ours), seconds(alone), Spread.of(reached), GOALS.get(count)))
        torch_ = _wall(found["torch pipelining"], run)
        rows.append(compare("B4", "  against torch's 1F1B: wall clock", ours, torch_))
        peer = statistics.median(one / two / ideal for one, two in zip(alone, torch_, strict=True))
        rows.append(Row("B4", "  part of the ideal that torch's reaches", "", f"{peer:.2f}", Spread(peer, peer, peer)))
    return rows
