"""What every command shares: where it prints, and how it gets registry and settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextvars import ContextVar
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


PluginChoices = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="DISTRIBUTION:NAME",
        help="Whose task, head, reader or backbone is meant where several plugins claim the name (again for more).",
    ),
]


REGISTRY: ContextVar[Registry] = ContextVar("registry")
"""What the command was built with: plugins are loaded once in a process."""


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
    """Return the registry that this command was started with."""
    return REGISTRY.get()


def load_settings(
    registry: Registry, recipe: str, overrides: Sequence[str] | None, plugin: Sequence[str] | None
) -> RunConfig:
    """Return the settings of a run, and tell the registry which plugins they choose."""
    from polyhead.configs.load import load_config

    chosen = [f"plugins={json.dumps(list(plugin))}"] if plugin else []
    config = load_config(recipe, [*(overrides or ()), *chosen], tasks=registry.task_names())
    registry.choose(*config.plugins)
    return config


def model_and_config(
    registry: Registry,
    name: str,
    model: str | None,
    overrides: Sequence[str] | None,
    *,
    plugin: Sequence[str] | None = None,
) -> tuple[str, RunConfig, Path | None]:
    """Return the model, its settings, and its run folder where it has one.

    ``name`` is a run folder or a model folder that polyhead wrote, or (with ``model``) a task.
    """
    from polyhead.registry import RunError, unknown_name

    folder = Path(name)
    if model is not None:
        if name not in registry.task_names():
            raise unknown_name("task", name, registry.task_names())
        return model, load_settings(registry, name, overrides, plugin), None
    if (folder / "config.yaml").is_file():
        from polyhead.backbone.training.provenance import require_task

        config = load_settings(registry, str(folder / "config.yaml"), overrides, plugin)
        require_task(folder, config.task, registry)
        return name, config, folder
    if (folder / "polyhead.json").is_file():
        from polyhead.backbone.checkpoint.model_folder import read_record  # torch: only where there is a model

        record = read_record(folder)
        assert record is not None
        return name, load_settings(registry, record.task, overrides, plugin), None
    if name in registry.task_names():
        raise RunError(f"'{name}' is a task: say which model with --model, or give a run folder")
    if folder.exists():
        raise RunError(
            f"{folder} is no run folder (no config.yaml); for a model folder: polyhead ... TASK --model {folder}"
        )
    raise RunError(f"there is no run folder '{name}'; expected a run folder, or a task with --model")
