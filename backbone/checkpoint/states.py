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


def read_weights(engine: Engine) -> State:
    """Return this stage's weights in float32 (the master copies under bf16 and fp16), buffers included, on the CPU."""
    from deepspeed.utils import safe_get_full_fp32_param

    found: State = {}
    for name, parameter in engine.stage.named_parameters():
        full = safe_get_full_fp32_param(parameter)
        found[engine.stage.library_name(name)] = _copy(parameter if full is None else full)
    for name, buffer in _persistent_buffers(engine.stage):
        found[engine.stage.library_name(name)] = buffer.detach().cpu().clone()
    return found


def read_optimizer(engine: Engine) -> State:
    """Return this stage's optimizer state: ``exp_avg/NAME`` and ``exp_avg_sq/NAME``."""
    from deepspeed.utils import safe_get_full_optimizer_state

    _link_state(engine.optimizer)
    found: State = {}
    for name, parameter in engine.stage.named_parameters():
        plain = getattr(engine.optimizer, "state", {}).get(parameter, {})
        for moment in MOMENTS:
            value = plain[moment] if moment in plain else safe_get_full_optimizer_state(parameter, moment)
            found[f"{moment}/{engine.stage.library_name(name)}"] = _copy(value)
    return found


def write_weights_before_start(stage: Stage, weights: Mapping[str, torch.Tensor]) -> None:
    """Put saved weights into a stage that no engine holds yet."""
    with torch.no_grad():
        for name, tensor in [*stage.named_parameters(), *_persistent_buffers(stage)]:
            tensor.copy_(weights[stage.library_name(name)])


def write_state(engine: Engine, weights: Mapping[str, torch.Tensor], moments: State, step: int) -> None:
    """Give a started engine its exact master weights and optimizer state.

    The weights must have been written before the start too (`write_weights_before_start`): setting the master copies
    alone leaves the module's own copy one step behind.
    """
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    optimizer, stage = engine.optimizer, engine.stage
    if isinstance(optimizer, torch.optim.Optimizer):
        for name, parameter in stage.named_parameters():
            saved = {moment: moments[f"{moment}/{stage.library_name(name)}"] for moment in MOMENTS}
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                **{moment: value.to(parameter.device) for moment, value in saved.items()},
            }
        return
    _create_empty_state(optimizer, step)
    for name, parameter in stage.named_parameters():
        safe_set_full_fp32_param(parameter, weights[stage.library_name(name)].to(parameter.device))
        for moment in MOMENTS:
            value = moments[f"{moment}/{stage.library_name(name)}"].to(parameter.device)
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


def _persistent_buffers(stage: Stage) -> Iterator[tuple[str, torch.Tensor]]:
    kept = stage.state_dict().keys()
    return ((name, buffer) for name, buffer in stage.named_buffers() if name in kept)


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
