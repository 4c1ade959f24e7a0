"""Whether two runs are the same run: losses, gradient norms, weights and scores against documented tolerances.

Both runs start from the same weights, see the same global batches and have no dropout, so whatever differs comes from
how the work was split. Splitting changes the order in which float32 numbers are added, and nothing else: each addition
rounds by 6e-8 of its value, and what a whole step adds up to differs by a few of these.

**Plain gradient descent (SGD)** hands such a difference on unchanged: a gradient off by one part in a million moves a
weight off by a millionth of its step. That is what makes the comparison sharp, and why ``verify`` takes it by default.
One thing is not smooth: the slope of a ReLU (in T5) jumps at zero, so an input that rounds to the other side of it
changes the gradient of that one unit. Gradient norms are therefore allowed more than losses and weights.

**Adam** does not. It divides the mean of a gradient by the root of its mean square, so every weight moves by about the
learning rate, however small its gradient. A gradient that is zero but for rounding (attention's key biases, for one:
softmax does not see them) becomes a walk of random direction. Two correct runs may then be apart by up to ``2 * S``,
where S, the sum of the learning rates of all steps, is about as far as Adam takes a weight (Kingma and Ba, Adam,
section 2.1). Such weights change no output, for their gradient is zero. So under Adam

- no weight may be off by more than ``2 * S``;
- in each matrix, 99 of 100 weights that train must agree to within a hundredth of S;
- the losses, which the weights with a real gradient decide, must agree to 1e-4.

A wrong gradient anywhere moves whole matrices by a good part of S, and is seen; a wrong gradient of a single vector may
not be. For that take SGD.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

LEAST_LOSS = 1e-2
"""A smaller loss is compared as if it were so large: it is a difference of logits of size 1 and rounds as they do."""
AGREEING_SHARE = 0.99
"""Under Adam: so many of a matrix's weights must agree."""
BOUND_OF_ADAM = 2.0
"""Under Adam: how many times the sum of the learning rates two weights may be apart at all."""


@dataclass(frozen=True)
class Tolerance:
    """How far two runs may be apart."""

    loss: float
    """Of each step and of the validation, relative."""
    gradient_norm: float
    """Relative."""
    weights: float
    """SGD: the largest difference in a tensor, relative to the largest weight in it. Adam: what 99 of 100 differences
    in a matrix stay below, relative to the sum of the learning rates."""
    score: float
    """Absolute: no prediction may change."""
    adam: bool = False
    """Which of the two rules for weights holds."""


SGD = Tolerance(loss=1e-5, gradient_norm=1e-3, weights=1e-5, score=1e-4)
ADAM = Tolerance(loss=1e-4, gradient_norm=1e-3, weights=1e-2, score=1e-4, adam=True)


@dataclass(frozen=True)
class Comparison:
    """The largest differences between two runs, and in words what is too large."""

    loss: float
    gradient_norm: float | None
    """None where DeepSpeed gives none."""
    weights: float
    tensor: str
    """The Hugging Face name of the tensor that differs most, against its tolerance."""
    score: float | None
    """None without validation data."""
    problems: tuple[str, ...]
    """One line each, the first step and the tensor among them; empty where the runs are equal."""

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return asdict(self)


def compare_runs(reference: Path, other: Path, tolerance: Tolerance) -> Comparison:
    """Compare two run folders: ``events.jsonl``, and the weights of every checkpoint."""
    expected, found = _events(reference, "step"), _events(other, "step")
    problems = []
    if len(found) != len(expected):
        problems.append(f"{len(found)} steps instead of {len(expected)}")
    pairs = list(zip(expected, found, strict=False))
    loss, problem = _largest(pairs, "loss", tolerance.loss, LEAST_LOSS)
    problems += problem
    norms = [pair for pair in pairs if all(step["gradient_norm"] is not None for step in pair)]
    least = 1e-3 * max((step["gradient_norm"] for step, _ in norms), default=1.0)
    norm, problem = _largest(norms, "gradient_norm", tolerance.gradient_norm, least)
    problems += problem
    walk = sum(step["learning_rate"] for step in expected)
    weights, tensor, problem = _compare_weights(reference, other, tolerance, walk)
    problems += problem
    score, problem = _compare_scores(_events(reference, "evaluation"), _events(other, "evaluation"), tolerance)
    return Comparison(loss, norm if norms else None, weights, tensor, score, (*problems, *problem))


def movement(run: Path, tolerance: Tolerance) -> float:
    """Return how far the weights moved between the first and the last checkpoint, in the unit of their tolerance.

    A proof is worth nothing where they hardly moved: then wrong gradients leave the weights equal as well.
    """
    first, *_, last = _checkpoints(run)
    walk = sum(step["learning_rate"] for step in _events(run, "step"))
    before, after = Weights(first), Weights(last)
    scale = 0.0 if tolerance.adam else after.typical_size()
    return max(
        float((new - old).abs().max()) / (walk if tolerance.adam else max(float(new.abs().max()), scale))
        for name in after.names
        for old, new in [(before.read(name), after.read(name))]
        if new.numel()
    )


def _events(run: Path, event: str) -> list[dict[str, Any]]:
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [found for found in map(json.loads, lines) if found["event"] == event]


def relative(expected: float, found: float, least: float) -> float:
    """Return the difference in parts of the expected value, which counts as at least so large; infinite for nan."""
    if math.isnan(expected) and math.isnan(found):
        return 0.0
    difference = abs(found - expected) / max(abs(expected), least)
    return difference if math.isfinite(difference) else math.inf


