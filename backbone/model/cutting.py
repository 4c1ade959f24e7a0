"""Cut a whole model down to one stage: keep blocks [a, b) and what they need, put a pass-through for the rest.

The library's own model class goes on to do the work: called with ``inputs_embeds`` it builds masks, positions and head
outputs itself. What several stages need (the embeddings of a tied head, the relative positions of T5 and DeBERTa)
each of them keeps (`Stage.shared_names`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from polyhead.backbone.model.architectures import ARCHITECTURES
from polyhead.backbone.model.finding import PAIR_TYPE
from polyhead.backbone.model.parts import Cut, Part, blocks_by_parameter, parts_of
from polyhead.backbone.model.stages import Stage
from polyhead.registry import PolyheadError


def plan_cuts(block_count: int, stages: int) -> list[Cut]:
    """Share the blocks out as evenly as they go; an uneven rest goes to the first stages.

    Raises:
        PolyheadError: There are more stages than blocks.

    """
    if stages > block_count:
        raise PolyheadError(f"layout asks for {stages} pipeline stages, but the backbone has {block_count} blocks")
    return cuts_of([block_count // stages + (index < block_count % stages) for index in range(stages)])


def cuts_of(sizes: Sequence[int]) -> list[Cut]:
    """Return the cuts of stages that have so many blocks."""
    ends = list(accumulate(sizes))
    return [
        Cut(end - size, end, ends[-1], index == 0, index == len(sizes) - 1)
        for index, (size, end) in enumerate(zip(sizes, ends, strict=True))
    ]


def block_count(model: Any) -> int:
    """Return how many blocks a whole model has, those of encoder and decoder together."""
    return parts_of(model)[-1].end_block


def holders_of_shared(model: Any, cuts: Sequence[Cut]) -> dict[str, tuple[int, ...]]:
    """Return the parameters of a whole model that more than one stage holds, by name in the checkpoint: which do."""
    found: dict[str, tuple[int, ...]] = {}
    for name, blocks in blocks_by_parameter(model, parts_of(model)).items():
        stages = [
            number
            for number, cut in enumerate(cuts)
            if any(cut.first_block <= block < cut.end_block for block in blocks)
        ]
        if len(stages) > 1:
            found[name] = tuple(stages)
    return found


def cut_stage(whole: Stage, cut: Cut) -> Stage:
    """Cut a whole model down to one stage, in place, and return it."""
    model, parts = whole.model, parts_of(whole.model)
    kept = range(cut.first_block, cut.end_block)
    shared = {
        name
        for name, blocks in blocks_by_parameter(model, parts).items()
        if any(block in kept for block in blocks) and any(block not in kept for block in blocks)
    }
    if len(parts) == 1:
        _trim_config(model, parts[0], cut)
    _drop_aliases(model)
    if not cut.is_last:
        _drop_head(whole)
    for part in parts:
        _trim_stack(model, part, cut)
    whole.become(cut, parts, shared)
    return whole


def _trim_stack(model: nn.Module, part: Part, cut: Cut) -> None:
    """Keep a stack's blocks [a, b); pass states through instead of embedding them; drop a norm that comes later."""
    stack, (first, end) = part.stack, part.slice_of(cut)
    trunk = model.get_submodule(part.root.removesuffix("."))
    found = trunk.get_submodule(stack.blocks)
    assert isinstance(found, nn.ModuleList)
    blocks = list(found)
    if first == end:
        _drop_stack(model, part)
        return
    if first > 0 and stack.position_bias is not None:
        _keep_position_bias(blocks[0], blocks[first], stack.position_bias)
    _replace(trunk, stack.blocks, nn.ModuleList(blocks[first:end]))
    starts, ends = first == 0, end == len(blocks)
    if stack.dropout is not None and not (starts and ends):
        _place_dropout(trunk, part, starts=starts, ends=ends)
    if not starts:
        for path in (*stack.embeddings, *stack.first_only):
            if _has(trunk, path):
                _replace(trunk, path, _PassThrough() if path in stack.embeddings else None)
        if stack.positions is not None:
            _replace(trunk, stack.positions, _NoPositions())
    if not ends and stack.final_norm is not None:
        _replace(trunk, stack.final_norm, nn.Identity())


