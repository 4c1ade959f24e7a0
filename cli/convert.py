"""``polyhead convert``: what a run's checkpoints become."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from polyhead.cli.screen import AsJson, load_plugins, print_json, say


class NumberFormat(StrEnum):
    """Number formats of weights."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


def convert(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    to: Annotated[
        str, typer.Option("--to", metavar="hf|LAYOUT", help="hf: a plain Hugging Face folder; or a layout, as zero3.")
    ],
    output: Annotated[Path | None, typer.Option("--output", metavar="FOLDER", help="hf: where to.")] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", metavar="STEP", help="hf: of which checkpoint, by step or path; else the newest."),
    ] = None,
    dtype: Annotated[NumberFormat | None, typer.Option("--dtype", help="hf: number format; else fp32.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a checkpoint into a plain Hugging Face folder, or move a run to another layout.

    RUN/model holds the best model already; --to hf takes any checkpoint: polyhead convert RUN --to hf --output FOLDER

    Checkpoints belong to no layout: --to LAYOUT changes the run's settings only, and says how to go on.
    """
    from polyhead.registry import RunError

    if to == "hf":
        if output is None:
            raise RunError("--to hf writes a folder: say which with --output FOLDER")
        _write_model(run, output, checkpoint, dtype or NumberFormat.FP32, as_json=as_json)
        return
    given = {"--output": output, "--checkpoint": checkpoint, "--dtype": dtype}
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        raise RunError(f"{', '.join(extra)}: for --to hf only; a layout changes nothing but the run's settings")
    _change_layout(run, to, as_json=as_json)


def _write_model(run: Path, output: Path, wanted: str | None, dtype: NumberFormat, *, as_json: bool) -> None:
    registry = load_plugins()
    from polyhead.backbone.checkpoint.convert import write_model

    checkpoint = write_model(run, output, registry, wanted=wanted, dtype=dtype.value)
    if as_json:
        print_json({"folder": str(output), "checkpoint": str(checkpoint.path), "step": checkpoint.step, "dtype": dtype})
    else:
        say(f"{output}: the model of {checkpoint.path}, {dtype.value}")


def _change_layout(run: Path, layout: str, *, as_json: bool) -> None:
    registry = load_plugins()
    from polyhead.backbone.checkpoint.convert import change_layout

    found = change_layout(run, layout, registry)
    if as_json:
        path = None if found.checkpoint is None else str(found.checkpoint)
        print_json({"run": str(run), "layout": found.layout, "checkpoint": path, "command": found.command})
        return
    where = "its beginning: no checkpoint was written yet" if found.checkpoint is None else str(found.checkpoint)
    say(f"{run} goes on under layout {found.layout}, from {where}")
    typer.echo(found.command)
