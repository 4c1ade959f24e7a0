"""Distributions that are installed for one test only: real metadata on disk, plugins made in the test."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from polyhead.registry import Registry, Task, TextExample, hookimpl

serial = itertools.count()
TASK_FUNCTIONS = (
    "to_example",
    "prepare",
    "setup_from_labels",
    "check_example",
    "encode",
    "label_fields",
    "count_targets",
    "loss",
    "decode",
    "headline",
    "baseline",
)
TASK_FACTS: dict[str, Any] = {
    "summary": "a task that nobody runs",
    "example_type": TextExample,
    "columns": (),
    "heads": {},
    "metrics": (),
    "baseline_name": "majority",
}


def _unused(*arguments: object) -> Any:
    raise AssertionError("the registry never calls a task")


class Site:
    """A folder of distributions, the registry that finds only these, and makers of what to install."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch

    def install(self, distribution: str, version: str, **plugins: object) -> None:
        """Write the metadata of a distribution; a plugin is an object, or the source of a module."""
        lines = ["[polyhead]"]
        for name, plugin in plugins.items():
            module = f"plugin_{next(serial)}_of_{distribution.replace('-', '_')}"
            if isinstance(plugin, str):
                (self.folder / f"{module}.py").write_text(plugin, encoding="utf-8")
                self._monkeypatch.delitem(sys.modules, module, raising=False)
            else:
                self._monkeypatch.setitem(sys.modules, module, plugin)
            lines.append(f"{name} = {module}")
        self.write_metadata(distribution, version, "\n".join(lines))

    def write_metadata(self, distribution: str, version: str, entry_points: str) -> None:
        folder = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (folder / "entry_points.txt").write_text(entry_points + "\n")

    def load(self, *builtins: object, **environ: str) -> Registry:
        distributions = metadata.distributions(path=[str(self.folder)])
        entry_points = [
            entry_point
            for distribution in distributions
            for entry_point in distribution.entry_points
            if entry_point.group == "polyhead"
        ]
        return Registry.load(builtins, environ, entry_points)

    @staticmethod
    def plugin(*functions: Callable[..., Any], **attributes: object) -> ModuleType:
        """Return a plugin module whose hooks are these functions, under their own names."""
        module = ModuleType(f"made_{next(serial)}")
        for function in functions:
            setattr(module, function.__name__, hookimpl(function))
        for name, value in attributes.items():
            setattr(module, name, value)
        return module

    @staticmethod
    def task(name: str, **fields: Any) -> Task[TextExample, TextExample]:
        """Return a task that has every field, none of which does anything."""
        return Task(**(dict.fromkeys(TASK_FUNCTIONS, _unused) | TASK_FACTS | {"name": name} | fields))

    def task_plugin(self, *names: str, **attributes: object) -> ModuleType:
        """Return a plugin that registers tasks of these names."""

        def polyhead_register_tasks() -> list[Task[Any, Any]]:
            return [self.task(name) for name in names]

        return self.plugin(polyhead_register_tasks, **attributes)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Site(tmp_path, monkeypatch)
