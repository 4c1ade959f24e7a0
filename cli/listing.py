"""``polyhead tasks``, ``plugins``, ``backbones``: what there is."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from polyhead.cli.screen import AsJson, load_plugins, print_json, print_table

tasks_app = typer.Typer(help="List the tasks, or show one.", rich_markup_mode=None)


@tasks_app.callback(invoke_without_command=True)
def tasks(context: typer.Context, as_json: AsJson = False) -> None:
    """List the tasks that are installed."""
    if context.invoked_subcommand is not None:
        return
    found = load_plugins().tasks()
    if as_json:
        print_json([_task_summary(entry) for entry in found.values()])
        return
    rows = [
        (
            name,
            ", ".join(sorted(entry.task.heads)),
            f"{entry.distribution} {entry.version}".strip(),
            entry.task.summary,
        )
        for name, entry in sorted(found.items())
    ]
    print_table("", ("task", "families", "from", "what it does"), rows)


@tasks_app.command("show")
def show_task(
    name: Annotated[str, typer.Argument(help="The task.")],
    as_json: AsJson = False,
) -> None:
    """Show one task: its columns, options, families, and metrics."""
    registry = load_plugins()
    task = registry.task(name)
    entry = registry.tasks()[name]
    options = _options_of(task.options)
    if as_json:
        columns = [dataclasses.asdict(column) for column in task.columns]
        print_json({**_task_summary(entry), "columns": columns, "options": options})
        return
    typer.echo(f"{task.name}: {task.summary}\n")
    print_table("Columns", ("column", "needed", "what"), [(c.name, c.required, c.summary) for c in task.columns])
    if options:
        print_table("Options", ("option", "default", "type"), [(o["name"], o["default"], o["type"]) for o in options])
    metrics = ", ".join(metric.name for metric in registry.metrics(name))
    changes = ", ".join(registry.perturbations(name)) or "none"
    typer.echo(f"Families: {', '.join(sorted(task.heads))}\nMetrics: {metrics}\nBaseline: {task.baseline_name}")
    typer.echo(f"Perturbations: {changes}")


def plugins(as_json: AsJson = False) -> None:
    """List the plugins: what each adds, and which are broken and why."""
    registry = load_plugins()
    found = registry.plugins()
    if as_json:
        print_json([dataclasses.asdict(plugin) for plugin in found])
        return
    rows = [
        (
            plugin.name,
            f"{plugin.distribution} {plugin.version}".strip(),
            plugin.status,
            ", ".join((*plugin.tasks, *plugin.backbones)) or ", ".join(plugin.hooks),
        )
        for plugin in found
    ]
    print_table("", ("plugin", "from", "status", "adds"), rows)
    for plugin in found:
        if plugin.error:
            typer.echo(f"{plugin.name} ({plugin.distribution} {plugin.version}): {plugin.error}")


def backbones(as_json: AsJson = False) -> None:
    """List the backbones that have a short name, and whether their weights are here."""
    from polyhead.registry import BackboneError

    rows: list[dict[str, Any]] = []
    for name, backbone in sorted(load_plugins().backbones().items()):
        try:
            where, present = str(backbone.locate()), True
        except BackboneError as error:
            where, present = str(error), False
        rows.append(
            {
                "name": name,
                "family": backbone.family,
                "parameters": backbone.parameters,
                "licence": backbone.licence,
                "installed": present,
                "where": where,
                "summary": backbone.summary,
            }
        )
    if as_json:
        print_json(rows)
        return
    cells = [
        (
            r["name"],
            r["family"],
            f"{r['parameters'] / 1e6:.1f} M",
            r["licence"],
            "yes" if r["installed"] else r["where"],
            r["summary"],
        )
        for r in rows
    ]
    print_table("", ("backbone", "family", "parameters", "licence", "installed", "what it is"), cells)
    typer.echo("Any other: the path of a Hugging Face folder, or a name on the hub.")


def _task_summary(entry: Any) -> dict[str, Any]:
    return {
        "name": entry.task.name,
        "summary": entry.task.summary,
        "families": sorted(entry.task.heads),
        "plugin": entry.plugin,
        "distribution": entry.distribution,
        "version": entry.version,
    }


def _options_of(options: type | None) -> list[dict[str, str]]:
    if options is None or not dataclasses.is_dataclass(options):
        return []
    return [
        {"name": field.name, "default": repr(field.default), "type": str(field.type)}
        for field in dataclasses.fields(options)
    ]
