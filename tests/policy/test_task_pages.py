"""The pages of the tasks are current, and each shows a real run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRETRAINING = "pretraining"
"""The folder whose tasks are objectives, not a user's tasks: they have no pages here."""
TASKS = sorted({path.parent.name for path in (ROOT / "plugins").glob("*/plugin.py")} - {PRETRAINING})


def generate(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "docs" / f"generate_{name}.py"
    return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)


def test_the_pages_are_current_and_a_stale_one_is_noticed(tmp_path: Path) -> None:
    assert generate("tasks", "--check").returncode == 0
    assert generate("tasks", "--folder", str(tmp_path)).returncode == 0
    (tmp_path / "ner.md").write_text("# ner\n", encoding="utf-8")
    stale = generate("tasks", "--check", "--folder", str(tmp_path))
    assert stale.returncode == 1
    assert f"{tmp_path / 'ner.md'} is stale" in stale.stderr


@pytest.mark.parametrize("task", TASKS)
def test_a_page_says_what_the_task_reads_and_shows_a_real_run(task: str) -> None:
    page = (ROOT / "docs" / "tasks" / f"{task}.md").read_text(encoding="utf-8")
    for heading in ("## Rows", "## Heads", "## Metrics", "## Every option", "## A real run"):
        assert f"\n{heading}" in page, heading
    assert "$ polyhead" in page.partition("## A real run")[2]


def test_the_matrix_lists_the_cells_that_are_tested(tmp_path: Path) -> None:
    assert generate("matrix", "--check").returncode == 0
    page = (ROOT / "docs" / "matrix.md").read_text(encoding="utf-8")
    (tmp_path / "matrix.md").write_text(
        page.replace("| ner | encoder | bert |", "| ner | encoder | gpt2 |"), encoding="utf-8"
    )
    stale = generate("matrix", "--check", "--folder", str(tmp_path))
    assert stale.returncode == 1
    assert "is stale" in stale.stderr
