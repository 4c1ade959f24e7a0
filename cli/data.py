"""``polyhead data``: look at data before training on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polyhead.cli.screen import AsJson, Overrides, PluginChoices, load_plugins, load_settings, print_json, print_table

app = typer.Typer(help="Look at data before training on it.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Look at data before training on it."""


@app.command()
def check(
    task: Annotated[str, typer.Argument(help="The task that is to read the file.")],
    file: Annotated[Path, typer.Argument(help="The file, or a folder written by datasets.")],
    overrides: Overrides = None,
    plugin: PluginChoices = None,
    as_json: AsJson = False,
) -> None:
    """Read every row of a file as a task would, and say what is wrong, line by line.

    Exit code 1 where rows are wrong.
    """
    from polyhead.backbone.data.inspection import inspect_file
    from polyhead.backbone.options import build_options
    from polyhead.registry import unknown_name

    registry = load_plugins()
    if task not in registry.task_names():
        raise unknown_name("task", task, registry.task_names())
    config = load_settings(registry, task, overrides, plugin)
    found_task = registry.task(config.task)
    found = inspect_file(
        registry,
        found_task,
        file,
        columns=config.data.columns,
        options=build_options(found_task, config.options),
        format=config.data.format,
        encoding=config.data.encoding,
    )
    if as_json:
        print_json(found.to_json())
    else:
        _print(found.to_json())
    raise typer.Exit(0 if found.rows == found.usable else 1)


def _print(found: dict[str, object]) -> None:
    problems = found.pop("problems", None)
    rows = [(name.replace("_", " "), _cell(value)) for name, value in found.items()]
    print_table("", ("what", "found"), rows)
    if isinstance(problems, list):
        for problem in problems:
            typer.echo(problem if isinstance(problem, str) else " ".join(str(part) for part in problem.values()))


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_cell(inner)}" for key, inner in list(value.items())[:20]) or "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
