"""What a layout's name means: parts such as ``pipe2`` and ``zero1``, joined by ``+``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from polyhead.configs.errors import ConfigError, did_you_mean

ALLOWED = (
    "Allowed: single, zero0, zero1, zero2, zero3, pipeN, pipeN+zero1 (N stages, at least 2), "
    "tpN, tpN+zero1 (N processes a matrix); zero1 to zero3 also with +offload or +nvme."
)
_WORDS = ("single", "zero0", "zero1", "zero2", "zero3", "zero3+offload", "pipe2", "pipe2+zero1", "tp2", "tp2+zero1")
_ZERO_STAGES = range(4)

Offload = Literal["none", "cpu", "nvme"]
_OFFLOADS: Mapping[str, Offload] = {"offload": "cpu", "nvme": "nvme"}


@dataclass(frozen=True, slots=True)
class Layout:
    """How one run is spread over processes."""

    name: str
    """The canonical name: ``zero1+pipe2`` reads ``pipe2+zero1``."""
    distributed: bool
    """Whether several processes may share it; false for ``single`` only."""
    zero_stage: int = 0
    """What ZeRO divides over the data-parallel processes: nothing (0), optimizer state (1), gradients as well
    (2), weights as well (3)."""
    pipeline_stages: int = 1
    """How many parts the blocks are cut into; 1 is no pipeline."""
    tensor_parallel: int = 1
    """How many processes share each matrix (DeepSpeed AutoTP); 1: none do."""
    offload: Offload = "none"
    """Where optimizer state, and under ZeRO 3 weights, lie while they are not needed."""

    @property
    def fewest_processes(self) -> int:
        """Return how many processes this layout needs at least; a run has a multiple of it."""
        return self.pipeline_stages * self.tensor_parallel

    @property
    def saves_memory(self) -> bool:
        """Return whether this layout is chosen for the memory that it takes, at the cost of some time."""
        return self.zero_stage >= 2 or self.offload != "none"


def parse_layout(text: str) -> Layout:
    """Return the layout that a name such as ``zero2`` or ``pipe2+zero1`` stands for.

    Parts may stand in any order and case. Raises `ConfigError` for what does not exist or cannot work.
    """
    words = [word.strip() for word in text.lower().split("+")]
    if words == ["single"]:
        return Layout(name="single", distributed=False)
    if "single" in words:
        raise _error(text, "'single' is one process without DeepSpeed and cannot be combined")
    offloads = [word for word in words if word in _OFFLOADS]
    if len(offloads) > 1:
        raise _error(text, f"'{offloads[0]}' and '{offloads[1]}' cannot stand together")
    numbers = _read_parts(text, [word for word in words if word not in _OFFLOADS])
    return _combine(text, numbers, offloads[0] if offloads else None)


_PARTS: Mapping[str, str] = {
    "pipe": "number of pipeline stages, as in pipe2",
    "tp": "number of processes that share each matrix, as in tp2",
    "zero": "ZeRO stage, as in zero2",
}
"""The grammar: each part is one of these words and a number, and this is what the number says."""
_SEQUENCE_PARALLEL = (
    "DeepSpeed's sequence parallelism (Ulysses) takes no attention mask, so padded texts, encoders and "
    "encoder-decoders would come out wrong; use zero3, a smaller data.max_tokens, or training.activation_checkpointing"
)


def _read_parts(text: str, words: list[str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for word in words:
        match = re.fullmatch(r"([a-z]+)([0-9]*)", word)
        kind = match[1] if match else ""
        if kind == "sp":
            raise _error(text, _SEQUENCE_PARALLEL)
        if match is None or kind not in _PARTS:
            raise _error(text, f"no such part '{word}'.{did_you_mean(text, _WORDS)} {ALLOWED}")
        if not match[2]:
            raise _error(text, f"'{word}' needs the {_PARTS[kind]}. {ALLOWED}")
        if kind in numbers:
            raise _error(text, f"'{kind}' stands twice")
        numbers[kind] = int(match[2])
    return numbers


def _combine(text: str, numbers: dict[str, int], offload: str | None) -> Layout:
    stages, shares, zero = numbers.get("pipe"), numbers.get("tp"), numbers.get("zero", 0)
    if zero not in _ZERO_STAGES:
        allowed = ", ".join(str(stage) for stage in _ZERO_STAGES)
        raise _error(text, f"ZeRO stage {zero} does not exist; allowed: {allowed}")
    problem = _impossible(stages, shares, zero, offload)
    if problem is not None:
        raise _error(text, problem)
    words = [f"{word}{number}" for word, number in (("pipe", stages), ("tp", shares)) if number is not None]
    if zero or not words:
        words.append(f"zero{zero}")
    if offload is not None:
        words.append(offload)
    return Layout(
        name="+".join(words),
        distributed=True,
        zero_stage=zero,
        pipeline_stages=stages or 1,
        tensor_parallel=shares or 1,
        offload="none" if offload is None else _OFFLOADS[offload],
    )


def _impossible(stages: int | None, shares: int | None, zero: int, offload: str | None) -> str | None:
    """Return why parts cannot stand together, or None."""
    if stages is not None and stages < 2:
        return f"a pipeline has at least 2 stages; without one use zero{zero}"
    if shares is not None and shares < 2:
        return f"at least 2 processes share a matrix; else use zero{zero}"
    if stages is not None and shares is not None:
        return "DeepSpeed's AutoTP takes no pipelines; use one of pipe and tp"
    if stages is not None and zero >= 2:
        return (
            f"a pipeline keeps gradients over its micro-batches, so DeepSpeed cannot partition them as "
            f"ZeRO {zero} would; use pipe{stages}+zero1"
        )
    if shares is not None and zero >= 2:
        return (
            f"the optimizer state of matrices that AutoTP has divided cannot be put together again under ZeRO {zero}; "
            f"use tp{shares}+zero1"
        )
    if offload is None:
        return None
    if stages is not None or shares is not None:
        return f"'{offload}' works where each process trains the whole model; use zero3+{offload}"
    if zero == 0:
        return f"'{offload}' needs ZeRO, which moves what lies elsewhere; use zero1+{offload}, or zero3+{offload}"
    if offload == "nvme" and zero < 3:
        return "DeepSpeed swaps to disk under ZeRO 3 only; use zero3+nvme"
    return None


def _error(text: str, problem: str) -> ConfigError:
    return ConfigError(f"layout '{text}': {problem}")