def _largest(
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], name: str, allowed: float, least: float
) -> tuple[float, list[str]]:
    """Return the largest relative difference of a number over the steps, and where it is first too large."""
    worst = 0.0
    problems: list[str] = []
    for expected, found in pairs:
        difference = relative(expected[name], found[name], least)
        worst = max(worst, difference)
        if difference > allowed and not problems:
            words = name.replace("_", " ")
            problems.append(
                f"step {expected['step']}: {words} {found[name]:.7g} instead of {expected[name]:.7g} "
                f"({difference:.1e} > {allowed:.0e})"
            )
    return worst, problems


# ── weights ─────────────────────────────────────────────────────────────────────────────────────────────


class Weights:
    """The weights of a checkpoint that train, by Hugging Face name; read one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file_of: dict[str, Path] = {}
        for path in sorted(folder.glob("weights-*.safetensors")):
            with safe_open(path, framework="pt") as file:
                self._file_of |= dict.fromkeys(file.keys(), path)
        self.names = sorted(self._file_of)

    def read(self, name: str) -> torch.Tensor:
        """Return one tensor as float64, in which differences of float32 numbers are exact."""
        with safe_open(self._file_of[name], framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor.double()

    def typical_size(self) -> float:
        """Return the root mean square of all weights: what a tensor of zeros is measured by."""
        squares = count = 0.0
        for name in self.names:
            tensor = self.read(name)
            squares, count = squares + float(tensor.square().sum()), count + tensor.numel()
        return math.sqrt(squares / max(count, 1))


def _checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("step-*"))


def _compare_weights(reference: Path, other: Path, tolerance: Tolerance, walk: float) -> tuple[float, str, list[str]]:
    """Return the largest difference over all checkpoints, its tensor, and what is wrong first."""
    worst, where = 0.0, ""
    problems: list[str] = []
    for folder in _checkpoints(reference):
        expected, found = Weights(folder), Weights(other / "checkpoints" / folder.name)
        step = int(folder.name.removeprefix("step-"))
        strange = sorted(set(expected.names) ^ set(found.names))
        if strange and not problems:
            what = "is missing" if strange[0] in expected.names else "is one too many"
            problems.append(f"step {step}: weight {strange[0]} {what} ({len(strange)} such)")
        differences = dict(_differences(expected, found, tolerance, walk))
        tensor = max(differences, key=differences.__getitem__, default="")
        if tensor and differences[tensor] >= worst:
            worst, where = differences[tensor], tensor
        if tensor and differences[tensor] > tolerance.weights and not problems:
            count = sum(value > tolerance.weights for value in differences.values())
            problems.append(
                f"step {step}: {count} of {len(differences)} weights differ, most of all {tensor} "
                f"({differences[tensor]:.1e} > {tolerance.weights:.0e})"
            )
    return worst, where, problems


def _differences(expected: Weights, found: Weights, tolerance: Tolerance, walk: float) -> Iterator[tuple[str, float]]:
    scale = 0.0 if tolerance.adam else expected.typical_size()
    first, *_, last = map(Weights, _checkpoints(expected.folder.parents[1]))
    for name in expected.names:
        if name not in found.names:
            continue
        one, two = expected.read(name), found.read(name)
        if one.shape != two.shape:
            yield name, math.inf
        elif not one.numel():
            yield name, 0.0
        elif tolerance.adam:
            yield name, adam_difference(one, two, last.read(name) != first.read(name), walk)
        else:
            worst = float((one - two).abs().max()) / max(float(one.abs().max()), scale, 1e-30)
            yield name, worst if math.isfinite(worst) else math.inf


def adam_difference(expected: torch.Tensor, found: torch.Tensor, trains: torch.Tensor, walk: float) -> float:
    """Return what 99 of 100 differences of a matrix's weights stay below, in parts of ``walk``.

    Args:
        expected: A tensor of the reference.
        found: The same of the other run.
        trains: Which of its weights move at all: the embeddings of words that do not occur say nothing.
        walk: The sum of the learning rates.

    Returns:
        The difference; for a vector, 0 as long as the outermost bound holds; infinite beyond that bound.

    """
    apart = (expected - found).abs() / max(walk, 1e-30)
    if not float(apart.max()) <= BOUND_OF_ADAM:
        return math.inf
    apart = apart[trains]
    if expected.ndim < 2 or not apart.numel():
        return 0.0
    return float(apart.kthvalue(max(1, math.ceil(AGREEING_SHARE * apart.numel()))).values)


# ── scores ──────────────────────────────────────────────────────────────────────────────────────────────


def _compare_scores(
    expected: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], tolerance: Tolerance
) -> tuple[float | None, list[str]]:
    """Compare the last validation of each run: its loss relatively, all other scores absolutely."""
    if not expected and not found:
        return None, []
    if len(expected) != len(found):
        return None, [f"{len(found)} validations instead of {len(expected)}"]
    before, after = expected[-1]["values"], found[-1]["values"]
    if before.keys() != after.keys():
        return None, [f"validation gives {', '.join(after)} instead of {', '.join(before)}"]
    worst = 0.0
    problems: list[str] = []
    for name, value in before.items():
        is_loss = name == "loss"
        allowed = tolerance.loss if is_loss else tolerance.score
        difference = relative(value, after[name], LEAST_LOSS if is_loss else max(1.0, abs(value) / 10))
        worst = max(worst, difference)
        if difference > allowed:
            problems.append(
                f"validation: {name} {after[name]:.7g} instead of {value:.7g} ({difference:.1e} > {allowed:.0e})"
            )
    return worst, problems[:1]
