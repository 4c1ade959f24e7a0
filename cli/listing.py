"""``polyhead tasks`` and ``polyhead backbones``: what there is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from polyhead.cli.screen import AsJson, load_plugins, print_json, print_table
from polyhead.registry import BackboneError, Family, PolyheadError, RegisteredTask, Task
from polyhead.registry.option_reference import options_of

tasks_app = typer.Typer(help="List the tasks, or show one.", rich_markup_mode=None)


KINDS = {
    "AutoModelForSequenceClassification": "sequence",
    "AutoModelForTokenClassification": "token",
    "AutoModelForQuestionAnswering": "span",
    "AutoModelForCausalLM": "language model",
    "AutoModelForSeq2SeqLM": "seq2seq",
}
"""What the matrix of tasks calls the heads of ``transformers``."""
FAMILIES: tuple[Family, ...] = ("encoder", "decoder", "encoder-decoder")


@tasks_app.callback(invoke_without_command=True)
def tasks(
    context: typer.Context,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Show what each family of backbones does a task with.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the tasks that are installed."""
    if context.invoked_subcommand is not None:
        return
    found = load_plugins().tasks()
    if matrix:
        _print_matrix({name: entry for name, entry in found.items() if not entry.task.pretrains}, as_json=as_json)
        return
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


def _print_matrix(found: Mapping[str, RegisteredTask], *, as_json: bool) -> None:
    """Print the tasks by family of backbone: how each does it, or why not."""
    cells = {name: {family: _means(entry.task, family) for family in FAMILIES} for name, entry in sorted(found.items())}
    if as_json:
        print_json(cells)
        return
    rows = [(name, *(means[family] for family in FAMILIES)) for name, means in cells.items()]
    print_table("", ("task", *FAMILIES), rows)
    typer.echo(
        "own: a head of polyhead's, where transformers has none. pair: encoder and decoder warm-started from it."
    )


def _means(task: Task[Any, Any], family: Family) -> str:
    """Say in a few words what a task does with a family of backbones: the class of ``transformers``, or our own."""
    if family not in task.heads:
        return f"no: use {' or '.join(sorted(task.heads))}"
    options = task.options() if task.options is not None else None
    for labels in ((), ("negative", "positive"), ("O", "B-PER", "I-PER")):  # learned from data; any will do
        try:
            spec = task.heads[family](task.setup_from_labels(labels, options))
        except PolyheadError:
            continue
        if spec.auto_class is None:
            return f"own: {spec.outputs[0].name}"
        kind = KINDS.get(spec.auto_class, spec.auto_class)
        return f"{kind} (pair)" if (family, kind) == ("encoder", "seq2seq") else kind
    return "yes"


@tasks_app.command("show")
def show_task(
    name: Annotated[str, typer.Argument(help="The task.")],
    as_json: AsJson = False,
) -> None:
    """Show one task: its columns, options, families, and metrics."""
    registry = load_plugins()
    task = registry.task(name)
    entry = registry.tasks()[name]
    options = options_of(task.options)
    if as_json:
        columns = [dataclasses.asdict(column) for column in task.columns]
        described = [dataclasses.asdict(option) for option in options]
        print_json({**_task_summary(entry), "columns": columns, "options": described})
        return
    typer.echo(f"{task.name}: {task.summary}\n")
    print_table("Columns", ("column", "needed", "what"), [(c.name, c.required, c.summary) for c in task.columns])
    if options:
        rows = [(option.name, option.default, option.type, option.summary) for option in options]
        print_table("Options", ("option", "default", "type", "what"), rows)
    metrics = ", ".join(metric.name for metric in registry.metrics(name))
    changes = ", ".join(registry.perturbations(name)) or "none"
    typer.echo(f"Families: {', '.join(sorted(task.heads))}\nMetrics: {metrics}\nBaseline: {task.baseline_name}")
    typer.echo(f"Perturbations: {changes}")


def backbones(as_json: AsJson = False) -> None:
    """List the backbones that have a short name, and whether their weights are here."""
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
