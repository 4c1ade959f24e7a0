"""What `polyhead plugins new` writes: whole, valid, and loaded as a plugin; never over something else."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder

from polyhead.registry import PluginError
from polyhead.registry.scaffold import KINDS, Blueprint, check_name, files_of, write_files

SHARED = {
    ".github/workflows/ci.yml",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "polyhead_toxic_spans/__init__.py",
    "polyhead_toxic_spans/plugin.py",
    "polyhead_toxic_spans/py.typed",
    "tests/test_plugin.py",
}
OWN = {
    "task": {"data.py", "head.py", "metrics.py", "samples.jsonl"},
    "head": {"head.py", "modules.py"},
    "metric": {"metrics.py"},
    "reader": {"reader.py"},
    "backbone": {"weights.py"},
}
BROUGHT = {  # kind: what a listing says that the plugin adds
    "task": {"tasks": ("toxic-spans",)},
    "head": {"heads": ("classification:toxic-spans",)},
    "metric": {"metrics": ("classification:toxic-spans",)},
    "reader": {"readers": ("toxic-spans",)},
    "backbone": {"backbones": ("toxic-spans",)},
}
PLANS = [Blueprint("toxic-spans", kind, "0.1.0", "classification") for kind in KINDS]
PLANS.append(Blueprint("toxic-spans", "head", "0.1.0", "ner", per_token=True))
per_plan = pytest.mark.parametrize("plan", PLANS, ids=lambda plan: "-".join(plan.layers[1:]))


@per_plan
def test_every_kind_is_a_whole_distribution(plan: Blueprint) -> None:
    own = {f"polyhead_toxic_spans/{name}" for name in OWN[plan.kind]}
    assert set(files_of(plan)) == SHARED | own


@per_plan
def test_every_name_is_filled_in_and_every_file_is_valid(plan: Blueprint) -> None:
    files = files_of(plan)
    left = [path for path, text in files.items() if re.search(r"\$(?!\{\{ matrix)", text)]
    assert left == []
    for path, text in files.items():
        assert text.endswith("\n") or path.endswith("py.typed")
        if path.endswith(".py"):
            ast.parse(text, path)
        if path.endswith(".jsonl"):
            assert len([json.loads(line) for line in text.splitlines()]) == 30
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["name"] == "polyhead-toxic-spans"
    assert project["entry-points"]["polyhead"] == {"toxic-spans": "polyhead_toxic_spans.plugin"}
    assert project["dependencies"] == ["polyhead~=0.1.0"]
    assert "run: polyhead plugins check toxic-spans\n" in files[".github/workflows/ci.yml"]
    assert "python-version: ${{ matrix.python }}\n" in files[".github/workflows/ci.yml"]
    assert 'check_task("toxic-spans")' in files["tests/test_plugin.py"]


@per_plan
def test_a_plugin_imports_the_public_api_only(plan: Blueprint) -> None:
    imported = set()
    for path, text in files_of(plan).items():
        if path.endswith(".py"):
            imported |= {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    foreign = {name for name in imported if name and name.startswith("polyhead.")}
    assert foreign
    assert [name for name in foreign if not name.startswith("polyhead.registry")] == []


@pytest.mark.skipif(shutil.which("ruff", path=str(Path(sys.executable).parent)) is None, reason="ruff is not installed")
@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: "-".join(plan.layers[1:]))
def test_the_code_is_in_the_style_of_polyhead(plan: Blueprint, tmp_path: Path) -> None:
    write_files(files_of(plan), tmp_path / "toxic-spans")
    main = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    ignored = [*main["lint"]["ignore"], "ARG001"]  # functions of the contract take more than a short one uses
    rules = [f"--select={','.join(main['lint']['select'])}", f"--ignore={','.join(ignored)}"]
    ruff = [str(Path(sys.executable).with_name("ruff"))]
    for command in (
        [*ruff, "check", "--no-cache", *rules, "--per-file-ignores=tests/**:D", "."],
        [*ruff, "format", "--no-cache", "--check", "."],
    ):
        done = subprocess.run(command, cwd=tmp_path / "toxic-spans", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@per_plan
def test_its_wheel_is_a_plugin(plan: Blueprint, tmp_path: Path, site: Any) -> None:
    write_files(files_of(plan), tmp_path / "toxic-spans")
    (wheel,) = WheelBuilder(str(tmp_path / "toxic-spans")).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site.folder)
    for name in [name for name in sys.modules if name.partition(".")[0] == "polyhead_toxic_spans"]:
        del sys.modules[name]
    (plugin,) = [plugin for plugin in site.load(*_builtins(plan)).plugins() if plugin.name == "toxic-spans"]
    assert plugin.problems == ()
    assert (plugin.distribution, plugin.version, plugin.api_version) == ("polyhead-toxic-spans", "0.1.0", 1)
    expected = {"heads": ("ner:toxic-spans",)} if plan.per_token else BROUGHT[plan.kind]
    assert plugin.adds() == expected


def _builtins(plan: Blueprint) -> list[object]:
    """Return the plugin with the task that a head or a metric is for."""
    import importlib

    return [importlib.import_module(f"polyhead.plugins.{plan.task}.plugin")] if plan.kind in ("head", "metric") else []


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["demo", "toxic-spans", "t5", "a", "x" * 40])
def test_what_a_plugin_may_be_called(name: str) -> None:
    check_name(name, {"ner"})


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("", "is no name for a plugin"),
        ("Toxic Spans", "Did you mean 'toxic-spans'"),
        ("toxic_spans", "Did you mean 'toxic-spans'"),
        ("5stars", "Did you mean 'stars'"),
        ("毒性", "is no name for a plugin: expected up to 40 lower-case letters"),
        ("x" * 41, "is no name for a plugin"),
        ("../demo", "Did you mean 'demo'"),
        ("demo-", "Did you mean 'demo'"),
        ("polyhead-demo", "leave polyhead- out, it is added: say demo"),
        ("polyhead", "a name of polyhead's own: choose another, such as my-polyhead"),
        ("ner", "a name of polyhead's own"),
        ("class", "a name of Python's own"),
        ("json", "a name of Python's own"),
    ],
)
def test_what_a_plugin_may_not_be_called(name: str, answer: str) -> None:
    with pytest.raises(PluginError, match=re.escape(answer)):
        check_name(name, {"ner"})


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_folder_holds_what_was_asked_for(tmp_path: Path) -> None:
    write_files({"a.txt": "一\n", "b/c.txt": "2\n"}, tmp_path / "new" / "demo")
    assert (tmp_path / "new/demo/a.txt").read_text(encoding="utf-8") == "一\n"
    assert (tmp_path / "new/demo/b/c.txt").read_text(encoding="utf-8") == "2\n"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["demo"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    write_files({"a.txt": "1"}, tmp_path / "demo")
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["a.txt"]


def _folder_with_a_file(path: Path) -> None:
    path.mkdir()
    (path / "mine.txt").write_text("mine")


def _file(path: Path) -> None:
    path.write_text("mine")


@pytest.mark.parametrize("make", [_folder_with_a_file, _file])
def test_what_is_there_is_left_alone(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "demo")
    with pytest.raises(PluginError, match="demo is there already: choose another --output, or remove it"):
        write_files({"a.txt": "1"}, tmp_path / "demo")
    found = tmp_path / "demo" / "mine.txt" if (tmp_path / "demo").is_dir() else tmp_path / "demo"
    assert found.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_nothing_is_left_where_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="demo cannot be written: "):
        write_files({"a.txt": "1", "a.txt/b.txt": "2"}, tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []
