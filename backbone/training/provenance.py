"""Where a run came from: which distributions, in which versions, gave its task, head, metrics, readers and backbone."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from polyhead.backbone.checkpoint.disk import write_text
from polyhead.backbone.data.readers import format_of
from polyhead.configs.schema import RunConfig
from polyhead.registry import API_VERSION, Registry, RunError, Used
from polyhead.registry.discovery import OURS

FILE = "provenance.json"
LIBRARIES = ("torch", "transformers", "deepspeed", "accelerate", "peft", "safetensors", "tokenizers")


def provenance(config: RunConfig, registry: Registry, *, step: int = 0) -> dict[str, Any]:
    """Return what a start of a run uses; ``step``: where it begins."""
    data = config.data
    formats = [data.format] if data.format else [format_of(file) for file in (*data.train, *data.validation)]
    used = registry.used(config.task, config.head, formats, config.backbone.name)
    return {
        "step": step,
        "polyhead": metadata.version(OURS),
        "plugin_api": API_VERSION,
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "used": [_record(each) for each in used],
    }


def add_start(path: Path, start: Mapping[str, Any]) -> None:
    """Write how a run starts, below its earlier starts; one that uses what the last one used adds nothing."""
    starts = read_starts(path)
    if not starts or _without_step(starts[-1]) != _without_step(start):
        write_text(path, json.dumps({"starts": [*starts, start]}, ensure_ascii=False, indent=2) + "\n")


def read_starts(path: Path) -> list[dict[str, Any]]:
    """Return how a run was started, the last start last; none where nothing was written."""
    if not path.is_file():
        return []
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["starts"]
    return found


def changes(starts: Sequence[Mapping[str, Any]], registry: Registry, config: RunConfig) -> list[str]:
    """Say what a run's last start used and this installation has in another version, or from another plugin."""
    if not starts:
        return []
    now = {(each.kind, each.name): _record(each) for each in registry.used(config.task, config.head, (), "")}
    found = []
    for before in starts[-1]["used"]:
        present = now.get((before["kind"], before["name"]))
        if present is not None and _source(before) != _source(present):
            what = f"{before['kind']} '{before['name']}'"
            found.append(f"{what}: trained with {_source(before)}, here {_source(present)}")
    return found


def sources(start: Mapping[str, Any]) -> list[str]:
    """Return the distributions that a start used, each with its version."""
    return sorted({_source(used) for used in start["used"]})


def require_task(run: Path, task: str, registry: Registry) -> None:
    """Refuse a run whose task is not installed.

    Raises:
        RunError: It names the distribution that gave the task when the run was trained.

    """
    if task in registry.task_names():
        return
    for start in reversed(read_starts(run / FILE)):
        for used in start["used"]:
            if (used["kind"], used["name"]) == ("task", task):
                wanted = f"{used['distribution']}=={used['version']}" if used["version"] else used["distribution"]
                raise RunError(
                    f"{run} was trained with task '{task}' of {_source(used)}, which is not here or does not work "
                    f"(polyhead plugins): pip install {wanted}"
                )


def _record(used: Used) -> dict[str, str]:
    """Return what is written of something used; what is built in has polyhead's own version."""
    found = used.to_json()
    if used.origin.distribution == OURS:
        found["version"] = metadata.version(OURS)
    return found


def _source(used: Mapping[str, str]) -> str:
    return f"{used['distribution']} {used['version']}"


def _without_step(start: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in start.items() if key != "step"}
