"""The border to DeepSpeed: one optimizer step, one forward pass, the same for every layout.

Above this file nobody knows how a run is spread; below it nobody knows a task. The loss of a micro-batch enters as
its sum divided by the targets of the whole global batch, so that no split changes it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from polyhead.backbone.data.batching import Batch, labelled_places
from polyhead.backbone.model.cutting import cut_stage, holders_of_shared
from polyhead.backbone.model.parts import Cut
from polyhead.backbone.model.stages import Stage, Tensors, at_places
from polyhead.backbone.parallel.deepspeed_config import sized_for
from polyhead.backbone.parallel.processes import World
from polyhead.backbone.parallel.tensor_shares import is_divided, refuse_undivided
from polyhead.configs.layouts import Layout
from polyhead.registry import RunError

LossOf = Callable[[Tensors, Tensors], torch.Tensor]
"""(outputs, labels) -> the sum of the losses, not divided by anything."""
Finish = Callable[[Tensors, Tensors], Any]
"""(outputs in float32, labels) -> what is kept of a batch; called where they lie, right after the model has run."""


@dataclass(frozen=True)
class StepOutcome:
    """What one optimizer step did."""

    loss: float
    """Mean over the targets of the global batch, the same on every rank."""
    gradient_norm: float | None
    """Before clipping; None where DeepSpeed does not compute it."""


@dataclass(frozen=True)
class Spread:
    """Say where in the layout this rank stands."""

    data_rank: int
    data_size: int
    stage: int
    stages: int
    share: int = 0
    """Which share of each matrix this rank holds under tensor parallelism."""
    shares: int = 1

    @property
    def copies(self) -> int:
        """Return how many ranks are given the same batches."""
        return self.stages * self.shares

    @property
    def writes(self) -> bool:
        """Whether this rank writes what its stage holds: one of those that hold the same."""
        return self.data_rank == 0 and self.share == 0


class Engine(Protocol):
    """What the training loop drives."""

    stage: Stage
    spread: Spread

    @property
    def optimizer(self) -> Any:
        """Return DeepSpeed's optimizer, or torch's own where nothing is sharded."""
        ...

    def step(self, micro_batches: Sequence[Batch], target_count: float, learning_rate: float) -> StepOutcome:
        """Train on this rank's micro-batches of one global batch that has ``target_count`` targets in all."""
        ...

    def forward(self, batches: Sequence[Batch], finish: Finish) -> list[Any] | None:
        """Return what ``finish`` makes of the outputs and labels of each batch; None on ranks without the head."""
        ...


