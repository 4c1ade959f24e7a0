"""LoRA: train small matrices beside the linear layers of a frozen trunk, and leave with plain merged weights.

``W + alpha / rank * B A`` (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021), by ``peft``. The
head trains as ever: what ``transformers`` puts on top of the trunk, our own head, a pooler, and the cross-attention of
a pair that was warm-started from an encoder, none of which a checkpoint has learned.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from polyhead.backbone.model.stages import Stage
from polyhead.configs.schema import LoraSettings
from polyhead.registry import RunError, available, did_you_mean

ADAPTER = "default"
"""The name that ``peft`` gives the one adapter there is."""
_DOWN, _UP = f".lora_A.{ADAPTER}.weight", f".lora_B.{ADAPTER}.weight"
_ATTENTION = re.compile("attn|attention", re.IGNORECASE)
_CROSS_ATTENTION = "crossattention"
_HEADS_BESIDE_BLOCKS = ("qa_outputs", "enc_to_dec_proj")
"""Heads of models that hold their blocks themselves, in no trunk of its own (T5's for questions, a pair)."""


def add_lora(model: Any, settings: LoraSettings, *, train_embeddings: bool = False) -> None:
    """Freeze the trunk of a ``transformers`` model and put LoRA beside its linear layers, in place.

    What is drawn for a layer depends on torch's seed and the layer's name only, so that a process that holds some of
    the blocks draws for them what one that holds all would. ``train_embeddings``: the input embeddings train too, all
    of them, as they must where tokens are new.

    Raises:
        RunError: ``settings.targets`` names a layer that the model has not.

    """
    from peft import LoraConfig, inject_adapter_in_model  # heavy: only who uses LoRA pays for it

    targets = _targets(model, settings.targets)
    trained = [parameter for parameter in _head_parameters(model) if parameter.requires_grad]
    if train_embeddings:
        trained += _embeddings(model)
    is_conv = not isinstance(model.get_submodule(targets[0]), nn.Linear)  # GPT-2 keeps its matrices transposed
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="|".join(map(re.escape, targets)),
        fan_in_fan_out=is_conv,
    )
    inject_adapter_in_model(config, model, ADAPTER)
    _draw_by_name(model)
    for parameter in trained:
        parameter.requires_grad = True


def _draw_by_name(model: nn.Module) -> None:
    from peft.tuners.lora import LoraLayer

    seed = torch.initial_seed()
    with torch.random.fork_rng(devices=[]):
        for name, layer in model.named_modules():
            if isinstance(layer, LoraLayer):
                torch.manual_seed((seed << 32 | zlib.crc32(name.encode())) % 2**63)
                layer.reset_lora_parameters(ADAPTER, init_lora_weights=True)


def merged_weights(stage: Stage, weights: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a stage's weights by Hugging Face name with LoRA added to the matrices that it stands beside.

    Weights come and go one at a time: a matrix waits only for the two small ones beside it, which come right behind.
    """
    layers = {
        stage.library_name(f"{name}.weight"): layer for name, layer in stage.named_modules() if hasattr(layer, "lora_A")
    }
    waiting: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in weights:
        role = next((part for part in (_DOWN, _UP) if name.endswith(part)), ".weight")
        matrix = f"{name.removesuffix(role)}.weight"
        if matrix not in layers:
            yield name, tensor
            continue
        found = waiting.setdefault(matrix, {})
        found[role] = tensor
        if len(found) == len((_DOWN, _UP, ".weight")):
            del waiting[matrix]
            layer = layers[matrix]
            change = layer.scaling[ADAPTER] * (found[_UP] @ found[_DOWN])
            yield matrix, found[".weight"] + (change.T if layer.fan_in_fan_out else change)
    assert not waiting, f"no adapter came for {sorted(waiting)}"


def _targets(model: Any, wanted: Sequence[str]) -> list[str]:
    """Return the paths of the linear layers that get LoRA."""
    linear = list(_linear_layers(model))
    chosen: set[str] = set()
    for name in wanted:
        found = [path for path in linear if _is_meant(path, name)]
        if not found:
            names = ["attention", "all-linear", *sorted({path.rpartition(".")[2] for path in linear})]
            raise RunError(
                f"backbone.lora.targets: no linear layer of this backbone is called '{name}'."
                f"{did_you_mean(name, names)} {available(names)}"
            )
        chosen.update(found)
    return sorted(chosen)


def _is_meant(path: str, name: str) -> bool:
    if name == "attention":
        return any(map(_ATTENTION.search, path.split(".")))
    return name == "all-linear" or f".{path}".endswith(f".{name}")


def _linear_layers(model: Any) -> Iterator[str]:
    """Yield the paths of the linear layers inside the blocks of the trunk: a path with a number in it."""
    from transformers.pytorch_utils import Conv1D

    trained = {id(parameter) for parameter in _head_parameters(model)}
    for path, module in model.named_modules():
        in_block = any(part.isdigit() for part in path.split("."))
        if in_block and isinstance(module, nn.Linear | Conv1D) and id(module.weight) not in trained:
            yield path


def _embeddings(model: Any) -> list[nn.Parameter]:
    """Return the tables of input and output embeddings; a pair has those of both halves."""
    if model.config.model_type == "encoder-decoder":
        return [table for half in (model.encoder, model.decoder) if half is not None for table in _embeddings(half)]
    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    return [module.weight for module in modules if module is not None]


def _head_parameters(model: Any) -> Iterator[nn.Parameter]:
    """Yield the parameters that no checkpoint of a bare trunk has; not a language model's output embeddings."""
    trunk = model.base_model
    if trunk is not model:
        inside = {id(parameter) for parameter in trunk.parameters()}
        output = model.get_output_embeddings()
        if output is not None:
            inside.add(id(output.weight))
        yield from (parameter for parameter in model.parameters() if id(parameter) not in inside)
    for module in (getattr(trunk, "pooler", None), *(getattr(model, name, None) for name in _HEADS_BESIDE_BLOCKS)):
        if module is not None:
            yield from module.parameters()
    if model.config.model_type == "encoder-decoder" and model.decoder is not None:
        yield from _head_parameters(model.decoder)
        yield from (value for name, value in model.decoder.named_parameters() if _CROSS_ATTENTION in name)