def _drop_stack(model: nn.Module, part: Part) -> None:
    """Drop the half of an encoder-decoder that holds the stack, with its head."""
    path = f"{part.root}{part.stack.blocks}".split(".")
    side = next(index for index, name in enumerate(path) if name in {"encoder", "decoder"})
    _replace(model, ".".join(path[: side + 1]), None)


def _keep_position_bias(first: nn.Module, local: nn.Module, path: str) -> None:
    """Give the stage's first block the table of relative positions that the model's first block has."""
    parent, _, name = path.rpartition(".")
    attention = local.get_submodule(parent)
    setattr(attention, name, first.get_submodule(path))
    attention.has_relative_attention_bias = True  # type: ignore[assignment]  # T5Attention's own flag


def _place_dropout(trunk: nn.Module, part: Part, *, starts: bool, ends: bool) -> None:
    """Let the dropout of a stack act where the stage has that end of it, and only there."""
    stack = part.stack
    assert stack.dropout is not None
    parent, _, name = stack.dropout.rpartition(".")
    found = getattr(trunk.get_submodule(parent), name)
    if not isinstance(found, nn.Dropout):
        if not starts:
            setattr(trunk.get_submodule(parent), name, 0.0)
        return
    _replace(trunk, stack.dropout, nn.Identity())
    end = stack.embeddings[0] if starts else stack.final_norm if ends else None
    if end is not None:
        trunk.get_submodule(end).register_forward_hook(_DropBehind(found.p))


class _DropBehind:
    """A dropout that acts on what a module gives."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, module: nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(output, self.rate, module.training)


class _PassThrough(nn.Module):
    """Stand in for the embeddings of a later stage: the states come ready."""

    def forward(self, *arguments: Any, **named: Any) -> torch.Tensor:
        """Return the states as they came: the one float tensor, wherever the architecture's trunk puts it."""
        (states_BTD,) = (
            value
            for value in (*arguments, *named.values())
            if isinstance(value, torch.Tensor) and value.is_floating_point()
        )
        return states_BTD


class _NoPositions(nn.Module):
    """Stand in for the table of positions of a later stage: they are in the states already."""

    def forward(self, *_: Any, **__: Any) -> torch.Tensor:
        """Return nothing to add."""
        return torch.zeros(())


def _drop_head(whole: Stage) -> None:
    """Drop what only the last stage needs: all that stands beside the trunk, and its pooler."""
    model, whole.head = whole.model, None
    is_pair = model.config.model_type == PAIR_TYPE
    for half in (model.encoder, model.decoder) if is_pair else (model,):
        if half is None:
            continue
        trunk = half.base_model
        pooler = ARCHITECTURES[half.config.model_type].pooler
        if pooler is not None:
            setattr(trunk, pooler, None)
        if trunk is not half:
            kept = {half.base_model_prefix}
        elif whole.family == "encoder-decoder" and not is_pair:
            kept = {"encoder", "decoder"}  # T5 with a head is its own trunk
        else:
            continue
        for name, _ in (*half.named_children(), *half.named_buffers(recurse=False)):
            if name not in kept:
                setattr(half, name, None)


def _drop_aliases(model: Any) -> None:
    """Drop the embeddings that stand beside encoder and decoder: each has its own name for them."""
    for holder in (model, model.base_model):
        if isinstance(getattr(holder, "shared", None), nn.Embedding):
            holder.shared = None


def _trim_config(model: Any, part: Part, cut: Cut) -> None:
    first, end = part.slice_of(cut)
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = end - first
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[first:end]
    model.config = config
    model.base_model.config = config


def _has(root: nn.Module, path: str) -> bool:
    parent, _, name = path.rpartition(".")
    return getattr(root.get_submodule(parent), name, None) is not None


def _replace(root: nn.Module, path: str, module: nn.Module | None) -> None:
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, module)
