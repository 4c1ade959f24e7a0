"""What task checks look at: a task with its rows, their examples, what it learns from them, and models to try it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from polyhead.backbone.model.finding import Backbone, find_backbone
from polyhead.backbone.options import build_options
from polyhead.backbone.training.encoding import encode_settings
from polyhead.registry import EncodeSettings, Example, Family, Feature, HeadSpec, Registry, Row, Task, TaskSetup


@dataclass(frozen=True)
class View:
    """How one family of backbones sees a task."""

    family: Family
    backbone: Backbone
    spec: HeadSpec
    settings: EncodeSettings
    features: Sequence[Feature]
    """Of all examples; with the labels of a corruption, where the task makes them so."""


@dataclass(frozen=True)
class TaskSubject:
    """A task under examination; nothing is computed before a check asks for it."""

    registry: Registry
    task: Task[Any, Any]
    plugin: str
    """The plugin that brings it, as ``distribution:plugin``."""
    rows: Sequence[Row]
    """With answers; what the checks train and score on."""
    backbones: Mapping[Family, Path]
    """A model to try it on for each family that it supports; the first one is used where one is enough."""
    folder: Path
    """An empty folder for what the checks write."""
    head: str = "default"
    """The head to try; another one than the task's own where a plugin's head is under examination."""

    @cached_property
    def options(self) -> Any:
        """Return the task's options, at their defaults."""
        return build_options(self.task, {})

    @cached_property
    def examples(self) -> tuple[Example, ...]:
        """Return the rows' examples."""
        return tuple(
            self.task.to_example(row, str(row.get("id", f"row-{number}")), self.options)
            for number, row in enumerate(self.rows, 1)
        )

    @cached_property
    def setup(self) -> TaskSetup:
        """Return what the task learns from the examples."""
        return self.task.prepare(self.examples, self.options)

    @property
    def first_family(self) -> Family:
        """Return the family that is tried where one is enough."""
        return next(iter(self.backbones))

    @cached_property
    def views(self) -> Mapping[Family, View]:
        """Return how each family sees the examples."""
        return {family: self.view(family, self.examples) for family in self.backbones}

    @property
    def first_view(self) -> View:
        """Return how the first family sees the examples."""
        return self.views[self.first_family]

    def view(self, family: Family, examples: Sequence[Example]) -> View:
        """Encode examples for one family, as the engine does where nobody asks for another window."""
        backbone = self._found_backbones[family]
        spec = self.registry.head_factory(self.task.name, family, self.head)(self.setup)
        settings = encode_settings(backbone, spec, self.setup, None, None)
        features = self.task.encode(examples, settings)
        return View(family, backbone, spec, settings, self.labelled(features, settings))

    def labelled(self, features: Sequence[Feature], settings: EncodeSettings) -> Sequence[Feature]:
        """Return features with the labels that a corruption makes, where the task has one."""
        corrupt = self.task.corrupt
        if corrupt is None:
            return features
        return [corrupt(feature, np.random.default_rng(at), settings) for at, feature in enumerate(features)]

    @cached_property
    def _found_backbones(self) -> Mapping[Family, Backbone]:
        return {family: find_backbone(str(path), self.registry) for family, path in self.backbones.items()}
