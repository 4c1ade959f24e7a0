"""What a package exports: sorted, importable, and nothing forgotten."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLIC = sorted(
    f"polyhead.{'.'.join(file.parent.relative_to(ROOT).parts)}"
    for room in ("backbone", "registry", "plugins", "configs", "cli")
    for file in (ROOT / room).rglob("__init__.py")
    if "__all__" in file.read_text(encoding="utf-8")
)


def sort_key(name: str) -> tuple[int, str]:
    """Order as ruff (RUF022) does: constants, then classes, then functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def imported_names(package: str) -> set[str]:
    source = ROOT.joinpath(*package.split(".")[1:], "__init__.py").read_text(encoding="utf-8")
    return {
        alias.asname or alias.name
        for node in ast.parse(source).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("polyhead.")
        for alias in node.names
    }


def test_the_plugin_api_states_its_exports() -> None:
    assert "polyhead.registry" in PUBLIC


@pytest.mark.parametrize("package", PUBLIC)
def test_exports_are_sorted(package: str) -> None:
    exported = importlib.import_module(package).__all__
    assert list(exported) == sorted(exported, key=sort_key)


@pytest.mark.parametrize("package", PUBLIC)
def test_every_export_can_be_imported(package: str) -> None:
    module = importlib.import_module(package)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_import_is_exported(package: str) -> None:
    public = {name for name in imported_names(package) if not name.startswith("_")}
    assert public - set(importlib.import_module(package).__all__) == set()
