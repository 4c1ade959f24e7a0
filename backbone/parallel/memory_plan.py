"""What each layout would take in memory; loads no weights.

A rank's peak is the largest of the moments of a step: the backward pass of a micro-batch (gradients of those before it
are there), the reduction of gradients, and the optimizer's step. What DeepSpeed holds at each of them was read in its
code (0.19.8) and compared with measurements (`polyhead plan --measure`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from polyhead.backbone.parallel.deepspeed_config import deepspeed_config, sized_for, zero_stage
from polyhead.backbone.parallel.memory_counting import WIDE
from polyhead.backbone.parallel.memory_sketch import Sketch, StageSizes, Workload
from polyhead.configs.layouts import Layout
from polyhead.configs.schema import RunConfig

ALLREDUCE_ELEMENTS = 500_000_000
"""What DeepSpeed flattens at once to average gradients under ZeRO 0; no setting changes it."""
DEFRAGMENTED = 0.5
"""Share of what comes and goes that stays behind as holes in the C library's heap: a rule of thumb, it varies much."""
MOMENTS = {"adamw": 2, "sgd": 0}


@dataclass(frozen=True)
class Memory:
    """A rank's memory at one moment, by what it is for, in bytes."""

    weights: int
    """Of the blocks, master copies not counted."""
    embeddings: int
    """Weights of the embeddings."""
    head: int
    """Weights of the head, and what logits and loss keep for the backward pass."""
    gradients: int
    optimizer: int
    """Moments, and the float32 copies of the weights that it works on."""
    activations: int
    """Of blocks and embeddings, with what comes and goes meanwhile."""
    communication: int
    """Buckets, and parameters that are gathered from other ranks."""
    framework: int = 0
    """Libraries, and on a CPU the holes in the heap."""

    @property
    def tensors(self) -> int:
        """Return all but the framework: what torch itself would count."""
        return self.total - self.framework

    @property
    def total(self) -> int:
        """Return the sum."""
        return sum(asdict(self).values())


@dataclass(frozen=True)
class LayoutPlan:
    """What a layout takes."""

    layout: str
    processes: int
    ranks: tuple[Memory, ...]
    """The peak of one rank of each pipeline stage; without a pipeline there is one."""
    micro_batches: int
    """Of each rank in one step."""
    rows: int
    tokens: int
    collective_bytes: int
    """What a rank sends in one step, about."""
    idle: float
    """Share of the time that a pipeline's stages wait."""
    host: int = 0
    """Bytes that offloading moves to the host's memory, a rank."""

    @property
    def peak(self) -> Memory:
        """Return the memory of the rank that has most."""
        return max(self.ranks, key=lambda each: each.total)

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        ranks = [{**asdict(each), "tensors": each.tensors, "total": each.total} for each in self.ranks]
        return {**asdict(self), "ranks": ranks, "peak": self.peak.total}


class Planner:
    """Predicts memory for the layouts of one run."""

    def __init__(self, config: RunConfig, sketch: Sketch, *, libraries: int, on_gpu: bool) -> None:
        """Take what layouts have in common.

        Args:
            config: The run's settings; its layout does not matter.
            sketch: The run's model without weights.
            libraries: Bytes that a process takes that has loaded everything and holds no model.
            on_gpu: Whether tensors lie on a GPU; on a CPU the C library's heap has holes.

        """
        self.config, self.sketch, self._libraries, self.on_gpu = config, sketch, libraries, on_gpu

    def plan(self, layout: Layout, processes: int, *, checkpointing: bool | None = None) -> LayoutPlan:
        """Return what a layout takes in so many processes; ``checkpointing`` replaces the run's setting."""
        config = self.config.model_copy(update={"layout": layout.name})
        if checkpointing is None:
            checkpointing = config.training.activation_checkpointing
        stages, data_size = layout.pipeline_stages, processes // layout.fewest_processes
        section = deepspeed_config(config)["zero_optimization"]
        sizes = self.sketch.sizes(
            stages,
            data_size,
            checkpointing=checkpointing,
            persistent=section.get("stage3_param_persistence_threshold", 0),
        )
        work = self.sketch.workload(data_size)
        ranks = tuple(
            self._peak(_Rank(config, layout, each, work, data_size, in_flight=min(work.micro_batches, stages - index)))
            for index, each in enumerate(sizes)
        )
        return LayoutPlan(
            layout.name,
            processes,
            ranks,
            work.micro_batches,
            work.rows,
            work.tokens,
            _collective_bytes(config, sizes, work, data_size, stages),
            (stages - 1) / (work.micro_batches + stages - 1),
            max(_Rank(config, layout, each, work, data_size, in_flight=1).host for each in sizes),
        )

    def _peak(self, rank: _Rank) -> Memory:
        largest = max(rank.moments(), key=lambda each: each.total)
        comes_and_goes = largest.gradients + largest.activations + largest.communication
        holes = 0 if self.on_gpu else int(DEFRAGMENTED * comes_and_goes)
        return Memory(**{**asdict(largest), "framework": self._libraries + holes})


