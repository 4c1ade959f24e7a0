"""One part of a model: trunk blocks [a, b), with the embeddings if it is first and the head if it is last.

A whole model is the stage that is both. The library's own model class does the work: cut to its blocks, it is called
with ``inputs_embeds`` and builds masks, positions and head outputs itself. A head is the stage that has no blocks.

Shapes: B batch, T tokens, D hidden width.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from polyhead.backbone.model.architectures import Architecture, architecture_of
from polyhead.registry import HeadSpec, PolyheadError

HEAD_PREFIX = "polyhead_head."
Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """Which blocks a stage keeps."""

    first_block: int
    end_block: int
    block_count: int
    """How many blocks the whole model has."""
    is_first: bool
    is_last: bool


class Stage(nn.Module):
    """A model or a part of it: flat tuple of tensors in, flat tuple of tensors out.

    The first stage takes the model's inputs in the order of ``input_names``, a later one ``(hidden_BTD, mask_BT)``.
    The last stage gives the head's outputs, an earlier one ``(hidden_BTD, mask_BT)``.
    """

    def __init__(self, model: Any, head: nn.Module | None, spec: HeadSpec, input_names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.spec = spec
        self.input_names = tuple(input_names)
        self.cut: Cut | None = None
        self.library_config = copy.deepcopy(model.config)
        """The whole model's config, whatever part of it this stage is."""
        self.library_config.architectures = [type(model).__name__]
        self.library_config.dtype = "float32"

    @property
    def is_first(self) -> bool:
        """Whether this stage takes token ids."""
        return self.cut is None or self.cut.is_first

    @property
    def is_last(self) -> bool:
        """Whether this stage gives the head's outputs."""
        return self.cut is None or self.cut.is_last

    def forward(self, tensors: Tensors) -> Tensors:
        """Run this part of the model."""
        arguments = self._arguments(tensors)
        mask_BT = arguments["attention_mask"]
        if not self.is_last:
            hidden_BTD = self.model.base_model(**arguments).last_hidden_state
            return hidden_BTD, mask_BT
        if self.head is not None:
            outputs: Tensors = self.head(self.model(**arguments).last_hidden_state, mask_BT)
            return outputs
        result = self.model(**arguments)
        return tuple(getattr(result, output.name) for output in self.spec.outputs)

    def _arguments(self, tensors: Tensors) -> dict[str, torch.Tensor]:
        if self.is_first:
            return dict(zip(self.input_names, tensors, strict=True))
        hidden_BTD, mask_BT = tensors
        return {"inputs_embeds": hidden_BTD, "attention_mask": mask_BT}

    def library_name(self, name: str) -> str:
        """Return the name that a parameter of this stage has in the whole model's Hugging Face checkpoint.

        ``model.bert.encoder.layer.0.output.dense.weight`` of a stage that begins at block 3 is
        ``bert.encoder.layer.3.output.dense.weight``.
        """
        if name.startswith("head."):
            return HEAD_PREFIX + name.removeprefix("head.")
        name = name.removeprefix("model.")
        if self.cut is None:
            return name
        prefix = self._blocks_prefix()
        if not name.startswith(prefix):
            return name
        number, rest = name.removeprefix(prefix).split(".", 1)
        return f"{prefix}{int(number) + self.cut.first_block}.{rest}"

    def _blocks_prefix(self) -> str:
        base = self.model.base_model_prefix if self.model.base_model is not self.model else ""
        return f"{base}{'.' if base else ''}{architecture_of(self.model.config).blocks}."


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


def plan_cuts(block_count: int, stages: int) -> list[Cut]:
    """Share the blocks out as evenly as they go; an uneven rest goes to the first stages.

    Raises:
        PolyheadError: There are more stages than blocks.

    """
    if stages > block_count:
        raise PolyheadError(f"layout asks for {stages} pipeline stages, but the backbone has {block_count} blocks")
    sizes = [block_count // stages + (index < block_count % stages) for index in range(stages)]
    ends = [sum(sizes[: index + 1]) for index in range(stages)]
    return [
        Cut(end - size, end, block_count, index == 0, index == stages - 1)
        for index, (size, end) in enumerate(zip(sizes, ends, strict=True))
    ]


def cut_stage(whole: Stage, cut: Cut) -> Stage:
    """Cut a whole model down to one stage, in place, and return it."""
    _trim(whole.model, architecture_of(whole.model.config), cut)
    if not cut.is_last:
        whole.head = None
    whole.cut = cut
    return whole


def block_count(model: Any) -> int:
    """Return how many blocks a whole model has."""
    return len(model.base_model.get_submodule(architecture_of(model.config).blocks))


def _trim(model: Any, architecture: Architecture, cut: Cut) -> None:
    """Keep blocks [a, b); pass states through instead of embedding them; drop norm and head where they come later."""
    trunk = model.base_model
    _trim_config(model, cut)
    blocks = trunk.get_submodule(architecture.blocks)
    _replace(trunk, architecture.blocks, nn.ModuleList(list(blocks)[cut.first_block : cut.end_block]))
    if not cut.is_first:
        _replace(trunk, architecture.embeddings, _PassThrough())
        for path in architecture.extra_embeddings:
            if hasattr(trunk, path):
                delattr(trunk, path)
    if not cut.is_last:
        if architecture.final_norm is not None:
            _replace(trunk, architecture.final_norm, nn.Identity())
        if architecture.pooler is not None:
            setattr(trunk, architecture.pooler, None)
        if trunk is not model:
            for name, _ in list(model.named_children()):
                if name != model.base_model_prefix:
                    setattr(model, name, None)


def _trim_config(model: Any, cut: Cut) -> None:
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = cut.end_block - cut.first_block
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[cut.first_block : cut.end_block]
    model.config = config
    model.base_model.config = config


def _replace(root: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, module)
