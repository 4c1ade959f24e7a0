"""Measure what one thread reaches in float32 matrix products of MiniLM's shapes: the roofline of everything else.

Run by ``measure.multiply_speed`` as a process of its own.
"""

from __future__ import annotations

import time

import torch
from measure import write_report

TOKENS, WIDTH, INNER = 1024, 384, 1536
REPEATS = 60


def main() -> None:
    """Multiply, and report operations a CPU second."""
    torch.set_num_threads(1)
    left, right = torch.randn(TOKENS, WIDTH), torch.randn(WIDTH, INNER)
    out = torch.empty(TOKENS, INNER)
    for _ in range(5):
        torch.mm(left, right, out=out)
    started = time.process_time()
    for _ in range(REPEATS):
        torch.mm(left, right, out=out)
    write_report({"per_second": REPEATS * 2 * TOKENS * WIDTH * INNER / (time.process_time() - started)})


main()
