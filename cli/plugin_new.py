"""``polyhead plugins new``: write a plugin that works, to be edited."""

from __future__ import annotations

import shlex
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyhead.cli.screen import AsJson, load_plugins, print_json
from polyhead.registry import PluginError, PolyheadError, Registry, Task, TextExample, unknown_name
from polyhead.registry.discovery import OURS
from polyhead.registry.scaffold import KINDS, Blueprint, Kind, check_name, files_of, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_TASK = "classification"


def new(
    name: Annotated[str, typer.Argument(help="The plugin's name, such as toxicity.", show_default=False)],
    kind: Annotated[str, typer.Option("--kind", help=f"What it brings: {', '.join(KINDS)}.")] = "task",
    output: Annotated[
        Path | None, typer.Option("--output", help="The folder to write; the plugin's name otherwise.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--for", help=f"The task that a head or a metric is for; {DEFAULT_TASK} otherwise."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a whole, tested distribution with a plugin, to be edited: pip install -e FOLDER, and it works."""
    if kind not in KINDS:
        raise unknown_name("kind of plugin", kind, KINDS)
    registry = load_plugins()
    check_name(name, set(_own_names(registry)))
    folder = output or Path(name)
    blueprint = _blueprint(name, kind, task, registry)
    files = files_of(blueprint)
    write_files(files, folder)
    steps = _next_steps(blueprint, folder)
    if as_json:
        found = {"name": name, "kind": kind, "folder": str(folder), "distribution": blueprint.distribution}
        print_json({**found, "package": blueprint.package, "files": list(files), "next": steps})
        return
    typer.echo(f"{folder}: {blueprint.distribution}, a {kind}, {len(files)} files. It works as it is; next:\n")
    typer.echo("\n".join(f"  {step}" for step in steps))
    typer.echo(f"\n{folder / 'README.md'} says what to change.")


def _own_names(registry: Registry) -> Iterator[str]:
    """Yield what polyhead itself calls its plugins and what they bring."""
    for plugin in registry.plugins():
        if plugin.distribution == OURS:
            yield from (plugin.name, *plugin.tasks, *plugin.readers, *plugin.backbones, *plugin.commands)


def _blueprint(name: str, kind: Kind, task: str | None, registry: Registry) -> Blueprint:
    """Return what is to be written; refuses a task that the templates do not fit."""
    version = metadata.version(OURS)
    if kind not in ("head", "metric"):
        if task is not None:
            raise PluginError(f"--for goes with --kind head and --kind metric, not with --kind {kind}")
        return Blueprint(name, kind, version)
    wanted = registry.task(task or DEFAULT_TASK)
    fits = _labels_texts if kind == "metric" else _has_plain_head
    if not fits(wanted):
        others = [other for other, entry in registry.tasks().items() if fits(entry.task)]
        raise PluginError(
            f"there is no template of a {kind} for task '{wanted.name}': take --for {' or '.join(others)}, and change "
            "what it is for by hand"
        )
    return Blueprint(name, kind, version, wanted.name, per_token=_plain_outputs(wanted) == "token")


def _labels_texts(task: Task[Any, Any]) -> bool:
    """Whether a task gives labels to texts, in the records of the plugin API."""
    return task.example_type is TextExample


def _has_plain_head(task: Task[Any, Any]) -> bool:
    """Whether a task's head gives one number a label, for a text or for a token."""
    return _plain_outputs(task) is not None


def _plain_outputs(task: Task[Any, Any]) -> str | None:
    """Return what a task's head gives its numbers for, ``feature`` or ``token``; None where it gives something else."""
    if task.reduction is not None or task.encode_prompts is not None:
        return None
    labels = ("O", "B-X", "I-X")  # whatever a task's labels mean: tags are labels of texts too
    try:
        setup = task.setup_from_labels(labels, task.options() if task.options is not None else None)
        spec = next(iter(task.heads.values()))(setup)
    except PolyheadError:
        return None
    return spec.outputs[0].per if len(spec.outputs) == 1 and spec.labels == labels else None


def _next_steps(blueprint: Blueprint, folder: Path) -> list[str]:
    """Return the commands that come next."""
    name, where = blueprint.name, shlex.quote(str(folder))
    written = where if folder.is_absolute() else f"./{where}"
    quickly = "training.epochs=10 training.batch_size=8 training.learning_rate=5e-4"  # a few dozen rows
    samples = f"{where}/{blueprint.package}/samples.jsonl"
    use = {
        "task": f"polyhead finetune {name} data.train={samples} {quickly} output=runs/{name}",
        "head": f"polyhead finetune {blueprint.task} head={name} data.train=train.jsonl output=runs/{name}",
        "metric": "polyhead evaluate RUN --data test.jsonl",
        "reader": f"polyhead data check {DEFAULT_TASK} FILE.{name}",
        "backbone": f"polyhead finetune {DEFAULT_TASK} backbone={name} data.train=train.jsonl output=runs/{name}",
    }
    return [f"pip install -e {written}", f"polyhead plugins check {name}", use[blueprint.kind]]
