"""Settings that are fine one by one and cannot stand together, found when a configuration is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic_core import PydanticCustomError

from polyhead.configs.layouts import parse_layout

if TYPE_CHECKING:
    from polyhead.configs.schema import DataConfig, RunConfig, TrainingConfig

ERROR_TYPE = "contradiction"
_LONGEST_DEFAULT_WINDOW = 512


@dataclass(frozen=True, slots=True)
class Contradiction:
    """The dotted keys that disagree, why, and the remedy."""

    keys: tuple[str, ...]
    problem: str


def refuse(found: Iterator[Contradiction]) -> None:
    """Raise pydantic's error that carries all ``found`` contradictions, if there is one."""
    problems = list(found)
    if problems:
        text = "; ".join(found.problem for found in problems)
        raise PydanticCustomError(ERROR_TYPE, "{text}", {"text": text, "problems": problems})


def in_data(data: DataConfig) -> Iterator[Contradiction]:
    """Yield what disagrees within the section ``data``."""
    longest = data.max_length or _LONGEST_DEFAULT_WINDOW
    window = f"data.max_length ({longest})" if data.max_length else f"the longest window ({longest})"
    if data.stride is not None and data.stride >= longest:
        yield Contradiction(
            ("data.stride", "data.max_length"),
            f"data.stride ({data.stride}) must be smaller than {window}; use data.stride={longest // 4}",
        )
    if data.max_length is not None and data.max_tokens < data.max_length:
        yield Contradiction(
            ("data.max_tokens", "data.max_length"),
            f"data.max_tokens ({data.max_tokens}) must be at least {window}, to hold one window",
        )
    if data.stream and not data.cache:
        yield Contradiction(
            ("data.stream", "data.cache"),
            "data.stream keeps tokens on disk, which data.cache=false forbids; leave one of them out",
        )


def in_training(training: TrainingConfig) -> Iterator[Contradiction]:
    """Yield what disagrees within the section ``training``."""
    warmup, steps = training.warmup, training.max_steps
    if warmup >= 1 and not float(warmup).is_integer():
        yield Contradiction(
            ("training.warmup",),
            f"training.warmup ({warmup}) must be a share below 1 or a whole number of steps",
        )
    if steps is not None and 1 <= warmup >= steps:
        yield Contradiction(
            ("training.warmup", "training.max_steps"),
            f"training.warmup ({warmup:g} steps) must be smaller than training.max_steps ({steps})",
        )


def in_run(config: RunConfig) -> Iterator[Contradiction]:
    """Yield what disagrees between sections."""
    yield from _without_validation(config)
    yield from _layout(config)
    yield from _pipeline(config)
    yield from _divided_matrices(config)
    yield from _offload(config)
    yield from _random_weights(config)


def _random_weights(config: RunConfig) -> Iterator[Contradiction]:
    backbone = config.backbone
    if backbone.architecture is not None and backbone.lora is not None:
        yield Contradiction(
            ("backbone.architecture", "backbone.lora"),
            "backbone.architecture cannot have backbone.lora: LoRA leaves all other weights as they are, and these are "
            "random; use backbone.lora=null",
        )


def _without_validation(config: RunConfig) -> Iterator[Contradiction]:
    if config.data.validation or config.data.validation_fraction > 0:
        return
    for key in ("patience", "metric", "evaluate_every"):
        if getattr(config.training, key) is not None:
            yield Contradiction(
                (f"training.{key}", "data.validation_fraction"),
                f"training.{key} needs validation data; say data.validation=FILE or data.validation_fraction=0.1",
            )


def _layout(config: RunConfig) -> Iterator[Contradiction]:
    layout, training = parse_layout(config.layout), config.training
    if not layout.distributed or layout.zero_stage > 0:
        return
    remedy = f"{layout.name}+zero1" if layout.fewest_processes > 1 else "zero1"
    if layout.pipeline_stages > 1 and training.gradient_clipping > 0:
        yield Contradiction(
            ("layout", "training.gradient_clipping"),
            f"layout {layout.name} cannot have training.gradient_clipping={training.gradient_clipping:g}: "
            "under ZeRO 0 DeepSpeed takes the first pipeline stage's gradient norm for the whole model's; "
            f"use layout={remedy}",
        )
    if training.precision != "fp32":
        yield Contradiction(
            ("layout", "training.precision"),
            f"layout {layout.name} cannot have training.precision={training.precision}; use layout={remedy}: "
            "exact master weights, less memory",
        )


def _pipeline(config: RunConfig) -> Iterator[Contradiction]:
    layout, partition = parse_layout(config.layout), config.partition
    if layout.pipeline_stages > 1 and isinstance(partition, tuple) and len(partition) != layout.pipeline_stages:
        yield Contradiction(
            ("partition", "layout"),
            f"partition {list(partition)} is for {len(partition)} stages, and layout {layout.name} has "
            f"{layout.pipeline_stages}; name the blocks of each stage",
        )


def _divided_matrices(config: RunConfig) -> Iterator[Contradiction]:
    layout = parse_layout(config.layout)
    if layout.tensor_parallel > 1 and config.backbone.lora is not None:
        yield Contradiction(
            ("layout", "backbone.lora"),
            f"layout {layout.name} cannot have backbone.lora: DeepSpeed's AutoTP divides a matrix and not what LoRA "
            "puts beside it; use layout=zero2 or pipe2+zero1, or backbone.lora=null",
        )


def _offload(config: RunConfig) -> Iterator[Contradiction]:
    layout = parse_layout(config.layout)
    if layout.offload == "nvme" and config.offload_folder is None:
        yield Contradiction(
            ("layout", "offload_folder"),
            f"layout {layout.name} needs offload_folder: a folder on a fast local disk",
        )
