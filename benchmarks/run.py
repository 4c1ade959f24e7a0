"""Measure polyhead against its peers and print one table.

python benchmarks/run.py                     all benchmarks, small (minutes each)
python benchmarks/run.py b1 --rows 2000      one of them, full size
python benchmarks/run.py b11 --pairs 9 --json figures.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import b01_finetune
import b03_zero
import b04_pipeline
import b05_memory
import b11_startup
import b15_words
from measure import ENVIRONMENT, Result

BENCHMARKS = ("b1", "b3", "b4", "b5", "b11", "b15")
IN_TURNS = {
    "b3": b03_zero.measure,
    "b4": b04_pipeline.measure,
    "b5": b05_memory.measure,
    "b11": b11_startup.measure,
    "b15": b15_words.measure,
}
PAIRS, ROWS = 5, 128
VERSIONS = ("polyhead", "torch", "transformers", "deepspeed", "accelerate", "tokenizers")


def main() -> None:
    """Run what was asked for."""
    arguments = _arguments()
    facts = machine()
    print("\n".join(f"{key}: {value}" for key, value in facts.items()), flush=True)
    results: dict[str, Result] = {}
    started = time.perf_counter()
    for name in arguments.benchmark or BENCHMARKS:
        print(f"\n{name}", flush=True)
        if name == "b1":
            results[name] = b01_finetune.measure(arguments.pairs, arguments.rows, _tell)
        else:
            results[name] = IN_TURNS[name](arguments.pairs, _tell)
    facts["load at the end"] = _load()
    print(f"\n{table(results)}\n\n{notes(results)}")
    print(f"load at the end: {facts['load at the end']}; {time.perf_counter() - started:.0f} s in all")
    if arguments.json:
        arguments.json.write_text(json.dumps(_as_json(facts, results), indent=2) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", nargs="*", help=f"which: {', '.join(BENCHMARKS)}; all where none is named")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"turns of each side (default {PAIRS})")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"training rows of b1 (default {ROWS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement there")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.benchmark if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    if arguments.pairs < 1 or arguments.rows < 1:
        parser.error("--pairs and --rows are numbers from 1 on")
    return arguments


def machine() -> dict[str, str]:
    """Return where this runs: a ratio means little without it."""
    flags, model = "", platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        fields = dict(line.split(":", 1) for line in information.read_text().splitlines() if ":" in line)
        found = {key.strip(): value.strip() for key, value in fields.items()}
        model = found.get("model name", model)
        wanted = ("avx2", "avx512f", "avx512_bf16", "amx_tile")
        flags = ", ".join(flag for flag in wanted if flag in found.get("flags", "").split())
    return {
        "CPU": f"{model}, {os.cpu_count()} cores ({flags or 'vector extensions unknown'})",
        "threads": f"{ENVIRONMENT['OMP_NUM_THREADS']} per process",
        "versions": ", ".join(f"{name} {metadata.version(name)}" for name in VERSIONS),
        "python": f"{platform.python_version()}, {platform.system()} {platform.release()}",
        "load at the start": _load(),
    }


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f} processes that want a core"


def table(results: dict[str, Result]) -> str:
    """Return all figures, one a line."""
    head = ("", "figure", "polyhead", "peer", "ratio or figure", "goal")
    cells = [head]
    for result in results.values():
        cells += [(row.benchmark, row.figure, row.ours, row.peer, str(row.value), row.verdict) for row in result.rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def notes(results: dict[str, Result]) -> str:
    """Return what must be known to read the table."""
    return "\n".join(f"{name}: {note}" for name, result in results.items() for note in result.notes)


def _as_json(facts: dict[str, str], results: dict[str, Result]) -> dict[str, Any]:
    return {
        "machine": facts,
        "benchmarks": {
            name: {
                "rows": [{**vars(row), "value": vars(row.value), "verdict": row.verdict} for row in result.rows],
                "notes": result.notes,
                "raw": result.raw,
            }
            for name, result in results.items()
        },
    }


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
