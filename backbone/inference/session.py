"""Open a trained model: a run folder, a model folder, or a backbone that others fine-tuned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from polyhead.backbone.checkpoint.model_folder import read_record
from polyhead.backbone.headed_task import headed
from polyhead.backbone.inference.progress import counting
from polyhead.backbone.inference.running import Inference, LoadedModel, Reader, Write, run_inference, writer_for
from polyhead.backbone.model.loading import Backbone, bears_head, find_backbone, load_with_head
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.options import build_options
from polyhead.backbone.parallel.processes import World
from polyhead.backbone.training.encoding import collator_for, encode_settings, input_names
from polyhead.backbone.training.provenance import FILE, changes, read_starts
from polyhead.configs.schema import RunConfig
from polyhead.registry import BackboneError, Example, PolyheadError, Registry, Task, TaskSetup

EXAMPLES_AT_ONCE = 4_096
MOST_ROUNDS = 8
"""How often an example may come back to be predicted again (`Task.follow_up`)."""


@dataclass(frozen=True)
class Session:
    """A model that is ready to answer."""

    reader: Reader
    names: tuple[str, ...]
    """The model's inputs."""
    model: LoadedModel
    world: World
    registry: Registry
    console: Console | None = None
    """Where progress is shown; None: nowhere."""
    stream: Callable[[str], None] | None = None
    """Takes text piece by piece while it is written; None: it comes when it is complete."""

    @property
    def task(self) -> Task[Any, Any]:
        """Return the task."""
        return self.reader.task

    @property
    def setup(self) -> TaskSetup:
        """Return what the task learned in training."""
        return self.reader.setup

    def run(self, examples: Sequence[Example], *, cache: bool = False) -> Inference:
        """Return predictions (and the loss, where the examples bear labels) for some examples, in order."""
        return self._run(self.reader, examples, cache=cache)

    def predict(self, examples: Iterable[Example]) -> Iterator[Any]:
        """Yield a prediction for each example, in order, a few thousand at a time."""
        reader = replace(self.reader, settings=replace(self.reader.settings, predicting=True))
        chunk: list[Example] = []
        for example in examples:
            chunk.append(example)
            if len(chunk) == EXAMPLES_AT_ONCE:
                yield from self._run(reader, chunk).predictions
                chunk = []
        if chunk:
            yield from self._run(reader, chunk).predictions

    def _run(self, reader: Reader, examples: Sequence[Example], *, cache: bool = False) -> Inference:
        found = self._once(reader, examples, cache=cache)
        predictions = list(found.predictions)
        waiting = list(range(len(examples)))
        current = list(examples)
        for _ in range(MOST_ROUNDS):
            waiting = self._follow_up(waiting, current, predictions)
            if not waiting:
                break
            again = replace(reader, settings=replace(reader.settings, predicting=True))
            answers = self._once(again, [current[index] for index in waiting]).predictions
            for index, answer in zip(waiting, answers, strict=True):
                predictions[index] = answer
        return replace(found, predictions=predictions)

    def _follow_up(self, waiting: Sequence[int], current: list[Example], predictions: Sequence[Any]) -> list[int]:
        """Put the examples that are to be predicted again into ``current``; return where they stand."""
        if self.task.follow_up is None:
            return []
        found = []
        for index in waiting:
            following = self.task.follow_up(current[index], predictions[index], self.setup)
            if following is not None:
                current[index] = following
                found.append(index)
        return found

    def _once(self, reader: Reader, examples: Sequence[Example], *, cache: bool = False) -> Inference:
        collator = collator_for(reader.task, reader.settings, examples, self.names, cache=cache)
        share = -(-len(collator.features) // self.world.size)
        with counting(self.console, "inference", share) as progress:
            return run_inference(
                self.model, reader, collator, examples, self.world, write=self._writer(reader), progress=progress
            )

    def _writer(self, reader: Reader) -> Write | None:
        if self.task.encode_prompts is None:
            return None

        def write(prompts: Sequence[Any]) -> Any:
            with counting(self.console, "writing", len(prompts)) as progress:
                writer = writer_for(reader, self.model.stage, self.model.device, progress=progress, stream=self.stream)
                return writer(prompts)

        return write


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
    registry.choose(*config.plugins)
    if console is not None:
        for change in changes(read_starts(Path(reference) / FILE), registry, config):
            console.print(f"note: {change}", markup=False)
    backbone = find_backbone(
        reference,
        registry,
        trust_remote_code=config.backbone.trust_remote_code,
        revision=config.backbone.revision,
    )
    record = read_record(Path(backbone.path))
    task = registry.task(config.task)
    if record is None:
        setup = _setup_of_others(task, backbone, config)
        head_name, max_length, stride = config.head, config.data.max_length, config.data.stride
    else:
        if record.task != task.name:
            raise BackboneError(f"{reference} was trained for task '{record.task}', not for '{task.name}'")
        merged: Mapping[str, Any] = {**record.options, **config.options}
        setup = TaskSetup(build_options(task, merged), record.labels, record.facts)
        head_name, max_length, stride = record.head, record.max_length, record.stride
    spec = registry.head_factory(task.name, backbone.family, head_name)(setup)
    if record is None and not bears_head(backbone, spec):
        raise _no_head(task, backbone)
    torch.manual_seed(config.training.seed)
    model, head = load_with_head(backbone, spec, dropout=None)
    settings = encode_settings(backbone, spec, setup, max_length, stride)
    names = input_names(backbone, spec, task)
    stage = Stage(model, head, spec, names)
    reader = Reader(headed(task, spec), settings, config.data.max_tokens)
    return Session(reader, names, LoadedModel(stage, world), world, registry, console)


def _setup_of_others(task: Task[Any, Any], backbone: Backbone, config: RunConfig) -> TaskSetup:
    """Return the setup of a model that others fine-tuned: its labels, and what its folder says."""
    names = backbone.config.architectures or ()
    labels: tuple[str, ...] = ()
    if any("Classification" in name for name in names):
        found = backbone.config.id2label
        labels = tuple(str(found[index]) for index in range(len(found)))
    try:
        setup = task.setup_from_labels(labels, build_options(task, config.options))
    except PolyheadError:
        if labels:
            raise
        raise _no_head(task, backbone) from None  # a task of labels, and a model without
    folder = Path(backbone.path)
    if task.setup_from_folder is not None and folder.is_dir():
        setup = task.setup_from_folder(folder, setup)
    return setup


def _no_head(task: Task[Any, Any], backbone: Backbone) -> BackboneError:
    return BackboneError(
        f"{backbone.reference} holds no fine-tuned head for task '{task.name}' "
        f"({', '.join(backbone.config.architectures or ['no architecture named'])}): fine-tune it first"
    )
