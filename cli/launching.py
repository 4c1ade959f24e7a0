"""Several processes for one command: start it again, once for each rank."""

from __future__ import annotations

import sys

import typer

from polyhead.cli.screen import say


def relaunch(processes: int, layout: str | None = None) -> None:
    """Run this very command in several processes and exit; go on in this one where only one is wanted.

    Raises:
        RunError: A launcher has started this process already, or the number does not fit the layout.

    """
    from polyhead.backbone.parallel.launch import launch, under_launcher
    from polyhead.configs.layouts import parse_layout
    from polyhead.registry import RunError

    if processes == 1:
        return
    if under_launcher():
        raise RunError(
            "--processes starts processes, but a launcher has started this one already: leave one of them out"
        )
    if layout is not None:
        parsed = parse_layout(layout)
        if not parsed.distributed:
            raise RunError(
                f"layout '{parsed.name}' is one process, but --processes says {processes}: "
                "say layout=zero1, zero2 or zero3 (or zero0 for plain data parallel)"
            )
        if processes % parsed.pipeline_stages:
            raise RunError(
                f"layout '{parsed.name}' needs a multiple of {parsed.pipeline_stages} processes, not {processes}"
            )
    raise typer.Exit(launch(_without_processes(sys.argv[1:]), processes=processes, say=say))


def _without_processes(arguments: list[str]) -> list[str]:
    """Return the arguments of this command less ``--processes N``."""
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--processes":
            next(rest, None)
        elif not argument.startswith("--processes="):
            kept.append(argument)
    return kept
