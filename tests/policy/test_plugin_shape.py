"""Plugin folders differ in content, never in shape."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
FILES = {"README.md", "__init__.py", "data.py", "head.py", "metrics.py", "plugin.py"}
NAMES = sorted(folder.name for folder in PLUGINS.iterdir() if folder.is_dir() and folder.name != "__pycache__")


def public_functions(plugin: str, file: str) -> set[str]:
    """Return the functions that a file defines, or takes from the toolkit and names in ``__all__``."""
    module = importlib.import_module(f"polyhead.plugins.{plugin}.{file}")
    taken_over = getattr(module, "__all__", ())
    return {
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and not name.startswith("_")
        and (value.__module__ == module.__name__ or name in taken_over)
    }


def imported_modules(file: Path) -> Iterator[str]:
    """Yield what the file imports, at the top or inside a function; relative names begin with a dot."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def is_allowed(module: str, plugin: str) -> bool:
    if module.startswith("."):
        return False
    room = module.split(".")
    if room[0] == "polyhead":
        return room[1:2] == ["registry"] or room[1:3] == ["plugins", plugin]
    return room[0] != "deepspeed"


def test_there_are_plugins() -> None:
    assert {"classification", "sentiment"} <= set(NAMES)


@pytest.mark.parametrize("plugin", NAMES)
def test_a_plugin_has_exactly_these_files(plugin: str) -> None:
    assert {path.name for path in (PLUGINS / plugin).iterdir() if path.name != "__pycache__"} == FILES


@pytest.mark.parametrize("file", ["data", "head", "metrics"])
def test_the_same_file_holds_the_same_functions_in_every_plugin(file: str) -> None:
    functions = {plugin: public_functions(plugin, file) for plugin in NAMES}
    assert functions == dict.fromkeys(NAMES, functions["classification"])
    assert functions["classification"], f"{file}.py holds no public function"


@pytest.mark.parametrize("plugin", NAMES)
def test_a_plugin_imports_the_registry_and_itself_only(plugin: str) -> None:
    refused = [
        f"{file.name}: {module}"
        for file in sorted((PLUGINS / plugin).glob("*.py"))
        for module in imported_modules(file)
        if not is_allowed(module, plugin)
    ]
    assert refused == []


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("polyhead.registry.contracts.Task", True),
        ("polyhead.plugins.sentiment.data", True),
        ("polyhead.plugins.sentiments.data", False),
        ("polyhead.plugins.ner.data", False),
        ("polyhead.backbone.model", False),
        ("polyhead.configs", False),
        ("polyhead", False),
        (".data", False),
        ("deepspeed.pipe", False),
        ("torch", True),
    ],
)
def test_what_is_allowed(module: str, expected: bool) -> None:
    assert is_allowed(module, "sentiment") == expected


def test_every_plugin_is_declared_as_an_entry_point() -> None:
    project = (PLUGINS.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert [name for name in NAMES if f'{name} = "polyhead.plugins.{name}.plugin"' not in project] == []
