"""Try a task out: its rows in a file, a model with its head in memory, a short training through the engine."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from polyhead.backbone.conformance.subject import TaskSubject
from polyhead.backbone.data.batching import Batch, Collator, Items, Unit
from polyhead.backbone.data.choosing import evenly
from polyhead.backbone.headed_task import headed
from polyhead.backbone.inference.running import LoadedModel, Reader
from polyhead.backbone.inference.session import Session
from polyhead.backbone.model.loading import Backbone, find_backbone, load_with_head
from polyhead.backbone.model.stages import Stage, Tensors
from polyhead.backbone.parallel.engine import as_float32
from polyhead.backbone.parallel.processes import World
from polyhead.backbone.training.encoding import collator_for, encode_settings, input_names
from polyhead.backbone.training.finetune import finetune
from polyhead.configs.load import load_config
from polyhead.configs.schema import RunConfig
from polyhead.configs.yaml_text import write_yaml
from polyhead.registry import Family, LossSum, Row

ROWS = 32
"""How many rows are trained on."""
STEPS = 20
LEARNING_RATE = 0.003
SEED = 7
FEWEST_UNITS = 4
"""A batch must have parts."""
_MICRO_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Trained:
    """A short training of the task on a model of the first family."""

    config: RunConfig
    losses: tuple[float, ...]


@dataclass(frozen=True)
class ModelInMemory:
    """A model with the head under examination, untrained, and the rows as it reads them."""

    subject: TaskSubject
    backbone: Backbone
    session: Session
    """Answers as a model does that was loaded from a folder."""

    @property
    def stage(self) -> Stage:
        """Return the model; nothing in it is dropped out."""
        return self.session.model.stage

    @cached_property
    def collator(self) -> Collator:
        """Return the features of all rows, ready to be batched; of the same rows again where the loss needs many."""
        reader, examples = self.session.reader, self.subject.examples
        together = 1 if reader.task.together is None else reader.task.together(reader.setup)
        examples = examples * math.ceil(FEWEST_UNITS * together / len(examples))
        return collator_for(reader.task, reader.settings, examples, self.session.names, cache=False)

    @cached_property
    def units(self) -> Sequence[Unit]:
        """Return what cannot be split further: features, or the examples that the loss needs side by side."""
        task = self.session.task
        together = None if task.together is None else task.together(self.session.setup)
        items = Items.of(self.collator.features, together=together)
        units = items.units(range(len(items.members)))
        return units if together is None else units[: len(items.members) // together]  # without a last, smaller one

    def batch(self, units: Sequence[Unit]) -> Batch:
        """Return a batch of some units, with labels."""
        rows = [row for unit in units for row in unit.rows]
        return self.collator.collate_rows(rows, with_labels=True).to(self.session.model.device)

    def outputs(self, batch: Batch) -> Tensors:
        """Return what the head gives for a batch."""
        return as_float32(self.stage(batch.inputs))

    def loss(self, units: Sequence[Unit]) -> LossSum:
        """Return the loss of some units in one batch."""
        batch = self.batch(units)
        return self.session.task.loss(self.outputs(batch), batch.labels, self.session.setup)

    def learn(self, steps: int) -> None:
        """Take some steps, so that no parameter is any longer what it was drawn as."""
        optimizer = torch.optim.Adam(self.stage.parameters(), lr=LEARNING_RATE)
        for _ in range(steps):
            loss = self.loss(self.units[:8])
            optimizer.zero_grad()
            (loss.total / loss.targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def model_in_memory(subject: TaskSubject, family: Family) -> ModelInMemory:
    """Return a model of a family with the head under examination.

    Raises:
        PolyheadError: There is no such head for this family, or the model cannot be read.

    """
    registry, task, setup = subject.registry, subject.task, subject.setup
    backbone = find_backbone(str(subject.backbones[family]), registry)
    spec = registry.head_factory(task.name, backbone.family, subject.head)(setup)
    settings = encode_settings(backbone, spec, setup, None, None)
    names, world = input_names(backbone, spec, task), World()
    torch.manual_seed(SEED)
    model, head = load_with_head(backbone, spec, dropout=0.0)
    reader = Reader(headed(task, spec), settings, _MICRO_BATCH_TOKENS)
    loaded = LoadedModel(Stage(model, head, spec, names), world)
    return ModelInMemory(subject, backbone, Session(reader, names, loaded, world, registry))


# ── the engine ──────────────────────────────────────────────────────────────────────────────────────────


def trained(subject: TaskSubject) -> Trained:
    """Train on a few rows, once for all checks of a subject.

    Raises:
        PolyheadError: The engine says why it cannot.

    """
    config = config_of(subject, subject.first_family, "trained", _TRAINING)
    if not (config.output / "model").is_dir():
        finetune(config, subject.registry, overwrite=True)
    lines = (config.output / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    return Trained(config, tuple(float(event["loss"]) for event in events if event["event"] == "step"))


_TRAINING = (
    f"training.max_steps={STEPS}",
    f"training.checkpoint_every={STEPS}",
    f"training.learning_rate={LEARNING_RATE}",
    f"training.batch_size={ROWS}",
    "training.schedule=constant",
    "training.warmup=0",
    "training.dropout=0",
    "training.log_to=[]",
)


def config_of(subject: TaskSubject, family: Family, output: str, overrides: Sequence[str]) -> RunConfig:
    """Return the settings of a run of the head under examination in the subject's folder."""
    return load_config(str(write_recipe(subject, family)), [f"output={subject.folder / output}", *overrides])


def write_recipe(subject: TaskSubject, family: Family, **data: Any) -> Path:
    """Write the recipe of a run, which names the plugins that are under examination, and return its file."""
    used = subject.registry.used(subject.task.name, subject.head, (), "")
    choices = [f"{each.origin.distribution}:{each.name}" for each in used if each.kind == "task"]
    choices += [
        f"{each.origin.distribution}:{each.name}" for each in used if each.kind == "head" and each.name != "default"
    ]
    recipe = {
        "task": subject.task.name,
        "backbone": str(subject.backbones[family]),
        "head": subject.head,
        "plugins": choices,
        "data": {"train": str(data_file(subject)), "validation_fraction": 0.0, "cache": False, **data},
    }
    path = subject.folder / f"recipe-{family}.yaml"
    path.write_text(write_yaml(recipe), encoding="utf-8")
    return path


def data_file(subject: TaskSubject) -> Path:
    """Return a file of the rows that are trained on."""
    return write_rows(subject.folder / "rows.jsonl", few_rows(subject.rows))


def few_rows(rows: Sequence[Row]) -> list[Row]:
    """Return as many rows as are trained on: evenly spaced, or repeated under other ids where there are fewer."""
    if len(rows) >= ROWS:
        return evenly(rows, ROWS)
    return [_again(rows[number % len(rows)], number // len(rows)) for number in range(ROWS)]


def _again(row: Row, time: int) -> Row:
    return {**row, "id": f"{row['id']}-{time}"} if time and "id" in row else row


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as JSON lines, and return the file."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
