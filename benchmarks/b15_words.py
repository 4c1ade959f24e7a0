"""B15: a decoder that learns to answer prompts: words where labels are, against words at every position.

SmolLM2-135M (49,152 tokens) with LoRA in float32 on scientific abstracts and their summaries; the loss counts the
summary alone. The peer is polyhead itself with outputs over the vocabulary at every position, as libraries compute
them. Both must have the same losses.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from finetune_workers import Stopwatch
from measure import HERE, Result, Row, Usage, compare, raw, run_child, take_turns, write_report

SAMPLE = HERE.parent / "configs" / "samples" / "scitldr" / "train.jsonl.gz"
ROWS, BATCH_SIZE = 12, 4
EQUAL = 1e-5


def measure(pairs: int, tell: Callable[[str], None]) -> Result:
    """Run the benchmark."""
    sides = {"polyhead": lambda: _run("labelled"), "every position": lambda: _run("all")}
    found = take_turns(sides, pairs, tell)
    ours, theirs = (found[side] for side in sides)
    rows = [
        compare("B15", "training: CPU", _values(ours, "cpu"), _values(theirs, "cpu")),
        compare("B15", "  the same: wall clock", _values(ours, "wall"), _values(theirs, "wall")),
        _memory(ours, theirs),
    ]
    apart = max(
        abs(one - other) / other
        for usage, peer in zip(ours, theirs, strict=True)
        for one, other in zip(usage.report["losses"], peer.report["losses"], strict=True)
    )
    report = ours[0].report
    notes = [
        f"{report['labelled']} of {report['tokens']} tokens bear a label; {ROWS // BATCH_SIZE - 1} steps counted",
        f"losses apart by {apart:.1e} at most, relative ({'equal' if apart <= EQUAL else 'NOT EQUAL'})",
    ]
    return Result(rows, notes, raw(found))


def _memory(ours: Sequence[Usage], theirs: Sequence[Usage]) -> Row:
    megabytes = [[usage.peak_bytes / 1e6 for usage in side] for side in (ours, theirs)]
    row = compare("B15", "peak memory of the process", *megabytes)
    texts = [f"{max(side):,.0f} MB" for side in megabytes]
    return Row(row.benchmark, row.figure, *texts, row.value)


def _run(positions: str) -> Usage:
    return run_child([sys.executable, str(Path(__file__)), positions])


def _values(usages: Sequence[Usage], key: str) -> list[float]:
    return [float(usage.report[key]) for usage in usages]


# ── the process that trains ──


def train(positions: str) -> dict[str, Any]:
    """Train for some steps, and return seconds (the first step left out), losses and tokens."""
    import torch

    from polyhead.backbone.builtin import load_registry
    from polyhead.backbone.model.stages import Stage
    from polyhead.backbone.training.finetune import finetune
    from polyhead.configs.load import load_config
    from polyhead.registry import StepEnd, hookimpl

    torch.set_num_threads(1)
    watch, losses, labelled, tokens = Stopwatch(), list[float](), list[int](), list[int]()
    narrow = Stage.writing_at

    @contextlib.contextmanager
    def writing_at(stage: Stage, places_N: torch.Tensor) -> Iterator[None]:
        labelled.append(len(places_N))
        with narrow(stage, places_N) if positions == "labelled" else contextlib.nullcontext():
            yield

    class Watcher:
        @hookimpl
        def polyhead_end_step(self, step: StepEnd) -> None:
            if losses:
                watch.split()
            else:
                watch.start()
            losses.append(step.loss)
            tokens.append(step.tokens)

    Stage.writing_at = writing_at  # type: ignore[method-assign]
    registry = load_registry()
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        with gzip.open(SAMPLE, "rt", encoding="utf-8") as file:
            rows.write_text("".join(line for line, _ in zip(file, range(ROWS), strict=False)), encoding="utf-8")
        settings = {
            "backbone.name": "smollm2-135m",
            "backbone.lora.rank": 8,
            "data.train": rows,
            "data.validation_fraction": 0,
            "data.cache": "false",
            "data.max_length": 384,
            "training.epochs": 1,
            "training.batch_size": BATCH_SIZE,
            "training.log_to": "[]",
            "output": Path(folder) / "run",
        }
        given = [f"{key}={value}" for key, value in settings.items()]
        config = load_config("summarization", given, tasks=registry.tasks())
        with registry.observing(Watcher(), "benchmark"):
            finetune(config, registry)
    sizes = {"labelled": sum(labelled), "tokens": sum(tokens)}
    return {"cpu": watch.cpu, "wall": watch.wall, "losses": losses, **sizes}


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    write_report(train(sys.argv[1]))
