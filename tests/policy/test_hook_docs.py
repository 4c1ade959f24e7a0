"""The hook reference is current, and shows every hook with its exact signature."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from polyhead.registry import hooks

ROOT = Path(__file__).parents[2]
GENERATOR = ROOT / "docs" / "generate_hooks.py"
REFERENCE = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(GENERATOR), *arguments], capture_output=True, text=True, check=False)


def section_of(name: str) -> str:
    return REFERENCE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: hook.name)
def test_every_hook_is_documented(hook):
    section = section_of(hook.name)

    assert f"```python\n{hook.signature}\n```" in section
    assert hook.summary in section
    assert "*Called by:* the " in section


def test_signatures_are_those_of_the_specifications():
    signatures = {hook.name: hook.signature for hook in hooks()}

    assert len(signatures) == 11
    assert signatures["polyhead_register_metrics"] == "polyhead_register_metrics(task: str) -> list[Metric[Any, Any]]"
    assert signatures["polyhead_end_run"] == "polyhead_end_run(run: RunEnd) -> None"


def test_the_reference_is_current():
    checked = generate("--check")

    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_stale_reference_is_noticed_and_mended(tmp_path: Path):
    output = tmp_path / "hooks.md"
    output.write_text(REFERENCE + "\nby hand\n", encoding="utf-8")

    checked = generate("--check", "--output", str(output))
    generated = generate("--output", str(output))

    assert checked.returncode == 1
    assert "is stale: run python docs/generate_hooks.py" in checked.stderr
    assert generated.returncode == 0
    assert output.read_text(encoding="utf-8") == REFERENCE


def test_a_missing_reference_is_stale(tmp_path: Path):
    assert generate("--check", "--output", str(tmp_path / "hooks.md")).returncode == 1
