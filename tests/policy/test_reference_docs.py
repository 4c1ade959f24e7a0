"""The references of settings and commands are current, and name every key and every command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from pydantic import BaseModel

from polyhead.cli.app import build_app
from polyhead.configs.layouts import parse_layout
from polyhead.configs.schema import RunConfig
from polyhead.registry import Registry

DOCS = Path(__file__).parents[2] / "docs"
GENERATOR = DOCS / "generate_reference.py"
CONFIGURATION = (DOCS / "configuration.md").read_text(encoding="utf-8")
COMMANDS = (DOCS / "commands.md").read_text(encoding="utf-8")
PAGES = ("configuration.md", "commands.md")


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(GENERATOR), *arguments], capture_output=True, text=True, check=False)


def keys(model: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each dotted key with the docstring of its field."""
    for name, field in model.model_fields.items():
        assert field.description, f"{prefix}{name} has no docstring"
        yield prefix + name, field.description
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{prefix}{name}.")


def command_paths() -> list[str]:
    def walk(command: object, path: str) -> Iterator[str]:
        yield path
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, f"{path} {name}")

    return list(walk(typer.main.get_command(build_app(Registry.load(entry_points=[]))), "polyhead"))


@pytest.mark.parametrize(("key", "description"), list(keys()), ids=[key for key, _ in keys()])
def test_every_key_is_documented(key: str, description: str) -> None:
    (row,) = [line for line in CONFIGURATION.splitlines() if line.startswith(f"| `{key}` |")]
    assert " ".join(description.split()).replace("``", "`") in row


def test_every_command_is_documented() -> None:
    paths = command_paths()
    headings = [line[3:] for line in COMMANDS.splitlines() if line.startswith("## polyhead")]
    assert headings == paths
    assert {"polyhead finetune", "polyhead tasks show", "polyhead data check", "polyhead config schema"} <= set(paths)
    assert all(f"Usage: {path} [OPTIONS]" in COMMANDS for path in paths)


def test_every_layout_that_is_documented_exists() -> None:
    table = CONFIGURATION.partition("\n## Layouts\n")[2]
    names = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert [parse_layout(name).name for name in names] == names
    assert {"single", "zero0", "zero3", "pipe2+zero1"} <= set(names)


def test_the_pages_are_current_and_a_stale_one_is_mended(tmp_path: Path) -> None:
    for page in PAGES:
        shutil.copy(DOCS / page, tmp_path)
    current = generate("--check", "--folder", str(tmp_path))
    (tmp_path / "commands.md").write_text(COMMANDS + "\nby hand\n", encoding="utf-8")
    (tmp_path / "configuration.md").unlink()
    stale = generate("--check", "--folder", str(tmp_path))
    written = generate("--folder", str(tmp_path))

    assert (current.returncode, current.stderr) == (0, "")
    assert stale.returncode == 1
    assert [f"{tmp_path / page} is stale: run python docs/generate_reference.py" for page in PAGES] == (
        stale.stderr.splitlines()
    )
    assert written.returncode == 0
    assert [(tmp_path / page).read_text(encoding="utf-8") for page in PAGES] == [CONFIGURATION, COMMANDS]
