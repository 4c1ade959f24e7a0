"""From a run's layout, optimizer and precision settings to the DeepSpeed JSON; loads nothing heavy.

A user's own JSON is merged into it; where it contradicts the run's settings, that is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyhead.configs.errors import ConfigError
from polyhead.configs.layouts import parse_layout
from polyhead.configs.schema import RunConfig

NEVER = 10**9
OWNED = {
    "train_batch_size": "training.batch_size",
    "train_micro_batch_size_per_gpu": "data.max_tokens",
    "gradient_accumulation_steps": "training.batch_size and data.max_tokens",
    "gradient_clipping": "training.gradient_clipping",
    "optimizer": "training.learning_rate, training.weight_decay, training.betas",
    "scheduler": "training.schedule and training.warmup",
    "fp16.enabled": "training.precision",
    "bf16.enabled": "training.precision",
    "zero_optimization.stage": "layout",
    "tensor_parallel": "layout",
}
"""DeepSpeed keys that a setting of the run decides, and which."""


def deepspeed_config(config: RunConfig) -> dict[str, Any]:
    """Return the JSON that ``deepspeed.initialize`` is given.

    The loss arrives already divided by the targets of the whole global batch, so that DeepSpeed sees
    micro-batches of size 1 and no accumulation. ``gradient_clipping`` is always written: DeepSpeed's default is 1.0.

    Raises:
        ConfigError: The user's own JSON cannot be read, or contradicts the run's settings.

    """
    training = config.training
    generated: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": training.gradient_clipping,
        "zero_optimization": _zero_section(config),
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # its own compiles for a minute at first use; torch's runs there too
        "steps_per_print": NEVER,
        "wall_clock_breakdown": False,
    }
    layout = parse_layout(config.layout)
    if layout.tensor_parallel > 1:
        generated["tensor_parallel"] = {"autotp_size": layout.tensor_parallel, "vocab_parallel_lm_head": False}
    if training.precision != "fp32":
        generated[training.precision] = {"enabled": True}
    return _merge(generated, _own_json(config))


def sized_for(ds_config: Mapping[str, Any], parameters: int) -> dict[str, Any]:
    """Return the JSON with buckets that suit a model, or a stage of one, of so many parameters.

    DeepSpeed's own sizes are made for models of billions: buckets of 500 million elements are allocated whole, 2 GB in
    float32, and ZeRO 3 keeps a billion gathered parameters, which is the whole of a smaller model on every rank. What
    the user's own JSON says holds.
    """
    section = dict(ds_config["zero_optimization"])
    bucket = min(max(parameters // BUCKETS, SMALLEST_BUCKET), LARGEST_BUCKET, parameters) // 2 * 2 + 2
    sizes: dict[str, int] = {}
    if section.get("stage", 0) > 0:
        sizes |= {"reduce_bucket_size": bucket, "allgather_bucket_size": bucket}
    if section.get("stage", 0) == 3:
        live = min(max(parameters // LIVE, SMALLEST_BUCKET), parameters)
        sizes |= {
            "stage3_prefetch_bucket_size": min(bucket, live // 2),
            "stage3_max_live_parameters": live,
            "stage3_max_reuse_distance": live,
        }
    return {**ds_config, "zero_optimization": {**sizes, **section}}


BUCKETS, SMALLEST_BUCKET, LARGEST_BUCKET = 16, 2_000_000, 50_000_000
"""Buckets that a model's gradients go through at least, and elements of one: even, as DeepSpeed wants them."""
LIVE = 8
"""ZeRO 3 holds about one in so many parameters whole at a time, besides what a single module needs."""


def zero_stage(config: RunConfig) -> int:
    """Return the ZeRO stage that really runs.

    One process in bf16 or fp16 runs as stage 1, which keeps exact float32 master weights; with one process it
    shards nothing.
    """
    layout = parse_layout(config.layout)
    if config.training.precision != "fp32":
        return max(layout.zero_stage, 1)
    return layout.zero_stage


def _zero_section(config: RunConfig) -> dict[str, Any]:
    stage = zero_stage(config)
    section: dict[str, Any] = {"stage": stage}
    if stage in (1, 2):
        section |= {"contiguous_gradients": True, "overlap_comm": False}
    if stage == 3:  # biases and norms stay whole: gathering them costs more than it saves
        section |= {"stage3_param_persistence_threshold": 10_000, "overlap_comm": False}
    layout = parse_layout(config.layout)
    if layout.offload != "none":
        target: dict[str, Any] = {"device": layout.offload, "pin_memory": True}
        if layout.offload == "nvme":
            target["nvme_path"] = str(config.offload_folder)
        section["offload_optimizer"] = target
        if stage == 3:
            section["offload_param"] = dict(target)
    return section


def _own_json(config: RunConfig) -> Mapping[str, Any]:
    own = config.deepspeed
    if own is None:
        return {}
    if isinstance(own, Path):
        try:
            own = json.loads(own.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"deepspeed: {own} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ConfigError(f"deepspeed: {config.deepspeed} is no JSON: {error}") from None
    if not isinstance(own, Mapping):
        raise ConfigError(f"deepspeed: expected a JSON object, found {type(own).__name__}")
    return own


def _merge(generated: dict[str, Any], own: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Add the user's keys; "auto" means ours, as in ``transformers``."""
    merged = dict(generated)
    for key, value in own.items():
        path = f"{prefix}{key}"
        if value == "auto":
            continue
        if isinstance(value, Mapping) and path not in OWNED:
            merged[key] = _merge(dict(generated.get(key, {})), value, f"{path}.")
        elif path in OWNED and value != generated.get(key):
            wanted = f"says {json.dumps(value)}, the run says {json.dumps(generated.get(key))}"
            raise ConfigError(f'deepspeed.{path} {wanted}: it is decided by {OWNED[path]}; remove it or write "auto"')
        else:
            merged[key] = value
    return merged
