# ruff: noqa: SLF001 - DeepSpeed offers no public road to the state of ZeRO 1 and 2
"""Weights and optimizer state of a running engine by Hugging Face name, whatever the layout; in and out.

Every rank of a stage calls these together: ZeRO gathers what it has sharded, one tensor at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch

from polyhead.backbone.checkpoint.shards import Named
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.parallel.engine import Engine
from polyhead.backbone.parallel.processes import World
from polyhead.backbone.parallel.tensor_shares import own_share, whole_tensor
from polyhead.registry import RunError

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW keeps for each parameter, each of the parameter's shape."""

State = dict[str, torch.Tensor]


def held_before(engine: Engine, world: World) -> frozenset[str]:
    """Return the parameters of this stage that an earlier one has too, and writes; every rank of the run calls it."""
    own = engine.stage.shared_names()
    everyone = world.gather((engine.spread.stage, own))
    return frozenset(name for stage, names in everyone if stage < engine.spread.stage for name in names & own)


def each_weight(engine: Engine, *, trainable_only: bool = False, without: Collection[str] = ()) -> Iterator[Named]:
    """Yield this stage's weights in float32 (the master copies under bf16 and fp16), then buffers, on the CPU.

    ``trainable_only`` leaves out what is frozen: it is as the backbone has it. ``without`` names what else to leave.
    """
    for name, parameter in engine.stage.named_parameters():
        known = _name(engine.stage, name)
        if (parameter.requires_grad or not trainable_only) and known not in without:
            yield known, _whole(parameter)
    for name, buffer in _persistent_buffers(engine.stage):
        yield _name(engine.stage, name), buffer.detach().cpu().clone()


def each_moment(engine: Engine, *, without: Collection[str] = ()) -> Iterator[Named]:
    """Yield this stage's optimizer state: ``exp_avg/NAME`` and ``exp_avg_sq/NAME`` of each parameter that trains.

    Plain gradient descent has none. ``without`` names parameters to leave out.
    """
    from deepspeed.utils import safe_get_full_optimizer_state

    moments = _moments_of(engine.optimizer)
    if not moments:
        return
    _link_state(engine.optimizer)
    for name, parameter in _trainable(engine.stage):
        known = _name(engine.stage, name)
        plain = getattr(engine.optimizer, "state", {}).get(parameter, {})
        for moment in moments if known not in without else ():
            value = plain[moment] if moment in plain else safe_get_full_optimizer_state(parameter, moment)
            yield f"{moment}/{known}", _copy(whole_tensor(parameter, value))


def write_weights_before_start(stage: Stage, weights: Mapping[str, torch.Tensor]) -> None:
    """Put saved weights into a stage that no engine holds yet; what is frozen stays.

    Raises:
        RunError: The weights are those of another model.

    """
    with torch.no_grad():
        for name, tensor in [*_trainable(stage), *_persistent_buffers(stage)]:
            known = _name(stage, name)
            saved = weights[known]
            if saved.shape != tensor.shape:
                shapes = f"{tuple(saved.shape)} there, {tuple(tensor.shape)} here"
                raise RunError(f"the checkpoint is of another model: '{known}' has shape {shapes}")
            tensor.copy_(saved)


def weights_of(stage: Stage) -> Iterator[Named]:
    """Yield the weights of a stage that no engine holds, then its buffers."""
    for name, tensor in [*stage.named_parameters(), *_persistent_buffers(stage)]:
        yield _name(stage, name), tensor.detach()


def write_state(
    engine: Engine, weights: Mapping[str, torch.Tensor], moments: Mapping[str, torch.Tensor], step: int
) -> None:
    """Give a started engine its exact master weights and optimizer state.

    The weights must have been written before the start too (`write_weights_before_start`): setting the master copies
    alone leaves the module's own copy one step behind.
    """
    optimizer, stage = engine.optimizer, engine.stage
    names = _moments_of(optimizer)
    if isinstance(optimizer, torch.optim.Optimizer):
        _fill_plain(optimizer, stage, moments, step)
        return
    if names:
        _create_empty_state(optimizer, step)
    for name, parameter in _trainable(stage):
        _put(parameter, weights[_name(stage, name)])
        for moment in names:
            _put(parameter, moments[f"{moment}/{_name(stage, name)}"], moment)


def _put(parameter: Any, value: torch.Tensor, moment: str | None = None) -> None:
    """Give a parameter its master copy, or one of its moments, where ZeRO keeps it."""
    from deepspeed import utils

    value = own_share(parameter, value).to(parameter.device)
    if hasattr(parameter, "ds_id"):
        part = own_part(value, parameter.partition_numel(), torch.distributed.get_rank(parameter.ds_process_group))
        if moment is None:
            utils.safe_set_local_fp32_param(parameter, part)
        else:
            utils.safe_set_local_optimizer_state(parameter, part, moment)
    elif moment is None:
        utils.safe_set_full_fp32_param(parameter, value)
    else:
        utils.safe_set_full_optimizer_state(parameter, value, moment)


def own_part(value: torch.Tensor, size: int, rank: int) -> torch.Tensor:
    """Return what ZeRO-3 keeps of a tensor on one rank; the last parts are filled up with zeros.

    DeepSpeed's own function for this fails where a tensor does not divide evenly.
    """
    part = value.new_zeros(size)
    own = value.flatten()[rank * size : (rank + 1) * size]
    part[: own.numel()] = own
    return part


def _fill_plain(optimizer: torch.optim.Optimizer, stage: Stage, moments: Mapping[str, torch.Tensor], step: int) -> None:
    """Give torch's own optimizer its state."""
    names = _moments_of(optimizer)
    if not names:
        return
    for name, parameter in _trainable(stage):
        saved = {moment: moments[f"{moment}/{_name(stage, name)}"] for moment in names}
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step), device=parameter.device),  # where torch's fused AdamW wants it
            **{moment: own_share(parameter, value).to(parameter.device, copy=True) for moment, value in saved.items()},
        }


def _moments_of(optimizer: Any) -> tuple[str, ...]:
    """Return what the optimizer keeps for each parameter: nothing in plain gradient descent."""
    inner = getattr(optimizer, "optimizer", optimizer)
    return () if isinstance(inner, torch.optim.SGD) else MOMENTS


def _create_empty_state(optimizer: Any, step: int) -> None:
    """Make the optimizer state that AdamW would only make at its first step, so that it can be filled."""
    inner = optimizer.optimizer
    partitions = [parameter for group in inner.param_groups for parameter in group["params"]]
    partitions += list(getattr(optimizer, "fp32_partitioned_groups_flat", []))  # ZeRO-3 swaps these in for a step
    for partition in partitions:
        inner.state[partition] = {
            "step": torch.tensor(float(step), device=partition.device),
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
        return _copy(whole_tensor(parameter, full))
    if hasattr(parameter, "ds_id"):  # frozen under ZeRO-3: no optimizer knows it
        with deepspeed.zero.GatheredParameters([parameter]):
            return _copy(parameter)
    return _copy(whole_tensor(parameter, parameter))


def _persistent_buffers(stage: Stage) -> Iterator[tuple[str, torch.Tensor]]:
    kept = stage.state_dict().keys()
    return ((name, buffer) for name, buffer in stage.named_buffers() if name in kept)


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
