"""Write ``docs/matrix.md`` from the results of ``tests/matrix``: what every task did on every family of backbones.

``python -m pytest tests/matrix/test_every_cell.py`` leaves its results in ``build/matrix.json``;
``python docs/generate_matrix.py`` writes the page from them. With ``--check`` it exits with 1 if the page does not list
exactly the cells that the tests run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RESULTS = FOLDER.parent / "build" / "matrix.json"
TESTS = FOLDER.parent / "tests" / "matrix" / "test_every_cell.py"

INTRODUCTION = """\
# Tasks by families

<!-- Written by docs/generate_matrix.py from the results of tests/matrix. Do not edit. -->

Each row is a test: an untrained backbone of width 32 is trained for {steps} steps on {rows} rows, its loss must fall
below nine tenths of the first, and the run is then evaluated beside its baseline and used for prediction. `head` is
the class that `config.json` of the saved model names; *own* means that the head is polyhead's, in a file beside it, or
has no weights (embeddings).

| task | family | backbone | head | loss, first step | loss, last step |
| --- | --- | --- | --- | ---: | ---: |
"""


def render(cells: Any, results: Sequence[Mapping[str, Any]]) -> str:
    """Return the page."""
    families = {
        **{name: family for family, name in cells.BACKBONES.items()},
        "gpt2": "decoder",
        "bart": "encoder-decoder",
        "marian": "encoder-decoder",
    }
    lines = [INTRODUCTION.format(steps=cells.STEPS, rows=cells.ROWS)]
    for found in results:
        first, last = found["losses"]
        own = found["own"] or not re.search("For|LMHead|MTModel|EncoderDecoder", found["head"])  # a bare trunk
        kind = f"{found['head']}{', own' if own else ''}"
        family = families[found["backbone"]]
        lines.append(f"| {found['task']} | {family} | {found['backbone']} | {kind} | {first:.3f} | {last:.3f} |\n")
    return "".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Write the page, or check it; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the matrix of tasks and families.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is stale")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the page stands (default: docs)")
    options = parser.parse_args(arguments)
    page, cells = options.folder / "matrix.md", _load_tests()
    if not options.check and not RESULTS.is_file():
        print(f"{page} stays as it is: run pytest tests/matrix first, it leaves what the page shows", file=sys.stderr)
        return 0
    if not options.check:
        page.write_text(render(cells, json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
        return 0
    expected = {tuple(cell.values) for cell in cells.CELLS}
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    listed = {
        (task, name) for task, name in re.findall(r"^\| ([a-z]+) \| [a-z-]+ \| ([a-z0-9]+) \|", text, re.MULTILINE)
    }
    if listed - {("task", "backbone")} == expected:
        return 0
    print(f"{page} is stale: run pytest tests/matrix, then python docs/generate_matrix.py", file=sys.stderr)
    return 1


def _load_tests() -> Any:
    spec = importlib.util.spec_from_file_location("test_every_cell", TESTS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
