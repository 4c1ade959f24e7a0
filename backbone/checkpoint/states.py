# ruff: noqa: SLF001 - DeepSpeed offers no public road to the state of ZeRO 1 and 2
"""Weights and optimizer state of a running engine by Hugging Face name, whatever the layout; in and out.

Every rank of a stage calls these together: ZeRO gathers what it has sharded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from polyhead.backbone.model.stages import Stage
from polyhead.backbone.parallel.engine import Engine

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW keeps for each parameter, each of the parameter's shape."""

State = dict[str, torch.Tensor]


def read_weights(engine: Engine, *, trainable_only: bool = False) -> State:
    """Return this stage's weights in float32 (the master copies under bf16 and fp16), buffers included, on the CPU.

    ``trainable_only`` leaves out what is frozen: it is as the backbone has it.
    """
    found: State = {}
    for name, parameter in engine.stage.named_parameters():
        if parameter.requires_grad or not trainable_only:
            found[_name(engine.stage, name)] = _whole(parameter)
    for name, buffer in _persistent_buffers(engine.stage):
        found[_name(engine.stage, name)] = buffer.detach().cpu().clone()
    return found


def read_optimizer(engine: Engine) -> State:
    """Return this stage's optimizer state: ``exp_avg/NAME`` and ``exp_avg_sq/NAME`` of each parameter that trains."""
    from deepspeed.utils import safe_get_full_optimizer_state

    _link_state(engine.optimizer)
    found: State = {}
    for name, parameter in _trainable(engine.stage):
        plain = getattr(engine.optimizer, "state", {}).get(parameter, {})
        for moment in MOMENTS:
            value = plain[moment] if moment in plain else safe_get_full_optimizer_state(parameter, moment)
            found[f"{moment}/{_name(engine.stage, name)}"] = _copy(value)
    return found


def write_weights_before_start(stage: Stage, weights: Mapping[str, torch.Tensor]) -> None:
    """Put saved weights into a stage that no engine holds yet; what is frozen stays."""
    with torch.no_grad():
        for name, tensor in [*_trainable(stage), *_persistent_buffers(stage)]:
            tensor.copy_(weights[_name(stage, name)])


def write_state(engine: Engine, weights: Mapping[str, torch.Tensor], moments: State, step: int) -> None:
    """Give a started engine its exact master weights and optimizer state.

    The weights must have been written before the start too (`write_weights_before_start`): setting the master copies
    alone leaves the module's own copy one step behind.
    """
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    optimizer, stage = engine.optimizer, engine.stage
    if isinstance(optimizer, torch.optim.Optimizer):
        for name, parameter in _trainable(stage):
            saved = {moment: moments[f"{moment}/{_name(stage, name)}"] for moment in MOMENTS}
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                **{moment: value.to(parameter.device) for moment, value in saved.items()},
            }
        return
    _create_empty_state(optimizer, step)
    for name, parameter in _trainable(stage):
        safe_set_full_fp32_param(parameter, weights[_name(stage, name)].to(parameter.device))
        for moment in MOMENTS:
            value = moments[f"{moment}/{_name(stage, name)}"].to(parameter.device)
            safe_set_full_optimizer_state(parameter, value, moment)


def _create_empty_state(optimizer: Any, step: int) -> None:
    """Make the optimizer state that AdamW would only make at its first step, so that it can be filled."""
    inner = optimizer.optimizer
    partitions = [parameter for group in inner.param_groups for parameter in group["params"]]
    partitions += list(getattr(optimizer, "fp32_partitioned_groups_flat", []))  # ZeRO-3 swaps these in for a step
    for partition in partitions:
        inner.state[partition] = {
            "step": torch.tensor(float(step)),
            **{moment: torch.zeros_like(partition) for moment in MOMENTS},
        }
    _link_state(optimizer)


def _link_state(optimizer: Any) -> None:
    """Tell each parameter of ZeRO 1 and 2 where its optimizer state lies.

    DeepSpeed does this itself after the step of the first parameter group, when the state of the other groups does not
    exist yet, and then never again.
    """
    if hasattr(optimizer, "_lazy_init_hp_params_optimizer_state"):
        optimizer._hp_optimizer_states_linked = False
        optimizer._lazy_init_hp_params_optimizer_state()


def _name(stage: Stage, name: str) -> str:
    """Return the Hugging Face name of a parameter; LoRA wraps the layers that it stands beside."""
    return stage.library_name(name.replace(".base_layer.", "."))


def _trainable(stage: Stage) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, parameter) for name, parameter in stage.named_parameters() if parameter.requires_grad)


def _whole(parameter: torch.nn.Parameter) -> torch.Tensor:
    """Return a copy of a parameter: of its master copy where the optimizer has one, gathered where ZeRO-3 shards it."""
    import deepspeed
    from deepspeed.utils import safe_get_full_fp32_param

    full = safe_get_full_fp32_param(parameter)
    if full is not None:
        return _copy(full)
    if hasattr(parameter, "ds_id"):  # frozen under ZeRO-3: no optimizer knows it
        with deepspeed.zero.GatheredParameters([parameter]):
            return _copy(parameter)
    return _copy(parameter)


def _persistent_buffers(stage: Stage) -> Iterator[tuple[str, torch.Tensor]]:
    kept = stage.state_dict().keys()
    return ((name, buffer) for name, buffer in stage.named_buffers() if name in kept)


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
