"""The reference of the plugin API is current, and says something of every public name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import polyhead.registry
from polyhead.registry import testing

ROOT = Path(__file__).parents[2]
GENERATOR = ROOT / "docs" / "generate_api.py"
REFERENCE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
TESTING = ("ConformanceError", "Finding", "Report", "Request", "check", "check_task")


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(GENERATOR), *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", [*polyhead.registry.__all__, *TESTING])
def test_every_public_name_is_documented(name: str) -> None:
    section = REFERENCE.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
    code, text = section.partition("```python\n")[2].split("```", 1)

    assert name in code
    assert len(text.split()) >= 3


def test_what_plugins_test_with_is_public() -> None:
    assert [name for name in TESTING if not hasattr(testing, name)] == []


def test_the_reference_is_current() -> None:
    checked = generate("--check")

    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_stale_reference_is_noticed_and_mended(tmp_path: Path) -> None:
    output = tmp_path / "api.md"
    output.write_text(REFERENCE.replace("### Task\n", "### Tusk\n"), encoding="utf-8")

    checked = generate("--check", "--output", str(output))
    generated = generate("--output", str(output))

    assert checked.returncode == 1
    assert "is stale: run python docs/generate_api.py" in checked.stderr
    assert generated.returncode == 0
    assert output.read_text(encoding="utf-8") == REFERENCE
