"""``polyhead verify``: prove that a recipe trains the same in every layout."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polyhead.cli.screen import (
    AsJson,
    Overrides,
    PluginChoices,
    load_plugins,
    load_settings,
    print_json,
    print_table,
    say,
)

if TYPE_CHECKING:
    from polyhead.backbone.parallel.proof import LayoutResult, Proof


class Optimizer(StrEnum):
    """What the runs are trained with."""

    SGD = "sgd"
    RECIPE = "recipe"


def verify(
    recipe: Annotated[
        str, typer.Argument(help="A task, a shipped recipe (polyhead config list), a YAML file, or a run folder.")
    ],
    overrides: Overrides = None,
    plugin: PluginChoices = None,
    layouts: Annotated[
        str | None,
        typer.Option(
            "--layouts",
            metavar="LAYOUT,...",
            help="As zero3,pipe2+zero1@4 (4 processes). Default: zero1 to zero3, pipe2, pipe2+zero1, the recipe's.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Optimizer steps.")] = 20,
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, help="Of layouts without @N. Default: the fewest, at least 2."),
    ] = None,
    optimizer: Annotated[
        Optimizer,
        typer.Option("--optimizer", help="sgd: plain gradient descent, the sharpest test; recipe: the recipe's own."),
    ] = Optimizer.SGD,
    tolerance: Annotated[
        float | None,
        typer.Option("--tolerance", min=0.0, help="Largest relative difference of losses and weights (fp32: 1e-5)."),
    ] = None,
    keep: Annotated[Path | None, typer.Option("--keep", help="Leave all runs in this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that a recipe, or a plugin of yours, trains the same in every layout as in one process.

    Trains a few steps on the recipe's own data in one process and in each layout, from the same state and without
    dropout, and compares the loss and the gradient norm of each step, the weights, and the validation scores.
    Exit code 1 where a layout differs.
    """
    from polyhead.backbone.options import build_options
    from polyhead.backbone.parallel.launch import under_launcher
    from polyhead.backbone.parallel.proof import prove
    from polyhead.backbone.parallel.proof_plan import Request
    from polyhead.registry import RunError

    if under_launcher():
        raise RunError("verify starts its own processes: run it without a launcher")
    inside = Path(recipe) / "config.yaml"
    registry, name = load_plugins(), str(inside) if inside.is_file() else recipe
    config = load_settings(registry, name, overrides, plugin)
    settings = (*(overrides or ()), f"plugins={json.dumps(config.plugins)}")
    build_options(registry.task(config.task), config.options)
    wanted = tuple(text.strip() for text in (layouts or "").split(",") if text.strip())
    request = Request(name, settings, wanted, steps, processes, optimizer.value, tolerance, keep)
    proof = prove(request, registry, say)
    if as_json:
        print_json(proof.to_json())
    else:
        _print(proof)
    if not proof.ok:
        raise typer.Exit(1)


def _print(proof: Proof) -> None:
    allowed = proof.tolerance
    bounds = [_number(bound) for bound in (allowed.loss, allowed.gradient_norm, allowed.weights, allowed.score)]
    rows = [["single", "", "", "", "", f"{proof.seconds:.1f}", ""], *map(_row, proof.layouts)]
    print_table(
        f"{proof.task} on {proof.backbone}, {proof.steps} steps, {proof.optimizer}: largest differences",
        ["layout@processes", "loss", "gradient", "weights", "scores", "seconds", ""],
        [["allowed", *bounds, "", ""], *rows],
    )
    for result in proof.layouts:
        name = f"{result.layout}@{result.processes}"
        for reason in result.reasons:
            typer.echo(f"{name} {result.verdict}: {reason}")
        if not result.clipped:
            typer.echo(f"{name}: without gradient clipping, which this layout cannot have")
    typer.echo(
        f"single: loss {proof.losses[0]:.4f} at step 1, {proof.losses[-1]:.4f} at step {proof.steps}; "
        f"weights moved by up to {_number(proof.moved)}"
    )


def _row(result: LayoutResult) -> list[str]:
    numbers = (result.loss, result.gradient_norm, result.weights, result.score)
    seconds = "" if result.seconds is None else f"{result.seconds:.1f}"
    return [f"{result.layout}@{result.processes}", *map(_number, numbers), seconds, result.verdict]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return "0" if value == 0 else f"{value:.1e}"
