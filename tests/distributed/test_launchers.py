"""The same command under the launchers that people have: torchrun and deepspeed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent


def command_of(launcher: str, port: int) -> list[str]:
    if launcher == "torchrun":
        start = [str(BIN / "torchrun"), "--nproc-per-node", "2", "--master-port", str(port), "-m"]
    elif launcher == "torchrun, one process":
        start = [str(BIN / "torchrun"), "--nproc-per-node", "1", "--master-port", str(port), "-m"]
    else:
        start = [str(BIN / "deepspeed"), "--num_accelerators", "2", "--master_port", str(port), "--module"]
    return [*start, "polyhead.cli", "finetune", "sentiment"]


@pytest.mark.parametrize("launcher", ["torchrun", "torchrun, one process", "deepspeed"])
def test_a_launcher_starts_the_run(
    launcher: str,
    settings: list[str],
    ports: Callable[[int], list[int]],
    program: Any,
    events: Any,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    (port,) = ports(1)
    short = ["layout=zero2", "training.max_steps=2", "training.warmup=0", f"output={run}"]
    program(*command_of(launcher, port), *settings, *short)
    processes = 1 if "one" in launcher else 2
    (start,) = events(run, "start")
    assert start["world_size"] == processes
    assert [step["step"] for step in events(run, "step")] == [1, 2]
    assert events(run, "end")[0]["status"] == "completed"
    assert (run / "model" / "model.safetensors").is_file()


def test_two_machines_find_together(
    settings: list[str], ports: Callable[[int], list[int]], environment: dict[str, str], events: Any, tmp_path: Path
) -> None:
    """Two commands with an address in common are the two hosts, as far as one machine can be two."""
    run = tmp_path / "run"
    (port,) = ports(1)
    short = ["layout=zero1", "training.max_steps=2", "training.warmup=0", f"output={run}"]
    command = [sys.executable, "-m", "polyhead.cli", "finetune", "sentiment", *settings, *short]
    place = ["--nodes", "2", "--master", f"127.0.0.1:{port}", "--node-rank"]
    hosts = [
        subprocess.Popen(
            [*command, *place, rank], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for rank in ("0", "1")
    ]
    said = [host.communicate(timeout=300)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], said
    (start,) = events(run, "start")
    assert start["world_size"] == 2
    assert [step["step"] for step in events(run, "step")] == [1, 2]
    assert "completed after 2 steps" in said[0]
    assert "completed" not in said[1]
