"""What every command shares: where it prints, and how it gets registry and settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from polyhead.configs.schema import RunConfig
    from polyhead.registry import Registry

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings by dotted key, as in training.learning_rate=3e-5."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
Processes = Annotated[int, typer.Option("--processes", min=1, help="Processes on this machine.")]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="A model folder, a registered backbone, or a name on the hub.")
]


def say(text: str) -> None:
    """Print a line for people on the error stream: the standard output is for results."""
    sys.stderr.write(f"{text}\n")


def print_json(value: Any) -> None:
    """Print one JSON object."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, cells wrapped to the width of the screen."""
    from rich import box  # only commands that print tables pay for it
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


def load_plugins() -> Registry:
    """Return the registry of this process."""
    from polyhead.backbone.builtin import load_registry

    return load_registry()


def model_and_config(
    registry: Registry, name: str, model: str | None, overrides: Sequence[str]
) -> tuple[str, RunConfig, Path | None]:
    """Return the model, its settings, and its run folder where it has one.

    ``name`` is a run folder or a model folder that polyhead wrote, or (with ``model``) a task.
    """
    from polyhead.configs.load import load_config
    from polyhead.registry import RunError, unknown_name

    folder = Path(name)
    if model is not None:
        if name not in registry.tasks():
            raise unknown_name("task", name, registry.tasks())
        return model, load_config(name, overrides, tasks=registry.tasks()), None
    if (folder / "config.yaml").is_file():
        return name, load_config(str(folder / "config.yaml"), overrides), folder
    if (folder / "polyhead.json").is_file():
        from polyhead.backbone.checkpoint.model_folder import read_record  # torch: only where there is a model

        record = read_record(folder)
        assert record is not None
        return name, load_config(record.task, overrides, tasks=registry.tasks()), None
    if name in registry.tasks():
        raise RunError(f"'{name}' is a task: say which model with --model, or give a run folder")
    if folder.exists():
        raise RunError(
            f"{folder} is no run folder (no config.yaml); for a model folder: polyhead ... TASK --model {folder}"
        )
    raise RunError(f"there is no run folder '{name}'; expected a run folder, or a task with --model")
