"""``polyhead evaluate``: score a model on a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polyhead.cli.launching import relaunch
from polyhead.cli.screen import (
    AsJson,
    ModelOption,
    Overrides,
    PluginChoices,
    Processes,
    load_plugins,
    model_and_config,
    print_json,
    print_table,
    say,
)

if TYPE_CHECKING:
    from polyhead.backbone.evaluation.scoring import Evaluation

MOST_ROWS = 30


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a task (then say --model).")],
    overrides: Overrides = None,
    plugin: PluginChoices = None,
    model: ModelOption = None,
    data: Annotated[list[Path] | None, typer.Option("--data", help="A file to score on (again for more).")] = None,
    split: Annotated[str | None, typer.Option("--split", help="test, validation or train of the run's data.")] = None,
    perturb: Annotated[
        list[str] | None,
        typer.Option("--perturb", help="Score once more under a change: typos, lowercase, ..."),
    ] = None,
    processes: Processes = 1,
    as_json: AsJson = False,
) -> None:
    """Score a model on a file, beside a baseline.

    Without --data: the run's test file, else its validation file, else the rows it held out. Scores of the
    run's own data are kept in its metrics.json and report.md.
    """
    registry = load_plugins()
    reference, config, folder = model_and_config(registry, run, model, overrides, plugin=plugin)
    relaunch(processes)

    from rich.console import Console

    from polyhead.backbone.evaluation.evaluate import Request
    from polyhead.backbone.evaluation.evaluate import evaluate as score
    from polyhead.backbone.training.run_folder import RunFolder

    request = Request(
        reference,
        config,
        split,
        tuple(data or ()),
        tuple(perturb or ()),
        RunFolder(folder) if folder is not None else None,
    )
    found = score(request, registry, Console(stderr=True))
    if found is None:
        return
    if as_json:
        print_json(found.to_json())
    else:
        _print(found)


def _print(found: Evaluation) -> None:
    rows = []
    for name, value in found.values.items():
        beside = f"{found.baseline[name]:.4f}" if name in found.baseline else ""
        changed = [f"{values[name]:.4f}" if name in values else "" for values in (found.perturbed or {}).values()]
        rows.append([f"{name} *" if name == found.headline else name, f"{value:.4f}", beside, *changed])
    columns = ["metric", "this model", found.baseline_name, *(found.perturbed or {})]
    print_table(f"{found.task}, {found.split}: {found.examples} examples", columns, rows)
    for table in found.tables:
        if len(table.rows) <= MOST_ROWS:
            cells = [[f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row] for row in table.rows]
            print_table(table.title, table.columns, cells)
    if found.skipped:
        say(f"{found.skipped} rows skipped")
    typer.echo(f"signature: {found.signature}")
