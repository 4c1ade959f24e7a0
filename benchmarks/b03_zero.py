"""B3: what ZeRO 0 to 3 cost in two processes, against torch's DistributedDataParallel and the Trainer of transformers.

All train MiniLM in float32 on rows of one length, 2,048 tokens a process and step, so that nothing is padded. Counted
are the CPU seconds of rank 0 for the steps after the first. The Trainer gets the very DeepSpeed JSON of polyhead.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import HERE, Result, Row, Usage, compare, multiply_speed, raw, run_child, take_turns
from mixed_rows import UNIFORM, write_rows

TOKENS = 2_048
"""Of one process in one step."""
BATCH_SIZE = 2 * TOKENS // UNIFORM
STEPS = 4
LAYOUTS = ("zero0", "zero1", "zero2", "zero3")
GOALS = {"zero1": 1 / 1.05, "zero2": 1 / 1.05, "zero3": 1 / 1.15}
"""The peer's seconds divided by ours, at least."""
TRAINER_LAYOUTS = ("zero2", "zero3")
PARAMETERS = 22_714_755
"""Of MiniLM with three labels: the Trainer's JSON has the buckets of ours."""


def measure(pairs: int, tell: Callable[[str], None]) -> Result:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        write_rows(rows, STEPS * BATCH_SIZE, uniform=True)
        sides: dict[str, Callable[[], Usage]] = {
            "polyhead": lambda: _polyhead(rows),
            "DDP": lambda: _peer("ddp", rows),
        }
        for layout in TRAINER_LAYOUTS:
            sides[f"Trainer, {layout}"] = lambda layout=layout: _peer("trainer", rows, deepspeed=_json(layout))  # type: ignore[misc]
        before = multiply_speed()
        found = take_turns(sides, pairs, tell)
        speeds = (before, multiply_speed())
    return Result(_rows(found), _notes(found, speeds), {**raw(found), "flops": speeds})


def _polyhead(rows: Path) -> Usage:
    runs = [{"layout": layout, "training.batch_size": BATCH_SIZE, "data.max_tokens": TOKENS} for layout in LAYOUTS]
    with tempfile.TemporaryDirectory() as output:
        return in_ranks(2, "polyhead", {"rows": str(rows), "runs": runs, "output": output})


def _peer(side: str, rows: Path, **more: Any) -> Usage:
    return in_ranks(2, side, {"rows": str(rows), "batch_size": BATCH_SIZE, **more})


def in_ranks(count: int, side: str, job: dict[str, Any]) -> Usage:
    """Run a side of ``parallel_workers.py`` in so many processes."""
    return run_child(
        [
            sys.executable,
            str(HERE / "ranks.py"),
            str(count),
            str(HERE / "parallel_workers.py"),
            side,
            json.dumps(job),
        ]
    )


def _json(layout: str) -> dict[str, Any]:
    from polyhead.backbone.parallel.deepspeed_config import deepspeed_config, sized_for
    from polyhead.configs.load import load_config

    ours = sized_for(deepspeed_config(load_config("classification", [f"layout={layout}"])), PARAMETERS)
    ours["train_micro_batch_size_per_gpu"] = "auto"
    return ours


def _cpu(found: Sequence[Usage], run: int = 0) -> list[float]:
    return [float(usage.report[run]["cpu"]) for usage in found]


def _wall(found: Sequence[Usage], run: int = 0) -> list[float]:
    return [float(usage.report[run]["wall"]) for usage in found]


def _rows(found: dict[str, list[Usage]]) -> list[Row]:
    ours, rows = found["polyhead"], []
    for run, layout in enumerate(LAYOUTS):
        figure = f"{layout} against DDP: CPU"
        rows.append(compare("B3", figure, _cpu(ours, run), _cpu(found["DDP"]), goal=GOALS.get(layout)))
        rows.append(compare("B3", "  the same: wall clock", _wall(ours, run), _wall(found["DDP"])))
    for layout in TRAINER_LAYOUTS:
        theirs, run = found[f"Trainer, {layout}"], LAYOUTS.index(layout)
        rows.append(compare("B3", f"{layout} against the Trainer, same JSON: CPU", _cpu(ours, run), _cpu(theirs)))
        rows.append(compare("B3", "  the same: wall clock", _wall(ours, run), _wall(theirs)))
    return rows


def _notes(found: dict[str, list[Usage]], speeds: tuple[float, float]) -> list[str]:
    runs = found["polyhead"][0].report
    apart = max(abs(a - b) for run in runs[1:] for a, b in zip(run["losses"], runs[0]["losses"], strict=True))
    return [
        f"{TOKENS} tokens a process and step, {STEPS - 1} steps counted; no padding",
        f"one thread, float32 matrix products: {speeds[0] / 1e9:.0f} GFLOP/s before, {speeds[1] / 1e9:.0f} after",
        f"losses of the four ZeRO stages: largest difference {apart:.1e}",
    ]
