"""Which block of a model needs which parameter: what a cut keeps, and what several stages have to hold.

Blocks are counted through: those of an encoder, then those of its decoder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from polyhead.backbone.model.architectures import Stack, architecture_of
from polyhead.backbone.model.finding import PAIR_TYPE


@dataclass(frozen=True, slots=True)
class Cut:
    """Which blocks a stage keeps."""

    first_block: int
    end_block: int
    block_count: int
    """How many blocks the whole model has."""
    is_first: bool
    is_last: bool


@dataclass(frozen=True, slots=True)
class Part:
    """One stack of blocks in a whole model."""

    stack: Stack
    root: str
    """Path of the trunk that the stack's paths are relative to, a dot behind it unless it is empty."""
    first_block: int
    """The number of its first block in the whole model."""
    end_block: int

    def slice_of(self, cut: Cut) -> tuple[int, int]:
        """Return which of this stack's own blocks a stage keeps: first and end, equal where it keeps none."""
        first = min(max(cut.first_block, self.first_block), self.end_block)
        end = max(min(cut.end_block, self.end_block), first)
        return first - self.first_block, end - self.first_block

    @property
    def blocks_prefix(self) -> str:
        """Return what the names of all parameters in blocks begin with."""
        return f"{self.root}{self.stack.blocks}."

    def needed_by(self, name: str) -> range | None:
        """Return the blocks that need a parameter, numbered in the whole model; None where it is not of this stack."""
        everyone = range(self.first_block, self.end_block)
        stack = self.stack
        if name.startswith(self.blocks_prefix):
            number, inside = name.removeprefix(self.blocks_prefix).split(".", 1)
            is_bias = stack.position_bias is not None and inside.startswith(f"{stack.position_bias}.")
            return everyone if is_bias else everyone[int(number) : int(number) + 1]
        if self._is_under(name, (*stack.embeddings, stack.positions, *stack.first_only)):
            return everyone[:1]
        if self._is_under(name, (stack.final_norm,)):
            return everyone[-1:]
        return everyone if self._is_under(name, stack.everywhere) else None

    def _is_under(self, name: str, paths: Iterable[str | None]) -> bool:
        return any(path is not None and name.startswith(f"{self.root}{path}.") for path in paths)


def parts_of(model: Any) -> tuple[Part, ...]:
    """Return the stacks of a whole model: one, or encoder and decoder.

    Raises:
        BackboneError: Nobody has described this architecture yet.

    """
    halves = [("", model)]
    if model.config.model_type == PAIR_TYPE:
        halves = [("encoder.", model.encoder), ("decoder.", model.decoder)]
    parts: list[Part] = []
    for root, half in halves:
        if half is None:  # of a pair whose encoder alone is read
            continue
        trunk = half.base_model
        inside = root if trunk is half else f"{root}{half.base_model_prefix}."
        for stack in architecture_of(half.config).stacks:
            try:
                count = len(trunk.get_submodule(stack.blocks))
            except AttributeError:
                continue  # a T5 or BART whose encoder alone is read
            first = parts[-1].end_block if parts else 0
            parts.append(Part(stack, inside, first, first + count))
    return tuple(parts)


def needed_by(parts: tuple[Part, ...], name: str) -> range:
    """Return the blocks that need a parameter: what is in no stack belongs to the head, so to the last block."""
    for part in parts:
        found = part.needed_by(name)
        if found is not None:
            return found
    if name.split(".")[-2] == "shared":
        return range(0)  # stands for the embeddings of encoder and decoder, which bear names of their own
    if name.startswith("enc_to_dec_proj."):
        return range(parts[0].end_block - 1, parts[0].end_block)
    return range(parts[-1].end_block - 1, parts[-1].end_block)


def main_names(model: Any) -> dict[str, str]:
    """Return the name in the checkpoint of every parameter that bears several."""
    mains = {id(parameter): name for name, parameter in model.named_parameters()}
    every = model.named_parameters(remove_duplicate=False)
    return {name: mains[id(parameter)] for name, parameter in every if mains[id(parameter)] != name}


def blocks_by_parameter(model: Any, parts: tuple[Part, ...]) -> dict[str, set[int]]:
    """Return for each parameter, by its name in the checkpoint, the blocks that need it under one of its names."""
    mains = main_names(model)
    found: dict[str, set[int]] = {}
    for name, _ in model.named_parameters(remove_duplicate=False):
        found.setdefault(mains.get(name, name), set()).update(needed_by(parts, name))
    return found
