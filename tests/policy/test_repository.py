"""Habits of the repository: links, sizes, the two READMEs, the Makefile, constructs that nobody may use."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("backbone", "registry", "plugins", "configs", "cli")
TARGETS = ("help", "demo", "test", "verify", "verify-resume", "check", "docs", "bench", "clean")
MOST_BYTES = 1024 * 1024
SAMPLES = ROOT / "configs" / "samples"
MADE_HERE = {".git", ".venv", ".hypothesis", "__pycache__", "build", "dist", "runs"}
MADE_SUFFIXES = ("_cache", ".egg-info")


def repository_files() -> Iterator[Path]:
    """Yield the files that belong to the repository: no links, nothing that tools left."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in MADE_HERE and not name.endswith(MADE_SUFFIXES)]
        yield from (Path(folder, name) for name in files if not Path(folder, name).is_symlink())


def headings(file: Path) -> list[int]:
    """Return the level of each heading, in order; what stands between code fences is no heading."""
    text = file.read_text(encoding="utf-8")
    text = re.sub(r"^(`{3,}|~{3,}).*?^\1\s*$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [len(marks) for marks in re.findall(r"^(#{1,6})\s+\S", text, flags=re.MULTILINE)]


# ── links, sizes, READMEs, Makefile ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_linked_for_editable_installs(room: str) -> None:
    link = ROOT / ".dev" / "polyhead" / room
    assert link.is_symlink()
    assert link.readlink() == Path("..", "..", room)
    assert link.resolve() == (ROOT / room).resolve()


def test_dev_holds_no_other_links() -> None:
    assert sorted(path.name for path in (ROOT / ".dev" / "polyhead").iterdir()) == sorted(ROOMS)


def test_no_file_is_large() -> None:
    large = [file for file in repository_files() if file.stat().st_size > MOST_BYTES]
    assert [str(file.relative_to(ROOT)) for file in large if SAMPLES not in file.parents] == []


def test_every_sample_states_its_source_and_licence() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    folders = sorted(folder for folder in SAMPLES.iterdir() if folder.is_dir())
    assert folders
    for folder in folders:
        assert {"README.md", "LICENSE"} <= {file.name for file in folder.iterdir()}, folder.name
        assert f"configs/samples/{folder.name}\n" in notice


def test_the_readmes_have_the_same_headings() -> None:
    english, chinese = headings(ROOT / "README.md"), headings(ROOT / "README.zh.md")
    assert english == chinese
    assert len(english) > 3


def test_headings_in_code_do_not_count(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A\n\n```sh\n# no heading\n```\n\n## B\n\n### 丙\n#no heading\n", encoding="utf-8")
    assert headings(page) == [1, 2, 3]


@pytest.mark.parametrize("script", [".ci/run", ".dev/phase"])
def test_a_script_is_executable(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_its_targets(target: str) -> None:
    result = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_help_lists_every_target() -> None:
    result = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert tuple(re.findall(r"^  ([a-z-]+) ", result.stdout, flags=re.MULTILINE)) == TARGETS


# ── a phase of make: one line, the exit code of its command, the end of its log where it failed ─────────


def phase(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    line = [str(ROOT / ".dev" / "phase"), str(tmp_path / "log"), "do it", *command]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_a_phase_that_succeeds_is_one_line(tmp_path: Path) -> None:
    result = phase(tmp_path, "echo", "a detail")
    assert result.returncode == 0
    assert re.fullmatch(r"  do it +\d+ s  ok\n", result.stdout)
    assert (tmp_path / "log").read_text(encoding="utf-8") == "a detail\n"


def test_a_phase_that_fails_shows_why(tmp_path: Path) -> None:
    result = phase(tmp_path, "bash", "-c", "echo no such package >&2; exit 3")
    assert result.returncode == 3
    assert "FAILED (exit code 3)" in result.stdout
    assert "    no such package\n" in result.stdout


# ── constructs ──────────────────────────────────────────────────────────────────────────────────────────


def dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` for such an expression, and nothing for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def problem_of(node: ast.AST) -> str | None:
    """Return why a node may not stand in product code, or None."""
    match node:
        case ast.Call(func=function) if dotted(function) in {"torch.load", "evaluate.load"}:
            return f"{dotted(function)}()"
        case ast.Call(func=ast.Name(id="print")):
            return "print()"
        case ast.Import(names=names) if any(name.name.split(".")[0] in {"pickle", "dill"} for name in names):
            return "pickle"
        case ast.ImportFrom(module="pickle" | "dill"):
            return "pickle"
        case ast.ImportFrom(module="torch" | "evaluate" as module, names=names):
            return f"{module}.load()" if any(name.name == "load" for name in names) else None
        case ast.ExceptHandler(type=None):
            return "bare except"
        case ast.Name(id="NotImplementedError"):
            return "NotImplementedError"
        case _:
            return None


def problems(source: str) -> list[tuple[int, str]]:
    """Return line and name of every construct in a source that nobody may use."""
    found = [(getattr(node, "lineno", 0), problem_of(node)) for node in ast.walk(ast.parse(source))]
    return sorted((line, problem) for line, problem in found if problem is not None)


@pytest.mark.parametrize("room", ROOMS)
def test_product_code_has_no_forbidden_construct(room: str) -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}: {problem}"
        for file in sorted((ROOT / room).rglob("*.py"))
        for line, problem in problems(file.read_text(encoding="utf-8"))
        if not (room == "cli" and problem == "print()")
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("torch.load(path)", ["torch.load()"]),
        ("from torch import load", ["torch.load()"]),
        ("metric = evaluate.load('f1')", ["evaluate.load()"]),
        ("import pickle", ["pickle"]),
        ("from pickle import loads", ["pickle"]),
        ("try:\n    pass\nexcept:\n    pass", ["bare except"]),
        ("raise NotImplementedError('later')", ["NotImplementedError"]),
        ("print('here')", ["print()"]),
        ("try:\n    console.print(1)\nexcept ValueError:\n    pass\nsafetensors.torch.load_file(path)", []),
    ],
)
def test_a_forbidden_construct_is_found(source: str, expected: list[str]) -> None:
    assert [problem for _, problem in problems(source)] == expected
