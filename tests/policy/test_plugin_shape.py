"""Plugin folders differ in content, never in shape."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
REQUIRED = {
    "data": {"to_example", "prepare", "setup_from_labels", "check_example", "encode"},
    "head": {"default_head", "label_fields", "count_targets", "loss", "decode"},
    "metrics": {"score", "headline", "baseline"},
}
"""What every task needs, by the file that holds it."""
OPTIONAL = {
    "data": {"encode_prompts", "corrupt", "setup_from_folder", "extra_files", "follow_up"},
    "head": {"generation", "together", "search", "perfect_outputs"},
    "metrics": {"calibrate"},
}
"""What only some tasks need; head.py may also hold further head factories, named ``..._head``."""
SEVERAL = {"pretraining": ("causal", "masked", "spans", "denoising")}
"""Folders of several tasks: what differs between them ends in one of these words (``encode_masked``)."""
FILES = {"README.md", "__init__.py", "data.py", "head.py", "metrics.py", "plugin.py", "pyproject.toml", "samples.jsonl"}
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
    assert {
        "classification",
        "generation",
        "ner",
        "pretraining",
        "qa",
        "sentiment",
        "similarity",
        "summarization",
        "translation",
    } == set(NAMES)


@pytest.mark.parametrize("plugin", NAMES)
def test_a_plugin_has_exactly_these_files(plugin: str) -> None:
    assert {path.name for path in (PLUGINS / plugin).iterdir() if path.name != "__pycache__"} == FILES


@pytest.mark.parametrize("file", sorted(REQUIRED))
@pytest.mark.parametrize("plugin", NAMES)
def test_the_same_file_holds_the_same_functions_in_every_plugin(plugin: str, file: str) -> None:
    assert misplaced(file, common_names(public_functions(plugin, file), SEVERAL.get(plugin, ()))) == []


def common_names(functions: set[str], tasks: Sequence[str]) -> set[str]:
    """Return the names of functions without the task that each is for, in a folder of several."""
    endings = tuple(f"_{task}" for task in tasks)
    return {next((name.removesuffix(end) for end in endings if name.endswith(end)), name) for name in functions}


def misplaced(file: str, functions: set[str]) -> list[str]:
    """Return what a file lacks, and what it holds beyond the common vocabulary."""
    heads = {name for name in functions if file == "head" and name.endswith("_head")}
    lacking = [f"lacks {name}" for name in sorted(REQUIRED[file] - functions)]
    return lacking + [f"holds {name}" for name in sorted(functions - REQUIRED[file] - OPTIONAL[file] - heads)]


def test_the_task_a_function_is_for_is_no_part_of_its_name() -> None:
    found = {"encode_masked", "encode_causal", "corrupt_masked", "to_example"}
    assert common_names(found, ("masked", "causal")) == {"encode", "corrupt", "to_example"}
    assert common_names(found, ()) == found


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("metrics", {"calibrate"}, []),
        ("head", {"pooled_head", "search"}, []),
        ("metrics", {"pooled_head"}, ["holds pooled_head"]),
        ("head", {"decode", "extract"}, ["lacks decode", "holds extract"]),
    ],
)
def test_what_is_misplaced(file: str, change: set[str], expected: list[str]) -> None:
    assert misplaced(file, REQUIRED[file] ^ change) == expected


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
