"""What a layout's name means: parts such as ``pipe2`` and ``zero1``, joined by ``+``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from polyhead.configs.errors import ConfigError, did_you_mean

ALLOWED = "Allowed: single, zero0, zero1, zero2, zero3, pipeN, pipeN+zero1 (N stages, at least 2)."
_WORDS = ("single", "zero0", "zero1", "zero2", "zero3", "pipe2", "pipe2+zero1")
_ZERO_STAGES = range(4)


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


def parse_layout(text: str) -> Layout:
    """Return the layout that a name such as ``zero2`` or ``pipe2+zero1`` stands for.

    Parts may stand in any order and case. Raises `ConfigError` for what does not exist or cannot work.
    """
    words = [word.strip() for word in text.lower().split("+")]
    if words == ["single"]:
        return Layout(name="single", distributed=False)
    if "single" in words:
        raise _error(text, "'single' is one process without DeepSpeed and cannot be combined")
    return _combine(text, _read_parts(text, words))


_PARTS: Mapping[str, str] = {
    "pipe": "number of pipeline stages, as in pipe2",
    "zero": "ZeRO stage, as in zero2",
}
"""The grammar: each part is one of these words and a number, and this is what the number says."""


def _read_parts(text: str, words: list[str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for word in words:
        match = re.fullmatch(r"([a-z]+)([0-9]*)", word)
        kind = match[1] if match else ""
        if match is None or kind not in _PARTS:
            raise _error(text, f"no such part '{word}'.{did_you_mean(text, _WORDS)} {ALLOWED}")
        if not match[2]:
            raise _error(text, f"'{word}' needs the {_PARTS[kind]}. {ALLOWED}")
        if kind in numbers:
            raise _error(text, f"'{kind}' stands twice")
        numbers[kind] = int(match[2])
    return numbers


def _combine(text: str, numbers: dict[str, int]) -> Layout:
    stages, zero = numbers.get("pipe"), numbers.get("zero", 0)
    if zero not in _ZERO_STAGES:
        allowed = ", ".join(str(stage) for stage in _ZERO_STAGES)
        raise _error(text, f"ZeRO stage {zero} does not exist; allowed: {allowed}")
    if stages is None:
        return Layout(name=f"zero{zero}", distributed=True, zero_stage=zero)
    if stages < 2:
        raise _error(text, f"a pipeline has at least 2 stages; without one use zero{zero}")
    if zero >= 2:
        raise _error(
            text,
            f"a pipeline keeps gradients over its micro-batches, so DeepSpeed cannot partition them as "
            f"ZeRO {zero} would; use pipe{stages}+zero1",
        )
    name = f"pipe{stages}+zero{zero}" if zero else f"pipe{stages}"
    return Layout(name=name, distributed=True, zero_stage=zero, pipeline_stages=stages)


def _error(text: str, problem: str) -> ConfigError:
    return ConfigError(f"layout '{text}': {problem}")
