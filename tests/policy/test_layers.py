"""Nothing heavy is loaded before it is needed: what each room imports when it is imported.

Who may import whom is import-linter's business (`make check`); this is about when.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "deepspeed", "numpy", "evaluate", "datasets", "sklearn", "pandas"}

IMPORT_EACH = """
import importlib, json, sys
loaded = {}
for name in sys.argv[2:]:
    before = set(sys.modules)
    importlib.import_module(name)
    heavy = set(sys.argv[1].split(",")) & (set(sys.modules) - before)
    if heavy:
        loaded[name] = sorted(heavy)
print(json.dumps(loaded))
"""


def modules_of(pattern: str) -> list[str]:
    """Return the import names of the files that match, such as ``configs/**/*.py``."""
    files = sorted(file.relative_to(ROOT) for file in ROOT.glob(pattern) if file.name != "__main__.py")
    return [".".join(("polyhead", *file.with_suffix("").parts)).removesuffix(".__init__") for file in files]


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=120)


# The toolkit is left out: plugins import its heavy modules lazily, which shows in the plugins' own rows.
@pytest.mark.parametrize("files", ["registry/*.py", "configs/**/*.py", "cli/**/*.py", "plugins/**/*.py"])
def test_importing_a_module_loads_nothing_heavy(files: str) -> None:
    modules = modules_of(files)
    assert modules, f"no file matches {files}"
    result = run_python("-c", IMPORT_EACH, ",".join(sorted(HEAVY)), *modules)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {}


@pytest.mark.parametrize("arguments", [["--help"], ["tasks"], ["plugins"], ["backbones"]], ids=" ".join)
def test_a_listing_command_loads_nothing_heavy(arguments: list[str]) -> None:
    result = run_python("-X", "importtime", "-m", "polyhead.cli", *arguments)
    assert result.returncode == 0, result.stderr[-2000:]
    loaded = set(re.findall(r"^import time:.*\|\s*(\w+)$", result.stderr, flags=re.MULTILINE))
    assert "typer" in loaded, "the probe read nothing"
    assert loaded & HEAVY == set()


def test_the_probe_sees_a_heavy_import() -> None:
    result = run_python("-c", IMPORT_EACH, ",".join(sorted(HEAVY)), "json", "numpy")
    assert json.loads(result.stdout) == {"numpy": ["numpy"]}
