"""B1: fine-tune the default backbone in float32 on rows of mixed length, against the Trainer of transformers.

The peer runs twice: as it comes (random order, one padded batch a step) and at its best (length grouping, gradient
accumulation, single rows: whichever arrangement a short trial finds fastest). A third run of it on polyhead's own
batches must give the same losses. A control on rows of one length shows what is left where nothing is padded.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import (
    HERE,
    Result,
    Row,
    Spread,
    Usage,
    compare,
    multiply_speed,
    raw,
    run_child,
    take_turns,
)
from mixed_rows import backbone_folder, write_rows

BATCH_SIZE = 16
TRIAL_ROWS, TRIAL_SHARE = 96, 4
"""The trial takes one row in four, so that grouping by length works in it as it will in the run; 96 at least."""
DEFAULT = {"strategy": "random", "micro": BATCH_SIZE}
CANDIDATES = (
    {"strategy": "group_by_length", "micro": BATCH_SIZE},
    {"strategy": "group_by_length", "micro": BATCH_SIZE // 4},
    {"strategy": "random", "micro": 1},
)
SAME_BATCHES = {"strategy": "same-batches", "micro": BATCH_SIZE}
EQUAL_LOSS = 1e-4
GOAL_DEFAULT, GOAL_BEST, GOAL_ROOFLINE = 2.6, 1.15, 0.82
FULL_SIZE = 2_000
"""Rows from which the goal against the peer's best is judged: fewer hinder its grouping by length."""

Tell = Callable[[str], None]


