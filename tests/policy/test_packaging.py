"""What is installed is what stands here: sdist, wheel, entry points and pinned versions."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
ROOMS = ("backbone", "registry", "plugins", "configs", "cli")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def files_of(room: str) -> set[str]:
    """Return the files of a room as a wheel names them, without those that build a plugin as a wheel of its own."""
    files = (path for path in (ROOT / room).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"polyhead/{path.relative_to(ROOT).as_posix()}" for path in files if path.name != "pyproject.toml"}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and from it the wheel, as a release does; return their folder."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the wheel was unpacked into."""
    (file,) = distributions.glob("*.whl")
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_holds_every_file_of_every_room(wheel: Path) -> None:
    packed = {path.relative_to(wheel).as_posix() for path in (wheel / "polyhead").rglob("*") if path.is_file()}
    assert packed == set().union(*(files_of(room) for room in ROOMS))


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    assert {path.name for path in wheel.iterdir()} == {"polyhead", f"polyhead-{PROJECT['version']}.dist-info"}
    assert {path.name for path in (wheel / "polyhead").iterdir()} == set(ROOMS)


def test_the_wheel_holds_recipes_samples_and_type_markers(wheel: Path) -> None:
    configs = wheel / "polyhead" / "configs"
    assert list((configs / "recipes").glob("*.yaml"))
    assert list((configs / "samples").rglob("*.jsonl"))
    assert list((wheel / "polyhead" / "plugins").glob("*/samples.jsonl"))
    assert list((wheel / "polyhead" / "registry" / "templates").rglob("*.template"))
    assert [room for room in ROOMS if not (wheel / "polyhead" / room / "py.typed").is_file()] == []


def test_the_wheel_names_its_entry_points(wheel: Path) -> None:
    entry_points = ConfigParser()
    entry_points.read(next(wheel.glob("*.dist-info")) / "entry_points.txt", encoding="utf-8")
    assert dict(entry_points["console_scripts"]) == PROJECT["scripts"]
    assert dict(entry_points["polyhead"]) == PROJECT["entry-points"]["polyhead"]
    modules = [target.split(":")[0] for section in entry_points.sections() for target in entry_points[section].values()]
    assert [name for name in modules if not wheel.joinpath(*name.split(".")).with_suffix(".py").is_file()] == []


def test_the_wheel_carries_the_licence(wheel: Path) -> None:
    licences = next(wheel.glob("*.dist-info")) / "licenses"
    for name in PROJECT["license-files"]:
        assert (licences / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_sdist_can_be_worked_with(distributions: Path) -> None:
    (file,) = distributions.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        "LICENSE",
        "tests/policy/test_packaging.py",
    } <= names
    assert [name for name in names if name.startswith((".dev", ".venv", "runs/"))] == []


# ── constraints.txt ─────────────────────────────────────────────────────────────────────────────────────


def pins() -> dict[str, Version]:
    lines = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in lines}


def direct_requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    return [Requirement(line) for line in lines if not line.startswith("polyhead")]


def test_every_direct_requirement_is_pinned_to_a_version_it_allows() -> None:
    pinned = pins()
    wrong = [
        str(requirement)
        for requirement in direct_requirements()
        if pinned.get(canonicalize_name(requirement.name), Version("0")) not in requirement.specifier
        or canonicalize_name(requirement.name) not in pinned
    ]
    assert wrong == []


def test_torch_is_pinned_without_its_build() -> None:
    assert pins()["torch"].local is None  # `+cpu` would keep a machine with a GPU from its CUDA build
