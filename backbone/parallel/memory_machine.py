"""What memory this machine has for each process, and what a process takes that has loaded everything but a model."""

from __future__ import annotations

import subprocess
import sys

import psutil
import torch

CONTEXT = 600_000_000
"""What CUDA itself takes of a GPU's memory, beside tensors: about, it depends on driver and card."""
PROBE = """
import deepspeed
import polyhead.backbone.parallel.memory_measure
import transformers.models.bert.modeling_bert
import psutil
print(psutil.Process().memory_info().rss)
"""
"""Loads what every process of a run loads, and says what it takes."""


def processes_here() -> int:
    """Return how many processes this machine would run: one for each GPU, two without."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 2


def has_gpu() -> bool:
    """Return whether tensors lie on a GPU here."""
    return torch.cuda.is_available()


def memory_of_one(processes: int) -> int:
    """Return the memory that each process has here: its GPU's, or its part of the host's."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return int(psutil.virtual_memory().total // processes)


def libraries_bytes(*, on_gpu: bool) -> int:
    """Return the bytes that libraries take beside tensors.

    On a CPU a process is started that loads the same as those of a run and holds no model.
    """
    if on_gpu:
        return CONTEXT
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROBE], capture_output=True, text=True, check=True)  # noqa: S603
    return int(done.stdout.split()[-1])
