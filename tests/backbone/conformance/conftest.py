"""A sound plugin that is installed for one test, and the ways to break it: one mistake each.

It is a distribution of its own, real metadata and all, in a folder that Python finds: what ``polyhead plugins check``
sees of it is what it would see of an installed package.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

_serial = itertools.count()
SOUND = Path(__file__).with_name("names_plugin.py").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Saboteur:
    """One mistake: what of the sound plugin is written otherwise, and who catches it."""

    name: str
    changes: Mapping[str, str]
    """New text by old."""
    check: str
    """The check that fails; ``loading`` where the manager leaves the plugin out."""
    message: str
    remedy: str


_HOOK = "def polyhead_register_tasks():\n    return [TASK]"
_TAGS = 'labels = {"tags": tags}'
SABOTEURS = {
    saboteur.name: saboteur
    for saboteur in (
        Saboteur(
            "import-error",
            {"import re\n": "import re\nimport a_module_that_nobody_has\n"},
            "loading",
            "ModuleNotFoundError: No module named 'a_module_that_nobody_has'",
            "install what it needs: pip install --upgrade",
        ),
        Saboteur(
            "wrong-api-version",
            {"polyhead_api_version = 1": "polyhead_api_version = 99"},
            "loading",
            "was written for plugin API 99, this polyhead offers 1",
            "upgrade polyhead or install an older",
        ),
        Saboteur(
            "misspelt-hook",
            {_HOOK: _HOOK.replace("tasks():", "task():")},
            "loading",
            "there is no hook 'polyhead_register_task'. Did you mean 'polyhead_register_tasks'?",
            "upgrade",
        ),
        Saboteur(
            "duplicate-name",
            {'name="names",\n    summary': 'name="sentiment",\n    summary'},
            "free-names",
            "task 'sentiment' is registered by",
            "give it another name",
        ),
        Saboteur(
            "slow-import",
            {"import re\n": "import re\nimport time\n\ntime.sleep(2)\n"},
            "light-import",
            "takes 2.",
            "no waiting",
        ),
        Saboteur(
            "heavy-import",
            {"import re\n": "import re\nimport numpy\n"},
            "light-import",
            "loads numpy",
            "import these inside the functions that use them",
        ),
        Saboteur(
            "wrong-shapes",
            {_TAGS: 'labels = {"tags": tags[1:-1]}'},
            "labels",
            "and 7 belong there; label_fields says 'tags' is int tokens",
            "give one a token of input_ids, -100 where none counts",
        ),
        Saboteur(
            "shifted-labels",
            {_TAGS: 'labels = {"tags": [-100, *tags[:-1]]}'},
            "label-alignment",
            "they stand one token to the right",
            "in encode, give label t to token t of input_ids",
        ),
        Saboteur(
            "metric-crashes",
            {'        raise DataError("nothing to score: there are no examples")': "        pass"},
            "metric-empty",
            "metric 'names' crashes where there is nothing to score: ZeroDivisionError",
            "raise DataError",
        ),
        Saboteur(
            "loss-as-mean",
            {"return LossSum(total, count": "return LossSum(total / count_targets(labels, setup), count"},
            "loss-is-sum-and-count",
            "the loss is a mean, not a sum",
            "return the sum",
        ),
    )
}


@dataclass(frozen=True)
class Installed:
    """A plugin that was installed for one test."""

    distribution: str
    plugin: str
    module: str


class Install(Protocol):
    """Installs the sound plugin, changed."""

    def __call__(
        self, changes: Mapping[str, str] | None = None, *, distribution: str = "acme-names", plugin: str = "acme"
    ) -> Installed:
        """Write module and metadata; ``changes`` is new text by old, which must stand in `SOUND`."""
        ...


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return what installs the sound plugin, changed, for the length of one test."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def make(
        changes: Mapping[str, str] | None = None, *, distribution: str = "acme-names", plugin: str = "acme"
    ) -> Installed:
        source = SOUND
        for old, new in (changes or {}).items():
            assert old in source, f"the sound plugin does not hold {old!r}"
            source = source.replace(old, new)
        name = distribution.replace("-", "_")
        module = f"{name}_{next(_serial)}"
        (folder / f"{module}.py").write_text(source, encoding="utf-8")
        metadata = folder / f"{name}-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (metadata / "entry_points.txt").write_text(f"[polyhead]\n{plugin} = {module}\n")
        return Installed(distribution, plugin, module)

    return make


@pytest.fixture(scope="session")
def saboteurs() -> Mapping[str, Saboteur]:
    """Return the mistakes by name."""
    return SABOTEURS
