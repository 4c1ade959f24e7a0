"""Give a model class the weights of a backbone: read from its checkpoint, whole or some blocks, or drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from polyhead.backbone.model.finding import PAIR_TYPE, Backbone
from polyhead.backbone.model.parts import Cut, parts_of

Choose = Callable[[Any], Cut]
"""(a whole model, its weights perhaps on the meta device) -> the blocks that this process is to hold."""


def read_or_draw(
    model_class: Any, backbone: Backbone, config: Any, options: dict[str, Any], choose: Choose | None = None
) -> Any:
    """Return a model of a class of ``transformers``, an Auto class or a model's own.

    Args:
        model_class: The class.
        backbone: Says where the weights are, or that they are random; these are drawn from torch's current seed.
        config: The model's config.
        options: How ``from_pretrained`` is to read a checkpoint.
        choose: Says which blocks are read; the places of the others are kept, empty. None reads all. Random weights
            and pairs are whole always.

    """
    if backbone.is_fresh:
        config.dtype = options["dtype"]
        make = getattr(model_class, "from_config", model_class)  # an Auto class has it; any other is made by itself
        return make(config)
    if choose is None or config.model_type == PAIR_TYPE:
        return model_class.from_pretrained(backbone.path, config=config, **options)
    return _read_blocks(_class_of(model_class, config), backbone, config, options, choose)


def _class_of(model_class: Any, config: Any) -> Any:
    """Return the class that an Auto class makes of a config."""
    mapping = getattr(model_class, "_model_mapping", None)
    found = model_class if mapping is None else mapping[type(config)]
    return found[0] if isinstance(found, tuple) else found


def _read_blocks(model_class: Any, backbone: Backbone, config: Any, options: dict[str, Any], choose: Choose) -> Any:
    """Read a checkpoint into a model that has lost the blocks that nobody here wants, before any weight was read.

    ``transformers`` makes the model on the meta device and reads the tensors that the model then has, with all that it
    does on reading: prefixes, renamed and fused weights, ties. What the model has no place for stays on disk.
    """

    class Sliced(model_class):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            empty_blocks(self, choose(self))

    Sliced.__name__, Sliced.__module__ = model_class.__name__, model_class.__module__  # both count for transformers
    model = Sliced.from_pretrained(backbone.path, config=config, **options)
    model.__class__ = model_class
    return model


def empty_blocks(model: Any, cut: Cut) -> None:
    """Empty the places of the blocks that a stage does not keep.

    A first block that holds the relative positions of all blocks (T5) stays: every stage takes its table.
    """
    for part in parts_of(model):
        first, end = part.slice_of(cut)
        blocks = model.get_submodule(part.blocks_prefix.removesuffix("."))
        for index in range(len(blocks)):
            holds_positions = index == 0 and part.stack.position_bias is not None
            if not first <= index < end and not holds_positions:
                blocks[index] = nn.Module()
