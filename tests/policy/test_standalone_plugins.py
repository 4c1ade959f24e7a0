"""Each task of polyhead builds as a wheel of its own, of the shape of anyone's plugin, and works from there."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]
NAMES = sorted(file.parent.name for file in (ROOT / "plugins").glob("*/plugin.py"))
MAIN: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

LOAD = """
import json, sys
from importlib import metadata
site, *distributions = sys.argv[1:]
sys.path.insert(0, site)
import polyhead
from polyhead.registry import Registry
entry_points = [
    point for point in metadata.entry_points(group="polyhead") if point.dist and point.dist.name in distributions
]
registry = Registry.load((), {}, entry_points)
tasks = {name: [entry.distribution, sys.modules[f"polyhead.plugins.{entry.plugin}.plugin"].__file__,
                len(entry.task.samples())] for name, entry in registry.tasks().items()}
print(json.dumps({"tasks": tasks, "broken": [str(plugin) for plugin in registry.broken()]}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build all of them, and return the folder that they are unpacked into, as pip would."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    for name in NAMES:
        (wheel,) = WheelBuilder(str(ROOT / "plugins" / name)).build(directory=str(wheels), versions=["standard"])
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    return site


def load(site: Path, *distributions: str) -> Any:
    """Return what a fresh process finds where only these distributions bring plugins."""
    command = [sys.executable, "-c", LOAD, str(site), *distributions]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_the_wheel_holds_what_the_folder_holds(name: str, site: Path) -> None:
    folder = ROOT / "plugins" / name
    sources = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    del sources["pyproject.toml"]
    packed = {path.name: path.read_bytes() for path in (site / "polyhead" / "plugins" / name).iterdir()}
    assert packed == sources


def test_the_wheels_hold_nothing_else(site: Path) -> None:
    version = MAIN["version"]
    assert {path.name for path in site.iterdir()} == {
        "polyhead",
        *(f"polyhead_{name}-{version}.dist-info" for name in NAMES),
    }
    assert [path.name for path in (site / "polyhead").iterdir()] == ["plugins"]
    assert sorted(path.name for path in (site / "polyhead" / "plugins").iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_wheel_says_the_same_as_polyhead_of_its_plugin(name: str, site: Path) -> None:
    (facts,) = site.glob(f"polyhead_{name}-*.dist-info")
    entry_points = ConfigParser()
    entry_points.read(facts / "entry_points.txt", encoding="utf-8")
    assert dict(entry_points["polyhead"]) == {name: MAIN["entry-points"]["polyhead"][name]}
    said = (facts / "METADATA").read_text(encoding="utf-8").splitlines()
    assert f"Name: polyhead-{name}" in said
    assert f"Version: {MAIN['version']}" in said
    assert f"License-Expression: {MAIN['license']}" in said
    assert f"Requires-Python: {','.join(sorted(MAIN['requires-python'].split(',')))}" in said
    assert [line for line in said if line.startswith("Requires-Dist:")] == [
        f"Requires-Dist: polyhead>={MAIN['version']}"
    ]


def test_plugins_load_from_their_own_wheels(site: Path) -> None:
    found = load(site, "polyhead-ner", "polyhead-summarization")
    assert found == {
        "tasks": {
            "ner": ["polyhead-ner", str(site / "polyhead/plugins/ner/plugin.py"), 32],
            "summarization": ["polyhead-summarization", str(site / "polyhead/plugins/summarization/plugin.py"), 28],
        },
        "broken": [],
    }


def test_beside_polyheads_own_the_task_is_there_once(site: Path) -> None:
    found = load(site, "polyhead", "polyhead-ner")
    assert found["tasks"]["ner"][0] == "polyhead"
    refused = [plugin.partition(":")[0] for plugin in found["broken"]]
    assert refused == [f"plugin 'ner' of polyhead-ner {MAIN['version']}"]
