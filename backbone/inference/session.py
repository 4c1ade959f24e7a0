"""Open a trained model: a run folder, a model folder, or a backbone that others fine-tuned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from polyhead.backbone.checkpoint.model_folder import read_record
from polyhead.backbone.inference.progress import counting
from polyhead.backbone.inference.running import Inference, LoadedModel, run_inference
from polyhead.backbone.model.loading import find_backbone, load_with_head
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.options import build_options
from polyhead.backbone.parallel.processes import World
from polyhead.backbone.training.preparation import collator_for, encode_settings, input_names
from polyhead.configs.schema import RunConfig
from polyhead.registry import BackboneError, EncodeSettings, Example, Registry, Task, TaskSetup

EXAMPLES_AT_ONCE = 4_096


@dataclass(frozen=True)
class Session:
    """A model that is ready to answer."""

    task: Task[Any, Any]
    setup: TaskSetup
    settings: EncodeSettings
    model: LoadedModel
    world: World
    max_tokens: int
    registry: Registry
    console: Console | None = None
    """Where progress is shown; None: nowhere."""

    def run(self, examples: Sequence[Example], *, cache: bool = False) -> Inference:
        """Return predictions (and the loss, where the examples bear labels) for some examples, in order."""
        collator = collator_for(self.task, self.settings, examples, cache=cache)
        share = -(-len(collator.features) // self.world.size)
        with counting(self.console, "inference", share) as progress:
            return run_inference(
                self.model,
                self.task,
                self.setup,
                collator,
                examples,
                self.world,
                max_tokens=self.max_tokens,
                progress=progress,
            )

    def predict(self, examples: Iterable[Example]) -> Iterator[Any]:
        """Yield a prediction for each example, in order, a few thousand at a time."""
        chunk: list[Example] = []
        for example in examples:
            chunk.append(example)
            if len(chunk) == EXAMPLES_AT_ONCE:
                yield from self.run(chunk).predictions
                chunk = []
        if chunk:
            yield from self.run(chunk).predictions


def open_session(
    reference: str, config: RunConfig, registry: Registry, world: World, console: Console | None = None
) -> Session:
    """Return a session for a model.

    Args:
        reference: A run folder, a model folder, a registered backbone, or a name on the hub.
        config: Says the task (where the model folder does not), its options, and how much fits in a batch.
        registry: What plugins bring.
        world: This process and its peers.
        console: Where rank 0 shows progress; None: nowhere.

    Raises:
        PolyheadError: The model cannot be read, or bears no head for the task.

    """
    backbone = find_backbone(
        reference,
        registry,
        trust_remote_code=config.backbone.trust_remote_code,
        revision=config.backbone.revision,
    )
    record = read_record(Path(backbone.path))
    task = registry.task(config.task)
    if record is None:
        options = build_options(task, config.options)
        setup = task.setup_from_labels(_labels_of(reference, backbone.config), options)
        head_name, max_length, stride = config.head, config.data.max_length, config.data.stride
    else:
        if record.task != task.name:
            raise BackboneError(f"{reference} was trained for task '{record.task}', not for '{task.name}'")
        merged: Mapping[str, Any] = {**record.options, **config.options}
        setup = TaskSetup(build_options(task, merged), record.labels, record.facts)
        head_name, max_length, stride = record.head, record.max_length, record.stride
    spec = registry.head_factory(task.name, backbone.family, head_name)(setup)
    torch.manual_seed(config.training.seed)
    model, head = load_with_head(backbone, spec, dropout=None)
    settings = encode_settings(backbone, setup, max_length, stride)
    stage = Stage(model, head, spec, input_names(backbone.tokenizer))
    return Session(task, setup, settings, LoadedModel(stage, world), world, config.data.max_tokens, registry, console)


def _labels_of(reference: str, config: Any) -> tuple[str, ...]:
    """Return the labels that others fine-tuned a model for.

    Raises:
        BackboneError: The model bears no classification head of its own.

    """
    trained = any("Classification" in name for name in config.architectures or ())
    if not trained:
        raise BackboneError(
            f"{reference} holds a backbone without a fine-tuned head "
            f"({', '.join(config.architectures or ['no architecture named'])}): fine-tune it first"
        )
    return tuple(str(config.id2label[index]) for index in range(len(config.id2label)))
