"""The same command under the launchers that people have: torchrun and deepspeed."""

from __future__ import annotations

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
