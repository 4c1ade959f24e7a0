"""B5: the most memory of a process for each layout, 50 and 250 million parameters, against the formula.

The formula is that of the ZeRO paper in float32: 4 bytes a parameter for weights, 4 for gradients, 8 for the two
moments of AdamW, each divided by the processes where the stage shards it. Activations, buckets and libraries come on
top. The peer is torch's DistributedDataParallel on the same model. Memory is steady: each layout runs once.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from b03_zero import in_ranks
from measure import Result, Row, Spread, run_child
from mixed_rows import write_rows

SHAPES: dict[str, dict[str, Any]] = {
    "50 M": {
        "model_type": "bert",
        "hidden_size": 512,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "intermediate_size": 2048,
    },
    "250 M": {
        "model_type": "bert",
        "hidden_size": 896,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "intermediate_size": 3584,
    },
}
LAYOUTS = ("single", "zero0", "zero1", "zero2", "zero3", "pipe2+zero1")
TOKENS, BATCH_SIZE = 256, 8
GOAL, JUDGED = 1.15, "250 M"


def measure(pairs: int, tell: Callable[[str], None]) -> Result:
    """Run the benchmark; memory needs no turns, so ``pairs`` is not used."""
    del pairs
    rows, notes, figures = [], [], {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        write_rows(file, BATCH_SIZE * 3, uniform=True)
        for name, shape in SHAPES.items():
            found = {}
            for layout in LAYOUTS:
                found[layout] = _polyhead(file, shape, layout)
                tell(f"  {name} {layout}: {_worst(found[layout], 'measured') / 1e6:,.0f} MB in tensors")
            peer = in_ranks(2, "ddp", {"rows": str(file), "batch_size": BATCH_SIZE, "architecture": shape})
            resident = int(peer.report[0]["resident"])
            rows += _rows(name, found, resident)
            notes.append(_note(name, found, resident))
            figures[name] = {**found, "DDP": peer.report}
    return Result(rows, notes, figures)


def _polyhead(file: Path, shape: dict[str, Any], layout: str) -> dict[str, Any]:
    """Return what ``polyhead plan --measure`` tells of a layout."""
    command = [str(Path(sys.executable).parent / "polyhead"), "plan", "classification"]
    settings = {
        "backbone.architecture": json.dumps(shape),
        "data.train": file,
        "data.validation_fraction": 0,
        "data.cache": "false",
        "data.max_tokens": TOKENS,
        "training.batch_size": BATCH_SIZE,
        "training.dropout": 0,
        "partition": "parameters",
    }
    words = [f"{key}={value}" for key, value in settings.items()]
    usage = run_child([*command, *words, "--gpus", "2", "--layouts", layout, "--measure", "--json"])
    answer: dict[str, Any] = json.loads(usage.output[usage.output.index("\n{\n") :])
    return answer


def formula(layout: str, parameters: int, processes: int) -> float:
    """Return weights, gradients and moments in bytes, each divided by the processes where the layout shards it."""
    shards = {"zero1": (1, 1, 2), "zero2": (1, 2, 2), "zero3": (2, 2, 2)}.get(layout, (1, 1, 1))
    return sum(
        bytes_ * parameters / (processes if divided == 2 else 1)
        for bytes_, divided in zip((4, 4, 8), shards, strict=True)
    )


def _parameters(found: dict[str, Any]) -> int:
    """Return the parameters of the rank that has most."""
    weights = [rank["weights"] + rank["embeddings"] for rank in found["layouts"][0]["ranks"]]
    stages = len(weights)
    return int(found["parameters"]) if stages == 1 else max(weights) // 4


def _worst(found: dict[str, Any], key: str) -> int:
    return max(int(rank[key]) for rank in found["measured"][0]["ranks"])


def _rows(name: str, found: dict[str, dict[str, Any]], ddp: int) -> list[Row]:
    rows = []
    for layout, answer in found.items():
        ideal = formula(layout, _parameters(answer), 2)
        tensors, resident = _worst(answer, "measured"), _worst(answer, "resident")
        goal = GOAL if name == JUDGED else None
        figure = f"{name} {layout}: tensors / formula"
        rows.append(
            Row("B5", figure, _megabytes(tensors), _megabytes(ideal), _one(tensors / ideal), goal, at_most=True)
        )
        off = [float(rank["ratio"]) for rank in answer["measured"][0]["ranks"]]
        rows.append(Row("B5", "  predicted / measured", "", "", Spread.of(off)))
        if layout in ("zero0", "zero1", "zero2", "zero3"):
            judged = 1.0 if name == JUDGED and layout == "zero3" else None
            figure = "  resident: DDP / this"
            rows.append(Row("B5", figure, _megabytes(resident), _megabytes(ddp), _one(ddp / resident), judged))
    return rows


def _note(name: str, found: dict[str, dict[str, Any]], ddp: int) -> str:
    order = [_worst(found[layout], "measured") for layout in ("zero3", "zero2", "zero1", "zero0")]
    verdict = "falls from stage to stage" if order == sorted(order) else "DOES NOT FALL from stage to stage"
    resident = ", ".join(f"{layout} {_worst(answer, 'resident') / 1e6:,.0f}" for layout, answer in found.items())
    return f"{name}: memory in tensors {verdict}; resident MB: DDP {ddp / 1e6:,.0f}, {resident}"


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


def _one(value: float) -> Spread:
    return Spread(value, value, value)
