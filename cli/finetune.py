"""``polyhead finetune`` and ``polyhead pretrain``: train a head and its backbone on a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from polyhead.cli.launching import Machines, relaunch
from polyhead.cli.screen import (
    AsJson,
    Overrides,
    PluginChoices,
    Processes,
    load_plugins,
    load_settings,
    print_json,
    say,
)

if TYPE_CHECKING:
    from polyhead.backbone.training.finetune import RunResult
    from polyhead.configs.schema import RunConfig
    from polyhead.registry import Registry

Recipe = Annotated[
    str, typer.Argument(help="A task, a shipped recipe (polyhead config list), a YAML file, or a run to resume.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")]
ResumeFrom = Annotated[
    str | None,
    typer.Option("--resume-from", metavar="STEP", help="Go on from this checkpoint instead: its step, or its path."),
]
Nodes = Annotated[int, typer.Option("--nodes", min=1, help="Machines of the run; start the command on each.")]
NodeRank = Annotated[int, typer.Option("--node-rank", min=0, help="Which of them this one is, from 0.")]
Master = Annotated[
    str | None, typer.Option("--master", metavar="HOST:PORT", help="The first machine, and a free port there.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Start anew where a run is already.")]


def finetune(
    recipe: Recipe,
    overrides: Overrides = None,
    plugin: PluginChoices = None,
    processes: Processes = 1,
    nodes: Nodes = 1,
    node_rank: NodeRank = 0,
    master: Master = None,
    resume: Resume = False,
    resume_from: ResumeFrom = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a backbone on a task.

    The shortest real use: polyhead finetune sentiment data.train=my.csv output=runs/mine

    Equally: deepspeed --num_gpus N --module polyhead.cli finetune RECIPE, or
    torchrun --nproc-per-node N -m polyhead.cli finetune RECIPE.
    """
    registry = load_plugins()
    config = _settings_of(registry, recipe, overrides, plugin)
    start = _Start(resume or resume_from is not None, resume_from, overwrite)
    result = _train(registry, config, start, processes=processes, machines=Machines(nodes, node_rank, master))
    _tell(
        result,
        f"polyhead evaluate {result.folder}   or: polyhead predict {result.folder} --text '...'",
        as_json=as_json,
    )


def pretrain(
    recipe: Recipe,
    overrides: Overrides = None,
    plugin: PluginChoices = None,
    processes: Processes = 1,
    nodes: Nodes = 1,
    node_rank: NodeRank = 0,
    master: Master = None,
    resume: Resume = False,
    resume_from: ResumeFrom = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train a backbone on plain texts: from random weights, or further from those that it has.

    Further: polyhead pretrain masked-lm data.train=texts.jsonl output=runs/base

    From nothing: polyhead tokenizer train texts.jsonl --output tokenizer --type wordpiece --size 8000, then
    polyhead pretrain masked-lm backbone.tokenizer=tokenizer backbone.architecture='{model_type: bert, ...}' ...

    Then: polyhead finetune TASK backbone=runs/base
    """
    from polyhead.registry import RunError

    registry = load_plugins()
    config = _settings_of(registry, recipe, overrides, plugin)
    if not registry.task(config.task).pretrains:
        objectives = sorted(name for name, entry in registry.tasks().items() if entry.task.pretrains)
        raise RunError(
            f"task '{config.task}' is no objective of pretraining ({', '.join(objectives) or 'none is installed'}); "
            f"train on it with: polyhead finetune {recipe}"
        )
    start = _Start(resume or resume_from is not None, resume_from, overwrite)
    result = _train(registry, config, start, processes=processes, machines=Machines(nodes, node_rank, master))
    _tell(result, f"polyhead finetune TASK backbone={result.folder} data.train=FILE", as_json=as_json)


def _settings_of(
    registry: Registry, recipe: str, overrides: Sequence[str] | None, plugin: Sequence[str] | None
) -> RunConfig:
    """Return the settings of a run, with what can be checked before anything heavy is loaded."""
    from polyhead.backbone.options import build_options
    from polyhead.configs.load import require_training_data

    config = load_settings(registry, _recipe_of(recipe), overrides, plugin)
    require_training_data(config)
    build_options(registry.task(config.task), config.options)
    return config


@dataclass(frozen=True, slots=True)
class _Start:
    """What is to become of a run that is there already."""

    resume: bool
    resume_from: str | None
    overwrite: bool


def _train(registry: Registry, config: RunConfig, start: _Start, *, processes: int, machines: Machines) -> RunResult:
    """Train in this process, or start the processes that do; a signal ends the command with its exit code."""
    from polyhead.registry import RunError

    if start.resume and start.overwrite:
        raise RunError("--resume goes on with a run, --overwrite deletes it: say one of them")
    relaunch(processes, config.layout, machines)

    from rich.console import Console

    from polyhead.backbone.training.finetune import finetune as train
    from polyhead.backbone.training.loop import Interrupted

    try:
        return train(
            config,
            registry,
            resume=start.resume,
            resume_from=start.resume_from,
            overwrite=start.overwrite,
            console=Console(stderr=True),
        )
    except Interrupted as stop:
        say(str(stop))
        raise typer.Exit(stop.code) from None


def _tell(result: RunResult, next_command: str, *, as_json: bool) -> None:
    if not result.speaks:
        return
    if as_json:
        print_json(result.to_json())
        return
    say(f"{result.status} after {result.steps} steps, {result.seconds:.0f} s: {result.folder}")
    say(f"next: {next_command}")


def _recipe_of(name: str) -> str:
    """Return the settings file of a run folder, or the recipe as it was given."""
    from pathlib import Path

    inside = Path(name) / "config.yaml"
    return str(inside) if inside.is_file() else name
