"""Real processes on this machine's CPU, talking over gloo."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ENVIRONMENT = {
    **os.environ,
    "CUDA_VISIBLE_DEVICES": "",  # two ranks on one GPU would not work
    "DS_ACCELERATOR": "cpu",
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}
PATIENCE = 300.0
Finished = subprocess.CompletedProcess[str]


def run_polyhead(*arguments: str) -> Finished:
    """Run ``python -m polyhead.cli ARGUMENTS`` to its end."""
    return run_program(sys.executable, "-m", "polyhead.cli", *arguments)


def run_program(*command: str, patience: float = PATIENCE) -> Finished:
    """Run a program to its end; a failure shows what it said."""
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=patience, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def find_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, no two the same.

    They are used minutes later, so they lie below those that the system hands out to connections (32768 and up).
    """
    found: set[int] = set()
    draw = random.SystemRandom()
    while len(found) < count:
        port = draw.randrange(15_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.add(port)
    return list(found)


def run_two_ranks(folder: Path, commands: list[list[str]], *, patience: float = 400.0) -> None:
    """Run polyhead commands one after the other on two ranks, and wait for both."""
    script = Path(__file__).with_name("run_commands.py")
    world = {**ENVIRONMENT, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    numbered = json.dumps(list(zip(find_ports(len(commands)), commands, strict=True)))
    ranks = []
    for rank in ("0", "1"):
        with (folder / f"rank{rank}.log").open("w", encoding="utf-8") as log:
            ranks.append(
                subprocess.Popen(
                    [sys.executable, str(script), numbered],
                    env={**world, "RANK": rank, "LOCAL_RANK": rank},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    deadline = time.monotonic() + patience
    while any(rank.poll() is None for rank in ranks) and not any(rank.poll() for rank in ranks):
        assert time.monotonic() < deadline, "the ranks did not come to an end"
        time.sleep(0.2)
    for rank in ranks:
        if rank.poll() is None:
            rank.kill()
        rank.wait()
    said = "\n".join((folder / f"rank{rank}.log").read_text(encoding="utf-8")[-4000:] for rank in (0, 1))
    assert [rank.returncode for rank in ranks] == [0, 0], said


@pytest.fixture(scope="session")
def run_ranks() -> Callable[..., None]:
    """Return `run_two_ranks`."""
    return run_two_ranks


@pytest.fixture(scope="session")
def polyhead() -> Callable[..., Finished]:
    """Return `run_polyhead`."""
    return run_polyhead


@pytest.fixture(scope="session")
def program() -> Callable[..., Finished]:
    """Return `run_program`."""
    return run_program


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Return what every process here runs under."""
    return ENVIRONMENT


@pytest.fixture(scope="session")
def ports() -> Callable[[int], list[int]]:
    """Return `find_ports`."""
    return find_ports


@pytest.fixture(scope="session")
def settings(tiny_bert: Path, reviews: Path) -> list[str]:
    """Return the overrides that every run here shares."""
    return [
        f"backbone={tiny_bert}",
        f"data.train={reviews / 'train.jsonl'}",
        f"data.validation={reviews / 'validation.jsonl'}",
        "data.cache=false",
        "data.max_length=64",
        "data.max_tokens=128",  # several micro-batches a step, an uneven number of them
        "training.batch_size=10",
        "training.learning_rate=2e-3",
        "training.schedule=constant",
        "training.warmup=3",
        "training.gradient_clipping=0.3",
        "training.log_to=[]",
    ]
