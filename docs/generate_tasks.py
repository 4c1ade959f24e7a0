"""Write ``docs/tasks/``: a page for each built-in task, from its README, its options and its real run.

``python docs/generate_tasks.py`` writes them; with ``--check`` it exits with 1 if one is not up to date. The real runs
stand in ``docs/real_runs/<task>.md``, pasted by hand from a terminal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyhead.registry import Registry, Task
from polyhead.registry.option_reference import options_of

FOLDER = Path(__file__).parent
PLUGINS = FOLDER.parent / "plugins"
NOTE = "<!-- Written by docs/generate_tasks.py from {sources}. Do not edit. -->"


def render(task: Task[Any, Any]) -> str:
    """Return the page of one task."""
    readme = (PLUGINS / task.name / "README.md").read_text(encoding="utf-8").strip()
    title, _, body = readme.partition("\n")
    run = FOLDER / "real_runs" / f"{task.name}.md"
    sources = f"plugins/{task.name}/ and docs/real_runs/{task.name}.md"
    parts = [title, NOTE.format(sources=sources), body.strip(), _options(task)]
    if run.is_file():
        parts.append(run.read_text(encoding="utf-8").strip())
    return "\n\n".join(parts) + "\n"


def _options(task: Task[Any, Any]) -> str:
    rows = [
        f"| `options.{option.name}` | `{_cell(option.default)}` | {_cell(option.summary)} |"
        for option in options_of(task.options)
    ]
    return "\n".join(["## Every option", "", "| key | default | what |", "| --- | --- | --- |", *rows])


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|").replace("\n", "\\n")


def _has_page(name: str, task: Task[Any, Any]) -> bool:
    """Return whether this is a built-in task of a user's; objectives of pretraining share a folder and have no page."""
    return not task.pretrains and (PLUGINS / name / "plugin.py").is_file()


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or check them; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the pages of the tasks.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is stale")
    parser.add_argument("--folder", type=Path, default=FOLDER / "tasks", help="where the pages stand")
    options = parser.parse_args(arguments)
    registry = Registry.load()
    stale = 0
    if not options.check:
        options.folder.mkdir(parents=True, exist_ok=True)
    for name in (name for name, entry in sorted(registry.tasks().items()) if _has_page(name, entry.task)):
        page, text = options.folder / f"{name}.md", render(registry.task(name))
        if not options.check:
            page.write_text(text, encoding="utf-8")
        elif not page.is_file() or page.read_text(encoding="utf-8") != text:
            print(f"{page} is stale: run python docs/generate_tasks.py", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
