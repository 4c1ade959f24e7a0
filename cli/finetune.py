"""``polyhead finetune``: train a head (and its backbone) on a task."""

from __future__ import annotations

from typing import Annotated

import typer

from polyhead.cli.launching import relaunch
from polyhead.cli.screen import AsJson, Overrides, Processes, load_plugins, print_json, say


def finetune(
    recipe: Annotated[
        str,
        typer.Argument(help="A task, a shipped recipe (polyhead config list), a YAML file, or a run to resume."),
    ],
    overrides: Overrides = None,
    processes: Processes = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew where a run is already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a backbone on a task.

    The shortest real use: polyhead finetune sentiment data.train=my.csv output=runs/mine

    Equally: deepspeed --num_gpus N --module polyhead.cli finetune RECIPE, or
    torchrun --nproc-per-node N -m polyhead.cli finetune RECIPE.
    """
    from polyhead.backbone.options import build_options
    from polyhead.configs.load import load_config, require_training_data
    from polyhead.registry import RunError

    registry = load_plugins()
    config = load_config(_recipe_of(recipe), overrides or (), tasks=registry.tasks())
    require_training_data(config)
    build_options(registry.task(config.task), config.options)
    if resume and overwrite:
        raise RunError("--resume goes on with a run, --overwrite deletes it: say one of them")
    relaunch(processes, config.layout)

    from rich.console import Console

    from polyhead.backbone.training.finetune import finetune as train
    from polyhead.backbone.training.loop import Interrupted

    try:
        result = train(config, registry, resume=resume, overwrite=overwrite, console=Console(stderr=True))
    except Interrupted as stop:
        say(str(stop))
        raise typer.Exit(stop.code) from None
    if not result.speaks:
        return
    if as_json:
        print_json(result.to_json())
        return
    say(f"{result.status} after {result.steps} steps, {result.seconds:.0f} s: {result.folder}")
    say(f"next: polyhead evaluate {result.folder}   or: polyhead predict {result.folder} --text '...'")


def _recipe_of(name: str) -> str:
    """Return the settings file of a run folder, or the recipe as it was given."""
    from pathlib import Path

    inside = Path(name) / "config.yaml"
    return str(inside) if inside.is_file() else name