def measure(pairs: int, rows: int, tell: Tell) -> Result:
    """Run the benchmark: ``rows`` rows, one epoch."""
    with tempfile.TemporaryDirectory() as folder:
        mixed, uniform, trial = (Path(folder) / f"{name}.jsonl" for name in ("mixed", "uniform", "trial"))
        write_rows(mixed, rows)
        write_rows(uniform, rows, uniform=True)
        write_rows(trial, min(rows, max(TRIAL_ROWS, rows // TRIAL_SHARE)))
        best = _best_arrangement(trial, tell)
        before = multiply_speed()
        sides = {
            "polyhead": lambda: _polyhead(mixed),
            "Trainer, default": lambda: _trainer(mixed, DEFAULT),
            "Trainer, best": lambda: _trainer(mixed, best),
        }
        found = take_turns(sides, pairs, tell)
        speeds = (before, multiply_speed())
        equal = _trainer(mixed, SAME_BATCHES)
        control_sides = {
            "polyhead": lambda: _polyhead(uniform),
            "Trainer": lambda: _trainer(uniform, DEFAULT),
        }
        control = take_turns(control_sides, max(2, pairs // 2), tell)
    rows_of_table = [*_ratios(found, rows), _roofline(found, mixed_lengths(rows), speeds), *_control(control)]
    notes = _notes(found, equal, control, best, speeds)
    if rows < FULL_SIZE:
        notes.append(f"{rows} rows hinder the peer's grouping: its best is judged from {FULL_SIZE:,} rows on")
    return Result(rows_of_table, notes, {"mixed": raw(found), "uniform": raw(control), "flops": speeds})


def _polyhead(rows: Path) -> Usage:
    job = {"rows": str(rows), "batch_size": BATCH_SIZE}
    return run_child([sys.executable, str(HERE / "finetune_workers.py"), "polyhead", json.dumps(job)])


def _trainer(rows: Path, *arrangements: dict[str, Any]) -> Usage:
    job = {"rows": str(rows), "batch_size": BATCH_SIZE, "runs": arrangements}
    return run_child([sys.executable, str(HERE / "finetune_workers.py"), "trainer", json.dumps(job)])


def _best_arrangement(trial: Path, tell: Tell) -> dict[str, Any]:
    """Return the peer's fastest arrangement, found by one short run of each after a run that warms up."""
    reports = _trainer(trial, CANDIDATES[0], *CANDIDATES).report[1:]
    for arrangement, report in zip(CANDIDATES, reports, strict=True):
        tell(f"  trial  {_described(arrangement)}: {report['cpu']:.2f} CPU s")
    fastest = min(range(len(reports)), key=lambda index: float(reports[index]["cpu"]))
    return dict(CANDIDATES[fastest])


def _described(arrangement: dict[str, Any]) -> str:
    order = "grouped by length" if arrangement["strategy"] == "group_by_length" else "random order"
    return f"{order}, micro-batches of {arrangement['micro']}"


def _report(usage: Usage) -> dict[str, Any]:
    """Return what a worker found; the Trainer's gives a list of runs, here of one."""
    found: dict[str, Any] = usage.report[0] if isinstance(usage.report, list) else usage.report
    return found


def _times(usages: Sequence[Usage], key: str) -> list[float]:
    return [float(_report(usage)[key]) for usage in usages]


def _ratios(found: dict[str, list[Usage]], row_count: int) -> list[Row]:
    ours = found["polyhead"]
    rows = []
    against_best = GOAL_BEST if row_count >= FULL_SIZE else None
    for peer, goal in (("Trainer, default", GOAL_DEFAULT), ("Trainer, best", against_best)):
        theirs = found[peer]
        cpu = compare("B1", f"training against {peer}: CPU", _times(ours, "cpu"), _times(theirs, "cpu"), goal=goal)
        wall = compare("B1", "  the same: wall clock", _times(ours, "wall"), _times(theirs, "wall"))
        whole = compare("B1", "  the whole process: CPU", [u.cpu for u in ours], [u.cpu for u in theirs])
        rows += [cpu, wall, whole]
    return rows


def _control(found: dict[str, list[Usage]]) -> list[Row]:
    ours, theirs = found["polyhead"], found["Trainer"]
    return [compare("B1", "control, one length: CPU", _times(ours, "cpu"), _times(theirs, "cpu"))]


def mixed_lengths(rows: int) -> list[int]:
    """Return the token counts of the mixed rows."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(backbone_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        write_rows(Path(file.name), rows)
        lines = Path(file.name).read_text(encoding="utf-8").splitlines()
    return [len(tokenizer.encode(json.loads(line)["text"]).ids) for line in lines]


def training_operations(lengths: Sequence[int]) -> float:
    """Return the floating-point operations of a training pass over real tokens only.

    Forward, a token: 2 operations for each weight of the blocks' matrices and, for attention, 4 per pair of tokens
    and width. Backward: twice as many. Embeddings, norms, head and optimizer are not counted.
    """
    config = json.loads((backbone_folder() / "config.json").read_text(encoding="utf-8"))
    layers, width, inner = config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"]
    weights = 4 * width * width + 2 * width * inner
    return float(sum(3 * layers * (2 * length * weights + 4 * length * length * width) for length in lengths))


def _roofline(found: dict[str, list[Usage]], lengths: Sequence[int], speeds: tuple[float, float]) -> Row:
    ideal = training_operations(lengths) / statistics.mean(speeds)
    ours, peer = (
        Spread.of([ideal / seconds for seconds in _times(found[name], "cpu")]) for name in ("polyhead", "Trainer, best")
    )
    return Row(
        "B1", "fraction of roofline, real tokens", f"{ours.median:.2f}", f"{peer.median:.2f}", ours, GOAL_ROOFLINE
    )


def _notes(
    found: dict[str, list[Usage]],
    equal: Usage,
    control: dict[str, list[Usage]],
    best: dict[str, Any],
    speeds: tuple[float, float],
) -> list[str]:
    ours, theirs = _report(found["polyhead"][0])["losses"], _report(equal)["losses"]
    apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    verdict = "equal" if apart <= EQUAL_LOSS else "NOT EQUAL"
    notes = [
        f"best arrangement of the Trainer: {_described(best)}",
        f"one thread, float32 matrix products: {speeds[0] / 1e9:.0f} GFLOP/s before, {speeds[1] / 1e9:.0f} after",
        f"same batches: last loss {ours[-1]:.6f}, Trainer {theirs[-1]:.6f}",
        f"same batches: largest difference of the loss of a step {apart:.1e}, {verdict} to {EQUAL_LOSS:g}",
    ]
    for title, sides in (("mixed lengths", found), ("one length", control)):
        for name, usages in sides.items():
            report = _report(usages[0])
            notes.append(
                f"{title}, {name}: {report['tokens']:,} tokens, {1 - report['tokens'] / report['padded']:.0%} of what "
                f"is computed is padding, mean loss of the epoch {statistics.mean(report['losses']):.4f}"
            )
    return notes
