"""What ``polyhead plugins new`` writes: a whole distribution, made of the templates in this package."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Literal

from polyhead.registry.discovery import OURS
from polyhead.registry.errors import PluginError

Kind = Literal["task", "head", "metric", "reader", "backbone"]
KINDS: tuple[Kind, ...] = ("task", "head", "metric", "reader", "backbone")

_SUFFIX = ".template"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_NAME = 40
_SUMMARIES: Mapping[Kind, str] = {
    "task": "A task for polyhead: {name}.",
    "head": "A head for task {task} of polyhead: {name}.",
    "metric": "A metric for task {task} of polyhead: {name}.",
    "reader": "A file format for polyhead: {name}.",
    "backbone": "A backbone for polyhead: {name}.",
}


@dataclass(frozen=True)
class Blueprint:
    """What is to be written."""

    name: str
    """The plugin, and what it brings: ``demo``."""
    kind: Kind
    polyhead: str
    """The version of polyhead that it asks for, or newer."""
    task: str = ""
    """The task that a head or a metric is for."""
    per_token: bool = False
    """Whether that task's heads give an answer for each token instead of one for the text."""

    @property
    def distribution(self) -> str:
        """Return the name that pip knows it by."""
        return f"polyhead-{self.name}"

    @property
    def package(self) -> str:
        """Return the name that Python imports."""
        return self.distribution.replace("-", "_")

    @property
    def layers(self) -> tuple[str, ...]:
        """Return the folders of templates, of which a later one replaces files of an earlier one."""
        return ("shared", self.kind, *(("head-token",) if self.kind == "head" and self.per_token else ()))


def check_name(name: str, taken: Collection[str] = ()) -> None:
    """Refuse a name that is none for a plugin.

    Args:
        name: As the user wrote it.
        taken: What polyhead itself calls its plugins, tasks, formats and the like.

    Raises:
        PluginError: With what is allowed.

    """
    if name.startswith("polyhead-"):
        raise PluginError(f"'{name}': leave polyhead- out, it is added: say {name.removeprefix('polyhead-')}")
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:_LONGEST_NAME].rstrip("-")
        hint = f". Did you mean '{near}'?" if _NAME.fullmatch(near) else ""
        raise PluginError(
            f"'{name}' is no name for a plugin: expected up to {_LONGEST_NAME} lower-case letters and digits, the "
            f"first a letter, words joined by dashes, such as readability or toxic-spans{hint}"
        )
    if name == OURS or name in taken:
        raise PluginError(f"'{name}' is a name of polyhead's own: choose another, such as my-{name}")
    if keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise PluginError(f"'{name}' is a name of Python's own: choose another, such as my-{name}")


def files_of(blueprint: Blueprint) -> dict[str, str]:
    """Return the files of a distribution: relative paths, in order, with their texts."""
    words = {
        "name": blueprint.name,
        "value": blueprint.name.replace("-", "_"),
        "distribution": blueprint.distribution,
        "package": blueprint.package,
        "polyhead": blueprint.polyhead,
        "task": blueprint.task,
        "head_summary": (
            "each token's state together with its neighbours'"
            if blueprint.per_token
            else "a weighted mean of the tokens' states, with learned weights"
        ),
        "summary": _SUMMARIES[blueprint.kind].format(name=blueprint.name, task=blueprint.task),
    }
    found: dict[str, str] = {}
    for layer in blueprint.layers:
        root = resources.files("polyhead.registry") / "templates" / layer
        for path, template in _templates(root):
            found[_path_of(path, blueprint)] = Template(template.read_text(encoding="utf-8")).substitute(words)
    return dict(sorted(found.items()))


def write_files(files: Mapping[str, str], folder: Path) -> None:
    """Write a whole folder at once: it is there with every file, or not at all.

    Raises:
        PluginError: There is something in the folder already, or it cannot be written.

    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PluginError(f"{folder} is there already: choose another --output, or remove it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        written = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for path, text in files.items():
                target = written / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            written.chmod(0o755)  # mkdtemp lets nobody else in
            written.replace(folder)
        except BaseException:
            shutil.rmtree(written)
            raise
    except OSError as error:
        raise PluginError(f"{folder} cannot be written: {error.strerror or error}") from None


def _templates(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _templates(entry, f"{path}/")
        elif path.endswith(_SUFFIX):
            yield path.removesuffix(_SUFFIX), entry


def _path_of(path: str, blueprint: Blueprint) -> str:
    """Return where a template is written: ``package`` and ``dot-`` stand for what package data cannot be called."""
    parts = [f".{part.removeprefix('dot-')}" if part.startswith("dot-") else part for part in path.split("/")]
    return "/".join(blueprint.package if part == "package" else part for part in parts)
