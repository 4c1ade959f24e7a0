"""Write a generated page, or check that it is current: what the generators of one page do alike."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def write_or_check(page: Path, render: Callable[[], str], arguments: Sequence[str]) -> int:
    """Write what ``render`` gives to the page, or with ``--check`` compare; returns the exit code."""
    program = f"docs/{Path(sys.argv[0]).name}"
    parser = argparse.ArgumentParser(description=f"Write {page.name}.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is stale")
    parser.add_argument("--output", type=Path, default=page, help=f"the file (default: docs/{page.name})")
    options = parser.parse_args(arguments)
    text = render()
    if not options.check:
        options.output.write_text(text, encoding="utf-8")
        return 0
    if options.output.is_file() and options.output.read_text(encoding="utf-8") == text:
        return 0
    print(f"{options.output} is stale: run python {program}", file=sys.stderr)
    return 1
