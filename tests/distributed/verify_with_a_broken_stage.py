"""One rank of a proof whose engine is broken on purpose: later pipeline stages take padding for text.

Started by `test_verify` in the place of `polyhead.backbone.parallel.proof_rank`.
"""

from __future__ import annotations

import sys

import torch

from polyhead.backbone.model.stages import Stage, Tensors
from polyhead.backbone.parallel.proof_worker import work

sound = Stage.forward


def forward_without_mask(stage: Stage, tensors: Tensors) -> Tensors:
    """Run a stage; one that is not the first gets a mask of ones."""
    if stage.is_first:
        return sound(stage, tensors)
    hidden, mask, *rest = tensors
    return sound(stage, (hidden, torch.ones_like(mask), *rest))


if __name__ == "__main__":
    Stage.forward = forward_without_mask  # type: ignore[method-assign]
    sys.exit(work(sys.argv[1]))
