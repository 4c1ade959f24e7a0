"""What a run's checkpoints become: a plain Hugging Face folder, or the start of the same run under another layout.

A checkpoint belongs to no layout, so for the latter only the run's settings change.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from polyhead.backbone.checkpoint.model_folder import Companions, TaskRecord, extra_files, write_folder
from polyhead.backbone.checkpoint.states import weights_of, write_weights_before_start
from polyhead.backbone.checkpoint.store import Checkpoint, choose_checkpoint
from polyhead.backbone.model.adapters import merged_weights
from polyhead.backbone.model.loading import Backbone, find_backbone
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.options import build_options
from polyhead.backbone.parallel.deepspeed_config import deepspeed_config
from polyhead.backbone.parallel.engine import Spread
from polyhead.backbone.parallel.processes import World
from polyhead.backbone.training.encoding import input_names
from polyhead.backbone.training.preparation import backbone_of, load_model
from polyhead.backbone.training.run_folder import RunFolder
from polyhead.configs.layouts import parse_layout
from polyhead.configs.load import dump_config, load_config
from polyhead.configs.schema import RunConfig
from polyhead.registry import Registry, RunError, TaskSetup

DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Relaid:
    """A run that goes on under another layout."""

    layout: str
    checkpoint: Path | None
    """Where it goes on; None: no checkpoint was written yet, so from the beginning."""
    command: str
    """What goes on with it."""


def write_model(
    run: Path, output: Path, registry: Registry, *, wanted: str | None = None, dtype: str = "fp32"
) -> Checkpoint:
    """Write the model of a checkpoint as a plain Hugging Face folder and return the checkpoint.

    Args:
        run: The run folder.
        output: The folder to write; nothing may stand there.
        registry: What plugins bring.
        wanted: The checkpoint's step or path; None: the newest.
        dtype: The number format of the weights: a key of `DTYPES`.

    Raises:
        PolyheadError: There is no such checkpoint, it is damaged, or the backbone cannot be read.

    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise RunError(f"{output} exists: choose another folder with --output")
    folder = _run_folder(run)
    config = load_config(str(folder.config))
    registry.choose(*config.plugins)
    checkpoint = choose_checkpoint(folder.checkpoints, wanted, option="--checkpoint")
    if checkpoint is None:
        raise RunError(f"{folder.checkpoints} holds no checkpoint yet")
    record = TaskRecord.from_json(checkpoint.progress["record"])
    stage, companions = _rebuild(config, record, registry, folder)
    write_weights_before_start(stage, checkpoint.weights())
    weights = merged_weights(stage, weights_of(stage))
    alone = Spread(data_rank=0, data_size=1, stage=0, stages=1)
    write_folder(output, stage, weights, companions, spread=alone, world=World(), dtype=DTYPES[dtype])
    return checkpoint


def change_layout(run: Path, layout: str, registry: Registry) -> Relaid:
    """Write another layout into a run's settings, so that it goes on under it.

    Raises:
        ConfigError: There is no such layout, or it contradicts the run's settings.
        RunError: There is no run, or its newest checkpoint is damaged.

    """
    folder = _run_folder(run)
    config = load_config(str(folder.config), [f"layout={layout}", f"output={run.absolute()}"])
    deepspeed_config(config)
    checkpoint = choose_checkpoint(folder.checkpoints)
    folder.write_config(dump_config(config))
    parsed = parse_layout(config.layout)
    processes = max(parsed.fewest_processes, 2 if parsed.distributed else 1)
    command = "pretrain" if registry.task(config.task).pretrains else "finetune"
    spread = f" --processes {processes}" if processes > 1 else ""
    path = None if checkpoint is None else checkpoint.path
    return Relaid(config.layout, path, f"polyhead {command} {shlex.quote(str(run))} --resume{spread}")


def _run_folder(run: Path) -> RunFolder:
    folder = RunFolder(run)
    if not folder.is_run():
        raise RunError(f"{run} is no run folder (no {folder.config.name})")
    return folder


def _rebuild(config: RunConfig, record: TaskRecord, registry: Registry, folder: RunFolder) -> tuple[Stage, Companions]:
    """Return the model as training built it, before its first step, and what goes beside it."""
    task = registry.task(config.task)
    backbone = backbone_of(config, registry)
    setup = TaskSetup(build_options(task, record.options), record.labels, record.facts)
    spec = registry.head_factory(task.name, backbone.family, record.head)(setup)
    tokenizer = _tokenizer_of(config, folder, registry, backbone)
    new_tokens = len(tokenizer) - len(backbone.tokenizer)
    backbone = replace(backbone, tokenizer=tokenizer)
    model, head = load_model(config, backbone, spec, new_tokens=new_tokens, say=lambda _: None)
    stage = Stage(model, head, spec, input_names(backbone, spec, task))
    return stage, Companions(tokenizer, record, extra_files(task, setup, backbone, record.max_length))


def _tokenizer_of(config: RunConfig, folder: RunFolder, registry: Registry, backbone: Backbone) -> Any:
    """Return the tokenizer of a run: that of its backbone, unless it has learned new tokens."""
    if config.backbone.new_tokens is None:
        return backbone.tokenizer
    if not folder.model.is_dir():
        raise RunError(f"{folder.model} is not there yet, and it alone has the tokenizer with the run's new tokens")
    return find_backbone(str(folder.model), registry).tokenizer
