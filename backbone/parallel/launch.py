"""Start several processes of the same command on this machine, watch them, and end all when one is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

GRACE_SECONDS = 20.0
"""How long the others may take to say what they know and save what they have, once one is lost."""
POLL_SECONDS = 0.2
COMMAND = ("-m", "polyhead.cli")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Hosts:
    """The machines of a run, each with as many processes; every one of them starts its own."""

    count: int = 1
    this: int = 0
    """Which of them this one is, from 0."""
    master: str = ""
    """``HOST:PORT`` of the first one, where all find together; empty on one machine: a free port."""


ALONE = Hosts()


def launch(
    arguments: Sequence[str],
    *,
    processes: int,
    say: Say,
    hosts: Hosts = ALONE,
    program: Sequence[str] = COMMAND,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run ``python -m polyhead.cli ARGUMENTS`` in several processes and return the exit code for all.

    The first code that is not 0 counts; a process ended by signal N counts as 128 + N, as shells do, and so does
    a launch that did not end well after signal N had come.

    Args:
        arguments: What every process is given.
        processes: How many on this machine.
        say: Told of processes that are lost.
        hosts: The machines, where there are several.
        program: What Python runs instead of the command.
        environment: Further variables for every process.

    """
    environment = {**_common_environment(processes, hosts), **(environment or {})}
    first = hosts.this * processes
    children = [
        subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, *program, *arguments],
            env={**environment, "RANK": str(first + rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(processes)
    ]
    forward = _Forwarder(children)
    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = _watch(children, say, first)
        return 128 + forward.received[0] if code and forward.received else code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Forwarder:
    """Pass SIGINT and SIGTERM on to the children, which save a checkpoint and end."""

    def __init__(self, children: Sequence[subprocess.Popen[bytes]]) -> None:
        self.children = children
        self.received: list[int] = []

    def __call__(self, number: int, _: FrameType | None) -> None:
        self.received.append(number)
        if number == signal.SIGINT and sys.stdin is not None and sys.stdin.isatty():
            return  # Ctrl-C in a terminal reaches every process of the group by itself
        for child in self.children:
            if child.poll() is None:
                child.send_signal(number)


def _common_environment(processes: int, hosts: Hosts) -> dict[str, str]:
    from polyhead.backbone.parallel.processes import free_port  # torch: only a launch pays for it

    threads = max(1, (os.cpu_count() or 1) // processes)
    address, _, port = (hosts.master or f"127.0.0.1:{free_port()}").rpartition(":")
    return {
        "OMP_NUM_THREADS": str(threads),
        **os.environ,
        "WORLD_SIZE": str(processes * hosts.count),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
    }


def _watch(children: Sequence[subprocess.Popen[bytes]], say: Say, first: int) -> int:
    """Wait for all; when one fails, give the others a moment and then end them."""
    failed: dict[int, int] = {}
    deadline: float | None = None
    while any(child.poll() is None for child in children):
        for rank, child in enumerate(children):
            code = child.poll()
            if code not in (None, 0) and rank not in failed:
                failed[rank] = _shell_code(code)
                if code is not None and code < 0:
                    say(f"rank {first + rank} (process {child.pid}) was ended by {_signal_name(-code)}")
                deadline = deadline or time.monotonic() + GRACE_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            _end(children, say, first)
            deadline = None
        time.sleep(POLL_SECONDS)
    codes = {rank: _shell_code(child.returncode) for rank, child in enumerate(children)}
    ordered = [*failed.values(), *codes.values()]
    return next((code for code in ordered if code), 0)


def _end(children: Sequence[subprocess.Popen[bytes]], say: Say, first: int) -> None:
    """Kill what is still running: it waits for a process that will not answer."""
    for rank, child in enumerate(children):
        if child.poll() is None:
            say(f"rank {first + rank} (process {child.pid}) did not end by itself; killing it")
            child.kill()


def _shell_code(code: int | None) -> int:
    assert code is not None
    return 128 - code if code < 0 else code


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def under_launcher(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher (deepspeed, torchrun, or ours) started this process."""
    return "RANK" in environ and "WORLD_SIZE" in environ
