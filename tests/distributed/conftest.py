"""Real processes on this machine's CPU, talking over gloo."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
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


def run_program(*command: str) -> Finished:
    """Run a program to its end; a failure shows what it said."""
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def find_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, no two the same."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


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
