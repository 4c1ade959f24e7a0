"""Write ``docs/api.md``, the reference of the public plugin API, from its source.

``python docs/generate_api.py`` writes it; with ``--check`` it exits with 1 if the file is not up to date.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType

from pages import write_or_check

import polyhead.registry
import polyhead.registry.testing

REFERENCE = Path(__file__).with_name("api.md")
HOMES = {
    "contracts": "A task and its parts",
    "additions": "What a plugin can bring beside tasks",
    "life_cycle": "What the hooks of a run are told",
    "hookspecs": "Marking hooks",
    "examples": "Ready examples",
    "errors": "Errors",
    "names": "Unknown names",
    "manager": "The registry",
    "plugin_info": "What the registry says of plugins",
    "catalogue": "Names that clash",
    "discovery": "Where plugins come from",
    "hook_reference": "Hooks as data",
    "testing": "Testing a plugin",
}
"""The modules of the public names, in the order of the page, with their headings."""

INTRODUCTION = """\
# The plugin API

<!-- Written by docs/generate_api.py from the docstrings of registry/. Do not edit. -->

All names of `polyhead.registry`, and of `polyhead.registry.testing`. What is not here, nor in the toolkit that
[plugins](plugins.md#the-toolkit) lists, is not public, and may change at any time; [the promise](stability.md) says
what may change when. [Hooks](hooks.md) have a page of their own. Importing `polyhead.registry` loads no torch.
"""
TESTING = ("check_task", "check", "Request", "Report", "Finding", "ConformanceError")


def public_names() -> list[tuple[str, str]]:
    """Return each public name with the module that defines it."""
    return [(name, _home(name)) for name in polyhead.registry.__all__] + [(name, "testing") for name in TESTING]


def _home(name: str) -> str:
    for module in HOMES:
        source = importlib.import_module(f"polyhead.registry.{module}")
        if name in vars(source) and name in _definitions(source):
            return module
    raise LookupError(f"{name} of polyhead.registry is defined in none of {', '.join(HOMES)}: add its module to HOMES")


def _definitions(module: ModuleType) -> dict[str, tuple[ast.stmt, str]]:
    """Return what a module defines at its top, each with the text below it where it is a value."""
    body = ast.parse(inspect.getsource(module)).body
    found: dict[str, tuple[ast.stmt, str]] = {}
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            found[statement.name] = (statement, ast.get_docstring(statement) or "")
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            found[statement.targets[0].id] = (statement, _text(following))
    return found


def _text(statement: ast.stmt | None) -> str:
    """Return a string that stands by itself."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return inspect.cleandoc(str(statement.value.value))
    return ""


def render() -> str:
    """Return the whole page."""
    names = public_names()
    parts = [INTRODUCTION]
    for module, heading in HOMES.items():
        source = importlib.import_module(f"polyhead.registry.{module}")
        definitions = _definitions(source)
        parts.append(f"## {heading}\n")
        parts += [_section(name, *definitions[name]) for name, home in names if home == module]
    return "\n".join(parts)


def _section(name: str, statement: ast.stmt, text: str) -> str:
    lines = [f"### {name}\n", "```python", _signature(statement), "```\n"]
    if text:
        lines.append(_prose(text) + "\n")
    if isinstance(statement, ast.ClassDef):
        lines += [*_fields(statement), *_methods(statement)]
    return "\n".join(lines)


def _signature(statement: ast.stmt) -> str:
    if isinstance(statement, ast.ClassDef):
        bases = f"({', '.join(map(ast.unparse, statement.bases))})" if statement.bases else ""
        return f"class {statement.name}{bases}"
    if isinstance(statement, ast.FunctionDef):
        returns = f" -> {ast.unparse(statement.returns)}" if statement.returns else ""
        return f"{statement.name}({ast.unparse(statement.args)}){returns}"
    return ast.unparse(statement).replace("'", '"')  # the quotes of the formatter, which looks at this page too


def _fields(statement: ast.ClassDef) -> list[str]:
    found = []
    for item, following in zip(statement.body, [*statement.body[1:], None], strict=True):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            default = "" if item.value is None else f" = {ast.unparse(item.value)}"
            found.append(_item(f"{item.target.id}: {ast.unparse(item.annotation)}{default}", _text(following)))
    return [*found, ""] if found else []


def _methods(statement: ast.ClassDef) -> list[str]:
    found = []
    for item in statement.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            text = (ast.get_docstring(item) or "").split("\n\n")[0]
            is_value = any(isinstance(mark, ast.Name) and mark.id == "property" for mark in item.decorator_list)
            signature = f"{item.name}: {ast.unparse(item.returns)}" if is_value and item.returns else _signature(item)
            bare = signature.replace("(self, ", "(").replace("(self)", "()").replace("(cls, ", "(")
            found.append(_item(bare, text))
    return [*found, ""] if found else []


def _item(code: str, text: str) -> str:
    prose = " ".join(_prose(text).split())
    return f"- `{code}`" + (f"  \n  {prose}" if prose else "")


def _prose(text: str) -> str:
    return text.replace("``", "`")


if __name__ == "__main__":
    raise SystemExit(write_or_check(REFERENCE, render, sys.argv[1:]))
