"""Several processes for one command: start it again, once for each rank."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import typer

from polyhead.cli.screen import say


def relaunch(processes: int, layout: str | None = None, machines: Machines | None = None) -> None:
    """Run this very command in several processes and exit; go on in this one where only one is wanted.

    Args:
        processes: How many on this machine.
        layout: The run's layout, which has to fit.
        machines: Where other machines take part.

    Raises:
        RunError: A launcher has started this process already, or the number does not fit the layout.

    """
    from polyhead.backbone.parallel.launch import ALONE, Hosts, launch, under_launcher
    from polyhead.registry import RunError

    hosts = ALONE
    if machines is not None:
        _check(machines)
        hosts = Hosts(machines.nodes, machines.node_rank, machines.master or "")
    every = processes * hosts.count
    if every == 1:
        return
    if under_launcher():
        raise RunError(
            "--processes starts processes, but a launcher has started this one already: leave one of them out"
        )
    if layout is not None:
        _check_layout(layout, every)
    raise typer.Exit(launch(_without_launch(sys.argv[1:]), processes=processes, say=say, hosts=hosts))


@dataclass(frozen=True, slots=True)
class Machines:
    """What the command line says of the machines of a run."""

    nodes: int
    node_rank: int
    master: str | None


def _check(machines: Machines) -> None:
    from polyhead.registry import RunError

    if machines.nodes == 1:
        if machines.node_rank or machines.master:
            raise RunError("--node-rank and --master are for runs on several machines: say --nodes too")
        return
    if machines.node_rank >= machines.nodes:
        raise RunError(
            f"--node-rank {machines.node_rank}: with --nodes {machines.nodes} it is 0 to {machines.nodes - 1}"
        )
    _, _, port = (machines.master or "").rpartition(":")
    if not port.isdecimal():
        raise RunError("--nodes needs --master HOST:PORT, the same on every machine: the first one, and a free port")


def _check_layout(layout: str, processes: int) -> None:
    from polyhead.configs.layouts import parse_layout
    from polyhead.registry import RunError

    parsed = parse_layout(layout)
    if not parsed.distributed:
        raise RunError(
            f"layout '{parsed.name}' is one process, but --processes says {processes}: "
            "say layout=zero1, zero2 or zero3 (or zero0 for plain data parallel)"
        )
    if processes % parsed.fewest_processes:
        raise RunError(
            f"layout '{parsed.name}' needs a multiple of {parsed.fewest_processes} processes, not {processes}"
        )


_OURS = ("--processes", "--nodes", "--node-rank", "--master")


def _without_launch(arguments: list[str]) -> list[str]:
    """Return the arguments of this command less those that say how it is started, and their values."""
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in _OURS:
            next(rest, None)
        elif not argument.startswith(tuple(f"{name}=" for name in _OURS)):
            kept.append(argument)
    return kept
