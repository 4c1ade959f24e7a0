"""Whole commands on one GPU, each in a process of its own, and the same on the CPU; skipped where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PATIENCE = 400.0
Finished = subprocess.CompletedProcess[str]
CPU = {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is in this folder where it cannot run."""
    import torch

    if torch.cuda.is_available():
        return
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))


def run_polyhead(*arguments: str, on: str = "gpu", code: int = 0) -> Finished:
    """Run ``python -m polyhead.cli ARGUMENTS`` and hold its exit code against ``code``."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "2"}
    if on == "cpu":
        environment |= CPU
    else:
        environment.pop("DS_ACCELERATOR", None)
    command = [sys.executable, "-m", "polyhead.cli", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def polyhead() -> Callable[..., Finished]:
    """Return `run_polyhead`."""
    return run_polyhead


@pytest.fixture(scope="session")
def short_run(reviews: Path) -> list[str]:
    """Return the settings that all runs here share: 12 steps of the same reviews."""
    return [
        f"data.train={reviews / 'train.jsonl'}",
        f"data.validation={reviews / 'validation.jsonl'}",
        "data.cache=false",
        "data.max_length=64",
        "data.max_tokens=256",
        "training.max_steps=12",
        "training.checkpoint_every=6",
        "training.evaluate_every=12",
        "training.batch_size=10",
        "training.learning_rate=2e-3",
        "training.dropout=0",
        "training.log_to=[]",
    ]