def spread_of(layout: Layout, world: World) -> Spread:
    """Return this rank's place: as in DeepSpeed, stages are apart by the data-parallel size, shares are neighbours.

    Raises:
        RunError: The number of processes does not fit the layout.

    """
    stages, shares, fewest = layout.pipeline_stages, layout.tensor_parallel, layout.fewest_processes
    if world.size > 1 and not layout.distributed:
        raise RunError(
            f"layout '{layout.name}' is one process, but this run has {world.size}: say layout=zero1, zero2 or zero3 "
            "(or zero0 for plain data parallel)"
        )
    if world.size % fewest:
        raise RunError(
            f"layout '{layout.name}' needs a multiple of {fewest} processes, but this run has {world.size}: "
            f"add --processes {fewest}"
        )
    data_size = world.size // fewest
    if shares > 1:
        return Spread(world.rank // shares, data_size, 0, 1, world.rank % shares, shares)
    return Spread(world.rank % data_size, data_size, world.rank // data_size, stages)


def start_engine(
    whole: Stage,
    layout: Layout,
    world: World,
    loss_of: LossOf,
    ds_config: dict[str, Any],
    make_optimizer: Any,
    *,
    cuts: Sequence[Cut] = (),
    loss_by_token: bool = False,
) -> Engine:
    """Cut the model as the layout says and hand it to DeepSpeed.

    Args:
        whole: The whole model, the same weights on every rank; under a pipeline the blocks of this stage suffice.
        layout: How the run is spread.
        world: This process and its peers.
        loss_of: The task's loss as a sum.
        ds_config: What `deepspeed_config` gave.
        make_optimizer: Called with the stage that this rank holds; gives a torch optimizer.
        cuts: Where a pipeline cuts the model.
        loss_by_token: As `Task.loss_by_token`.

    Raises:
        RunError: The number of processes does not fit the layout.

    """
    spread = spread_of(layout, world)
    if spread.shares > 1:
        refuse_undivided(whole.model.config, layout.name, spread.shares)
    if spread.stages == 1:
        return DataParallelEngine(whole, spread, loss_of, ds_config, make_optimizer, loss_by_token=loss_by_token)
    return PipelineEngine(whole, spread, loss_of, ds_config, make_optimizer, cuts=cuts)


class DataParallelEngine:
    """Every rank holds (its share of) the whole model: plain, or ZeRO 1 to 3."""

    def __init__(
        self,
        whole: Stage,
        spread: Spread,
        loss_of: LossOf,
        ds_config: dict[str, Any],
        make_optimizer: Any,
        *,
        loss_by_token: bool,
    ) -> None:
        import deepspeed

        self.stage, self.spread, self._loss_of, self._loss_by_token = whole, spread, loss_of, loss_by_token
        with stdout_to_stderr():
            self._deepspeed, *_ = deepspeed.initialize(
                model=whole, optimizer=make_optimizer(whole), config=sized_for(ds_config, _size(whole))
            )
        if spread.shares > 1:  # its check that all have the same batch takes no tuples; they have, by design
            self._deepspeed.first_dataloader_check.remove()

    @property
    def optimizer(self) -> Any:
        """Return DeepSpeed's optimizer, or torch's own where nothing is sharded."""
        return self._deepspeed.optimizer

    def step(self, micro_batches: Sequence[Batch], target_count: float, learning_rate: float) -> StepOutcome:
        """Run forward and backward over the micro-batches, then the optimizer."""
        engine = self._deepspeed
        engine.train()
        total = torch.zeros((), device=engine.device)
        for number, batch in enumerate(micro_batches, 1):
            engine.set_gradient_accumulation_boundary(number == len(micro_batches))
            summed = self._summed_loss(batch) * batch.weight
            engine.backward(summed * (self.spread.data_size / target_count))  # DeepSpeed averages over ranks
            total += summed.detach()
        _set_learning_rate(engine.optimizer, learning_rate)
        norm = _plain_gradient_norm(engine)  # clipping changes it, so before the step
        engine.step()
        if self.spread.data_size > 1:
            torch.distributed.all_reduce(total)  # of each data rank as often as a matrix has shares
            total /= self.spread.shares
        norm = _as_number(engine.get_global_grad_norm()) if norm is None else norm
        return StepOutcome(float(total) / target_count, norm)

    def _summed_loss(self, batch: Batch) -> torch.Tensor:
        """Run the model on a batch, and return the sum of its losses."""
        moved = batch.to(self._deepspeed.device)
        if not self._loss_by_token:
            return self._loss_of(as_float32(self._deepspeed(moved.inputs)), moved.labels)
        (labels_BT,) = batch.labels
        places_N = labelled_places(labels_BT)  # on the CPU: no GPU has to be waited for
        places_N = places_N.to(self._deepspeed.device, non_blocking=True)
        with self.stage.writing_at(places_N):
            outputs = self._deepspeed(moved.inputs)
        if outputs[0].shape[:2] == labels_BT.shape:
            return self._loss_of(as_float32(outputs), moved.labels)
        return self._loss_of(as_float32(outputs), (at_places(moved.labels[0], places_N),))

    def forward(self, batches: Sequence[Batch], finish: Finish) -> list[Any] | None:
        """Run the model over the batches; every rank must bring the same number of them (ZeRO-3 gathers weights)."""
        engine = self._deepspeed
        engine.eval()
        found = []
        with torch.no_grad():
            for batch in batches:
                moved = batch.to(engine.device)
                found.append(finish(as_float32(engine(moved.inputs)), moved.labels))
        engine.train()
        return found


class PipelineEngine:
    """Every rank holds one stage; micro-batches flow through DeepSpeed's one-forward-one-backward schedule."""

    def __init__(
        self,
        whole: Stage,
        spread: Spread,
        loss_of: LossOf,
        ds_config: dict[str, Any],
        make_optimizer: Any,
        *,
        cuts: Sequence[Cut],
    ) -> None:
        import deepspeed

        holders = holders_of_shared(whole.model, cuts)
        self.stage = cut_stage(whole, cuts[spread.stage])
        self.spread, self._loss_of = spread, loss_of
        self._seen: list[Any] = []
        self._finish: Finish | None = None
        with stdout_to_stderr():
            module = _pipeline_module(self.stage, spread, self._pipeline_loss)
            module.share(_shared_parameters(self.stage, spread, holders))
            self._deepspeed, *_ = deepspeed.initialize(
                model=module, optimizer=make_optimizer(self.stage), config=sized_for(ds_config, _size(self.stage))
            )

    @property
    def optimizer(self) -> Any:
        """Return DeepSpeed's optimizer, or torch's own where nothing is sharded."""
        return self._deepspeed.optimizer

    def step(self, micro_batches: Sequence[Batch], target_count: float, learning_rate: float) -> StepOutcome:
        """Run the schedule over the micro-batches, then the optimizer of every stage."""
        engine, count, data_size = self._deepspeed, len(micro_batches), self.spread.data_size
        engine.set_train_batch_size(count * data_size)  # one sample is one micro-batch: DeepSpeed then divides by count
        _set_learning_rate(engine.optimizer, learning_rate)
        loss = engine.train_batch(self._feed(micro_batches, count * data_size / target_count))
        return StepOutcome(float(loss), _as_number(engine.get_global_grad_norm()))

    def forward(self, batches: Sequence[Batch], finish: Finish) -> list[Any] | None:
        """Run the batches through the pipeline; only the last stage has the outputs."""
        if not batches:
            return [] if self.stage.is_last else None
        self._seen, self._finish = [], finish
        try:
            self._deepspeed.eval_batch(
                self._feed(batches, 0.0), reduce_output=None, bcast_loss=False, num_micro_batches=len(batches)
            )
            return self._seen if self.stage.is_last else None
        finally:
            self._finish = None
            self._deepspeed.total_loss = None
            self._deepspeed.module.train()

    def _feed(self, batches: Sequence[Batch], factor: float) -> Iterator[tuple[Tensors, Tensors]]:
        """Give DeepSpeed (inputs, labels); the factor that scales the summed loss travels as the last label."""
        for batch in batches:
            yield batch.inputs, (*batch.labels, torch.tensor(batch.weight * factor))

    def _pipeline_loss(self, outputs: Tensors, labels: Tensors) -> torch.Tensor:
        """Return the scaled loss; while evaluating, keep what is wanted of the outputs instead."""
        *labels_only, factor = labels
        if self._finish is not None:
            self._seen.append(self._finish(as_float32(outputs), tuple(labels_only)))
            return torch.zeros((), device=outputs[0].device)
        return self._loss_of(as_float32(outputs), tuple(labels_only)) * factor


Shared = list[tuple[torch.nn.Parameter, Any]]
"""Parameters that other stages hold too, each with the process group of those who do."""


def _pipeline_module(stage: Stage, spread: Spread, loss: LossOf) -> Any:
    """Return DeepSpeed's module for one stage, which also adds up the gradients of shared parameters.

    `TiedLayerSpec` would tie whole layers; what stages share here are single parameters inside library models.
    """
    from deepspeed.pipe import LayerSpec, PipelineModule

    class SharingPipelineModule(PipelineModule):  # type: ignore[misc]  # DeepSpeed ships no types
        shared: Shared

        def share(self, shared: Shared) -> None:
            """Say which parameters are to have the sum of their gradients over several stages."""
            self.shared = shared

        def get_tied_weights_and_groups(self) -> Shared:
            """Return what DeepSpeed sums over stages after the last micro-batch, before data-parallel averaging."""
            return self.shared

    return SharingPipelineModule(
        [LayerSpec(_Handed, stage) for _ in range(spread.stages)],
        num_stages=spread.stages,
        loss_fn=loss,
        partition_method="uniform",
        dynamic_shape=True,  # micro-batches differ in length
    )


def _shared_parameters(stage: Stage, spread: Spread, holders: Mapping[str, tuple[int, ...]]) -> Shared:
    """Return this stage's shared parameters with their groups; every rank makes all groups, in one order.

    Gradient norms count a shared parameter once: on the first stage that holds it.
    """
    mine = {stage.library_name(name): parameter for name, parameter in stage.named_parameters()}
    groups: dict[tuple[int, ...], Any] = {}
    for stages in sorted(set(holders.values())):
        for data_rank in range(spread.data_size):
            group = torch.distributed.new_group([number * spread.data_size + data_rank for number in stages])
            if data_rank == spread.data_rank:
                groups[stages] = group
    found: Shared = []
    for name, stages in sorted(holders.items()):
        if spread.stage in stages and mine[name].requires_grad:
            found.append((mine[name], groups[stages]))
            if spread.stage != stages[0]:
                mine[name].ds_pipe_replicated = True  # type: ignore[attr-defined]  # DeepSpeed's own mark
    return found


class _Handed(torch.nn.Module):
    """What a `LayerSpec` builds on the rank that owns it: the stage that already stands there."""

    def __new__(cls, stage: Stage) -> Any:
        """Return the stage itself."""
        return stage


def _size(stage: Stage) -> int:
    """Return how many numbers a stage's parameters hold."""
    return sum(parameter.numel() for parameter in stage.parameters())


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what DeepSpeed prints to the error stream: our standard output is for results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _plain_gradient_norm(engine: Any) -> float | None:
    """Return the norm of all gradients where ZeRO shards nothing: DeepSpeed computes it only for ZeRO."""
    if not isinstance(engine.optimizer, torch.optim.Optimizer):
        return None
    squares = torch.zeros(2, dtype=torch.float64, device=engine.device)  # of what all ranks hold, of shares of a matrix
    for parameter in engine.module.parameters():
        if parameter.grad is not None:
            norm = torch.linalg.vector_norm(parameter.grad, dtype=torch.float64)  # float32 loses digits of large tables
            squares[int(is_divided(parameter))] += norm**2
    if engine.autotp_size() > 1:
        from deepspeed.utils import groups

        torch.distributed.all_reduce(squares[1:], group=groups.get_tensor_model_parallel_group())
    return float(squares.sum().sqrt())


def _set_learning_rate(optimizer: Any, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def as_float32(tensors: Tensors) -> Tensors:
    """Return the tensors, those of other float types as float32."""
    return tuple(tensor.float() if tensor.is_floating_point() else tensor for tensor in tensors)


def _as_number(value: Any) -> float | None:
    return None if value is None else float(value)
