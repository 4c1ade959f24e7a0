"""What a run would hold and compute, without weights.

Its model stands on the meta device, cut as a layout says. Its step is the one that needs most memory: a global batch of
the longest windows of the training data.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from polyhead.backbone.data.batching import Batch, labelled_places
from polyhead.backbone.model.cutting import block_count, cut_stage, cuts_of, plan_cuts
from polyhead.backbone.model.finding import quiet_transformers
from polyhead.backbone.model.parts import Cut
from polyhead.backbone.model.stages import Stage, Tensors
from polyhead.backbone.model.weights import empty_blocks
from polyhead.backbone.options import build_options
from polyhead.backbone.parallel.memory_counting import Activations, Parameters, count_activations, count_parameters
from polyhead.backbone.parallel.processes import World
from polyhead.backbone.training.encoding import encode_settings, input_names
from polyhead.backbone.training.feeding import micro_batches
from polyhead.backbone.training.preparation import Prepared, backbone_of, empty_model, prepare_run
from polyhead.configs.schema import RunConfig
from polyhead.registry import BackboneError, PolyheadError, Registry

Say = Callable[[str], None]
PRECISIONS: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TWO_LABELS = ("a", "b")
"""Stand for the labels that only training data could tell."""


@dataclass(frozen=True)
class Workload:
    """What one process has to do in the step that needs most."""

    inputs: Tensors
    """Of its largest micro-batch."""
    micro_batches: int
    labelled: torch.Tensor | None = None
    """Where that micro-batch bears labels, where outputs are computed for those places alone (`Task.loss_by_token`)."""

    @property
    def rows(self) -> int:
        """Return how many windows it holds."""
        return int(self.inputs[0].shape[0])

    @property
    def tokens(self) -> int:
        """Return how many tokens each of them has, padding included."""
        return int(self.inputs[0].shape[1])


@dataclass(frozen=True)
class StageSizes:
    """What one pipeline stage holds, or the whole model."""

    parameters: Parameters
    activations: Activations


class Sketch:
    """The whole model on the meta device, and what its counts were so far."""

    def __init__(self, config: RunConfig, registry: Registry, say: Say) -> None:
        registry.choose(*config.plugins)
        self.config = config
        training = config.training.model_copy(update={"activation_checkpointing": False})  # `sizes` switches it on
        single = config.model_copy(update={"layout": "single", "training": training})  # one process is not to be cut
        if config.data.train:
            self._prepared: Prepared | None = prepare_run(single, registry, World(), say, weights=False)
            self.stage = self._prepared.stage
        else:
            self._prepared = None
            self.stage, self._window = _model_without_data(single, registry)
        self._counted: dict[tuple[Any, ...], list[StageSizes]] = {}

    @property
    def from_data(self) -> bool:
        """Whether labels and lengths are those of training data."""
        return self._prepared is not None

    @property
    def blocks(self) -> int | None:
        """Return how many blocks a pipeline could cut; None where nobody has described this architecture."""
        try:
            return block_count(self.stage.model)
        except BackboneError:
            return None

    def workload(self, data_size: int) -> Workload:
        """Return the work of the process that has most, of so many that share the data."""
        if self._prepared is None:
            rows = max(1, self.config.data.max_tokens // self._window)
            per_rank = max(1, self.config.training.batch_size // data_size)
            ids = torch.zeros(min(rows, per_rank), self._window, dtype=torch.long)
            return Workload((ids,) * len(self.stage.input_names), -(-per_rank // rows))
        batches = longest_step(self._prepared, self.config, data_size, 0)
        largest = max(batches, key=lambda batch: batch.inputs[0].numel())
        by_token = self._prepared.task.loss_by_token
        return Workload(largest.inputs, len(batches), labelled_places(largest.labels[0]) if by_token else None)

    def sizes(self, stages: int, data_size: int, *, checkpointing: bool, persistent: int) -> list[StageSizes]:
        """Return what each stage of a pipeline takes (one stage: the whole model).

        Args:
            stages: How many.
            data_size: How many processes share the data.
            checkpointing: Whether only states between blocks are kept for the backward pass.
            persistent: Parameters below this size ZeRO 3 leaves whole.

        Raises:
            PolyheadError: There are more stages than blocks.

        """
        work = self.workload(data_size)
        places_N = work.labelled if stages == 1 else None  # a pipeline meets the labels behind the outputs
        key = (
            stages,
            checkpointing,
            *(each.shape for each in work.inputs),
            None if places_N is None else len(places_N),
        )
        if key not in self._counted:
            self._counted[key] = self._count(
                stages, work.inputs, places_N, checkpointing=checkpointing, persistent=persistent
            )
        return self._counted[key]

    def _count(
        self, stages: int, inputs: Tensors, places_N: torch.Tensor | None, *, checkpointing: bool, persistent: int
    ) -> list[StageSizes]:
        found = []
        for cut in self._cuts(stages):
            part = self._part(cut, checkpointing=checkpointing)
            parameters = count_parameters(part, persistent)
            with quiet_transformers():  # it says that a checkpointed model cannot use its cache
                precision = PRECISIONS[self.config.training.precision]
                activations, inputs = count_activations(part, inputs, precision, places_N)
            found.append(StageSizes(parameters, activations))
        return found

    def _part(self, cut: Cut | None, *, checkpointing: bool) -> Stage:
        """Return a copy of the model, or of a stage of it."""
        part = copy.deepcopy(self.stage)
        if checkpointing:
            part.model.activation_checkpointing_enable()  # of the whole: it looks for embeddings
        if cut is None:
            return part
        empty_blocks(part.model, cut)
        return cut_stage(part, cut)

    def _cuts(self, stages: int) -> list[Cut | None]:
        if stages == 1:
            return [None]
        wanted = self.config.partition
        if isinstance(wanted, tuple) and len(wanted) == stages:
            return [*cuts_of(wanted)]
        if self.blocks is None:
            raise PolyheadError(f"architecture '{self.stage.model.config.model_type}' cannot be cut into stages")
        return [*plan_cuts(self.blocks, stages)]


def longest_step(prepared: Prepared, config: RunConfig, data_size: int, data_rank: int) -> list[Batch]:
    """Return a process's micro-batches of a global batch that is made of the longest items of the training data."""
    items = prepared.items
    chosen = np.argsort(-np.asarray(items.lengths), kind="stable")[: config.training.batch_size]
    return micro_batches(chosen.tolist(), prepared, config, data_size, data_rank, epoch=0)


def _model_without_data(config: RunConfig, registry: Registry) -> tuple[Stage, int]:
    """Return the model for two labels and the window, where there are no data to say more."""
    task = registry.task(config.task)
    backbone = backbone_of(config, registry)
    setup = task.setup_from_labels(TWO_LABELS, build_options(task, config.options))
    spec = registry.head_factory(task.name, backbone.family, config.head)(setup)
    settings = encode_settings(backbone, spec, setup, config.data.max_length, config.data.stride)
    model, head = empty_model(config, backbone, spec, new_tokens=0)
    return Stage(model, head, spec, input_names(backbone, spec, task)), settings.max_length
