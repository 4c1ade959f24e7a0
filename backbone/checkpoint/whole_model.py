"""A whole model on every process, put together from an engine that has divided it: what writing text takes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polyhead.backbone.checkpoint.model_folder import Companions, save_model
from polyhead.backbone.inference.running import LoadedModel
from polyhead.backbone.model.loading import find_backbone, load_with_head
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.parallel.engine import Engine
from polyhead.backbone.parallel.processes import World
from polyhead.registry import Registry


@contextmanager
def whole_model(
    folder: Path, engine: Engine, world: World, companions: Companions, registry: Registry
) -> Iterator[LoadedModel]:
    """Write an engine's model to a folder and load it whole on every process; the folder is deleted afterwards.

    Decoding step by step through a pipeline would leave all stages but one idle, and under ZeRO 3 every token would
    gather all weights: a whole copy, for as long as text is written, is both simpler and faster. It takes the memory
    of the weights once on every process. Every process calls this.
    """
    save_model(folder, engine, world, companions)
    try:
        stage = engine.stage
        model, head = load_with_head(find_backbone(str(folder), registry), stage.spec, dropout=None)
        yield LoadedModel(Stage(model, head, stage.spec, stage.input_names), world)
    finally:
        world.barrier()
        if world.is_main:
            shutil.rmtree(folder, ignore_errors=True)
