"""Tensor parallelism by DeepSpeed's AutoTP: which models it divides, and whole tensors out of shares and back.

AutoTP (`deepspeed.module_inject`) replaces linear layers by ones that hold a share of the matrix: of its rows (query,
key, value, the way into a feed-forward layer) or of its columns (the way out of one).
"""

from __future__ import annotations

from typing import Any

import torch

from polyhead.backbone.model.finding import halves_of
from polyhead.registry import RunError

DIVIDED = ("bart", "bert", "camembert", "llama", "mistral", "qwen2", "qwen3", "roberta", "xlm-roberta")
"""Architectures that give the losses of one process when they are divided."""
_META = "ds_autotp_universal_checkpoint_meta"


def refuse_undivided(config: Any, layout: str, shares: int) -> None:
    """Refuse a model that AutoTP would divide wrongly, or not at all.

    Raises:
        RunError: Says which architectures are divided, or that heads of attention do not divide evenly.

    """
    for half in halves_of(config):
        if half.model_type not in DIVIDED:
            raise RunError(
                f"layout '{layout}': nobody has shown that DeepSpeed's AutoTP divides architecture "
                f"'{half.model_type}' rightly; it does {', '.join(DIVIDED)}. Use zero3, or a pipeline"
            )
        names = ("num_attention_heads", "num_key_value_heads", "encoder_attention_heads", "decoder_attention_heads")
        uneven = {name: getattr(half, name) for name in names if (getattr(half, name, None) or shares) % shares}
        for name, count in uneven.items():
            raise RunError(f"layout '{layout}': {name}={count} cannot be divided by {shares}")


def whole_tensor(parameter: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return a tensor of a parameter's shape before it was divided; every rank that shares it calls this.

    Args:
        parameter: Says how it is divided.
        share: This rank's share: of the weights, or of something that goes with them.

    """
    found = _division(parameter)
    if found is None:
        return share
    from deepspeed.utils import groups

    dimension, sizes = found
    parts = [torch.empty_like(share) for _ in sizes]
    torch.distributed.all_gather(parts, share.contiguous(), group=groups.get_tensor_model_parallel_group())
    return torch.cat(parts, dim=dimension)


def own_share(parameter: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Return what this rank holds of a whole tensor that goes with a parameter."""
    found = _division(parameter)
    if found is None:
        return whole
    from deepspeed.utils import groups

    dimension, sizes = found
    rank = groups.get_tensor_model_parallel_rank()
    return whole.narrow(dimension, sum(sizes[:rank]), sizes[rank]).contiguous()


def is_divided(parameter: torch.Tensor) -> bool:
    """Return whether other ranks hold the rest of a parameter."""
    return _division(parameter) is not None


def _division(parameter: torch.Tensor) -> tuple[int, list[int]] | None:
    """Return along which dimension a parameter is divided, and the sizes; None where it is whole."""
    meta = getattr(parameter, _META, None)
    if meta is None or meta["partition_dim"] is None:
        return None
    return int(meta["partition_dim"]), [int(size) for size in meta["partition_sizes"]]