class _Rank:
    """One rank of a layout, at the moments of a step."""

    def __init__(
        self, config: RunConfig, layout: Layout, sizes: StageSizes, work: Workload, data_size: int, *, in_flight: int
    ) -> None:
        parameters = sizes.parameters
        self.stage = zero_stage(config)
        self.sizes, self.work, self.data_size, self.in_flight = sizes, work, data_size, in_flight
        self.is_pipeline = layout.pipeline_stages > 1
        self.offloads = layout.offload != "none"
        self.is_half = config.training.precision != "fp32"
        self.width = 2 if self.is_half else WIDE
        self.trained = parameters.trained
        self.frozen = parameters.all - parameters.trained
        self.share = -(-self.trained // data_size)
        self.moment_count = MOMENTS[config.training.optimizer]
        section = sized_for(deepspeed_config(config), parameters.all)["zero_optimization"]
        self.bucket = min(section.get("reduce_bucket_size", 0), 10**12)
        self.live = section.get("stage3_max_live_parameters", 0)

    @property
    def state(self) -> int:
        """Return the bytes of moments and master copies."""
        if self.stage == 0:
            return WIDE * self.trained * self.moment_count
        copies = 0 if self.stage == 3 and not self.is_half else 1  # ZeRO 3 in float32 works on the weights themselves
        return WIDE * self.share * (self.moment_count + copies)

    @property
    def host(self) -> int:
        """Return the bytes that offloading moves away: optimizer state, its gradients, and ZeRO 3's weights."""
        if not self.offloads:
            return 0
        weights = self.width * self.share if self.stage == 3 else 0
        return self.state + WIDE * self.share + weights

    def moments(self) -> list[Memory]:
        """Return what the rank holds in the moments that can be the largest."""
        if self.is_pipeline:
            backward = [self._backward(self._gradients_full(), 0)]
        else:
            by_stage = {0: self._backward_plain, 1: self._backward_one, 2: self._backward_two}
            backward = by_stage.get(self.stage, self._backward_three)()
        reduces_whole = self.is_pipeline or self.stage == 0
        return [*backward, *([self._reduction()] if reduces_whole else []), self._norm(), self._step()]

    # ── backward, by ZeRO stage ──

    def _gradients_full(self) -> int:
        """Return the bytes of whole gradients; in 16 bits with the float32 sum over micro-batches beside them."""
        return (self.width + (WIDE if self.is_half else 0)) * self.trained

    def _backward_plain(self) -> list[Memory]:
        activations = self.sizes.activations
        if self.work.micro_batches > 1:
            return [self._backward(self._gradients_full(), 0)]
        coming = max(0, activations.peak_with_gradients - activations.peak)
        return [self._backward(coming, 0), self._backward(self._gradients_full(), 0, activations=0.0)]

    def _backward_one(self) -> list[Memory]:
        if self.work.micro_batches > 1:
            return [self._backward(self._gradients_full(), WIDE * self.bucket)]
        return [self._backward(WIDE * self.share, 2 * WIDE * self.bucket)]

    def _backward_two(self) -> list[Memory]:
        bucket = WIDE * self.bucket
        if self.work.micro_batches == 1:
            return [self._backward(WIDE * self.share, 2 * bucket)]
        early = self._backward(WIDE * self.share, bucket)
        late = self._backward((1 if self.is_half else 2) * WIDE * self.share, 2 * bucket, activations=0.5)
        return [early, late]

    def _backward_three(self) -> list[Memory]:
        parameters = self.sizes.parameters
        gathered = min(parameters.all, max(self.live, parameters.largest, parameters.largest_block))
        return [self._backward(WIDE * self.share, self.width * gathered + 2 * WIDE * self.bucket)]

    # ── the moments ──

    def _backward(self, gradients: int, communication: int, activations: float = 1.0) -> Memory:
        """Return the memory while gradients are computed; ``activations``: the share of them that is still there."""
        counted = self.sizes.activations
        working = max(0, counted.peak - counted.saved)
        travelling = counted.travelling * 2 * self.in_flight if self.is_pipeline else 0
        return self._memory(
            gradients=gradients,
            communication=communication + travelling,
            head=int(activations * counted.head * self.in_flight),
            activations=int(activations * ((counted.blocks + counted.embeddings) * self.in_flight + working)),
        )

    def _reduction(self) -> Memory:
        """Return the memory while gradients are averaged over ranks, even over one: activations have gone."""
        if self.stage == 0:
            flat = WIDE * min(self.trained, ALLREDUCE_ELEMENTS)
            return self._memory(gradients=self._gradients_full(), communication=flat)
        return self._memory(gradients=self._gradients_full() + WIDE * self.share // 2, communication=WIDE * self.bucket)

    def _norm(self) -> Memory:
        """Return the memory while the gradients' norm is computed: one by one, in float64."""
        largest = 2 * WIDE * min(self.sizes.parameters.largest, self.share)
        gradients = self._gradients_full() if self.stage == 0 else WIDE * self.share
        return self._memory(gradients=gradients, communication=largest)

    def _step(self) -> Memory:
        """Return the memory while the optimizer works: ZeRO hands it a flat copy of its share of the gradients."""
        if self.stage == 0:
            return self._memory(gradients=self._gradients_full())
        bucket = WIDE * self.bucket if self.stage == 3 else 0
        return self._memory(gradients=(1 if self.is_half else 2) * WIDE * self.share, communication=bucket)

    def _memory(self, *, gradients: int, communication: int = 0, head: int = 0, activations: int = 0) -> Memory:
        parameters = self.sizes.parameters
        divided = self.data_size if self.stage == 3 else 1
        whole = self.width * parameters.small if self.stage == 3 and self.data_size > 1 else 0
        gone = self.offloads
        return Memory(
            weights=self.width * parameters.blocks // divided + parameters.buffer_bytes + whole,
            embeddings=self.width * parameters.embeddings // divided,
            head=self.width * parameters.head // divided + head,
            gradients=min(gradients, self.width * self.trained) if gone else gradients,
            optimizer=0 if gone else self.state,
            activations=activations,
            communication=communication,
        )


def _collective_bytes(
    config: RunConfig, sizes: Sequence[StageSizes], work: Workload, data_size: int, stages: int
) -> int:
    """Return what a rank sends in a step: ring algorithms send (n - 1) / n of it to reduce, the same to gather."""
    width = WIDE if config.training.precision == "fp32" else 2
    trained = max(each.parameters.trained for each in sizes)
    everything = max(each.parameters.all for each in sizes)
    ring = (data_size - 1) / data_size
    stage = zero_stage(config)
    whole = width * trained * ring
    travelling = 2 * max(each.activations.travelling for each in sizes) * work.micro_batches if stages > 1 else 0
    if stage == 3:
        return int(work.micro_batches * (2 * width * everything * ring + whole))
    reductions = 2 * (work.micro_batches if stage == 2 else 1)
    return int(whole * (reductions + (1 if stage else 0))) + travelling
