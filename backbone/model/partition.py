"""Where a pipeline is cut: how many blocks each stage gets, by list, by parameters, or by the time that blocks take."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from polyhead.backbone.model.cutting import cut_stage, cuts_of, plan_cuts
from polyhead.backbone.model.parts import Cut, blocks_by_parameter, parts_of
from polyhead.backbone.model.stages import Stage, Tensors
from polyhead.backbone.model.weights import empty_blocks
from polyhead.registry import HeadSpec, RunError

Wanted = str | tuple[int, ...]
"""``auto``, ``parameters``, or how many blocks each stage has."""
Agree = Callable[[list[Cut]], list[Cut]]
ROWS, TOKENS, REPEATS = 4, 128, 5
"""The batch that is timed, and how often."""
WORTH_IT = 0.95
"""Blocks are shared out unevenly where the slowest stage then takes at most this share of the time."""


class Partition:
    """The cuts of one run, decided once, when the model is there (its weights may be on the meta device still)."""

    def __init__(
        self, wanted: Wanted, stages: int, stage: int, *, spec: HeadSpec, input_names: Sequence[str], agree: Agree
    ) -> None:
        """Take what decides.

        Args:
            wanted: What the config says.
            stages: How many stages there are.
            stage: Which of them this process holds.
            spec: The head.
            input_names: The model's inputs.
            agree: Gives every process what the first one has found (times differ between processes).

        """
        self._wanted, self._stages, self._stage = wanted, stages, stage
        self._spec, self._names, self._agree = spec, tuple(input_names), agree
        self._cuts: list[Cut] = []

    def __call__(self, model: Any, *, bare: bool) -> Cut:
        """Return what this process is to hold of a model; ``bare``: it is a trunk, for a head of the task's own."""
        return self.cuts(model, bare=bare)[self._stage]

    def cuts(self, model: Any, *, bare: bool) -> list[Cut]:
        """Return the cuts of all stages.

        Raises:
            PolyheadError: There are more stages than blocks.
            RunError: The list of blocks does not fit the model.

        """
        if not self._cuts:
            self._cuts = self._agree(self._decide(model, bare=bare))
        return self._cuts

    def _decide(self, model: Any, *, bare: bool) -> list[Cut]:
        count = parts_of(model)[-1].end_block
        even = plan_cuts(count, self._stages)
        if isinstance(self._wanted, tuple):
            return _listed(self._wanted, count, self._stages)
        if self._wanted == "parameters":
            costs = parameters_by_block(model)
        else:
            costs = seconds_by_block(model, self._spec, self._names, bare=bare)
        best = balanced(costs, self._stages)
        return best if slowest(best, costs) <= WORTH_IT * slowest(even, costs) else even


def _listed(sizes: tuple[int, ...], count: int, stages: int) -> list[Cut]:
    if len(sizes) != stages or sum(sizes) != count:
        raise RunError(
            f"partition: {list(sizes)} names {len(sizes)} stages and {sum(sizes)} blocks; "
            f"the layout has {stages} stages, the backbone {count} blocks"
        )
    return cuts_of(sizes)


def balanced(costs: Sequence[float], stages: int) -> list[Cut]:
    """Return the cuts whose most expensive stage costs least; of equals the one that is nearest to even."""
    count = len(costs)
    sums = [sum(costs[:end]) for end in range(count + 1)]
    best: list[list[tuple[float, float, int]]] = [[(sums[end], end**2, 0) for end in range(count + 1)]]
    for stage in range(1, stages):
        row = [(float("inf"), 0.0, 0)] * (count + 1)
        for end in range(stage + 1, count + 1):
            row[end] = min(
                (max(best[-1][start][0], sums[end] - sums[start]), best[-1][start][1] + (end - start) ** 2, start)
                for start in range(stage, end)
            )
        best.append(row)
    sizes: list[int] = []
    end = count
    for row in reversed(best):
        sizes.append(end - row[end][2])
        end = row[end][2]
    return cuts_of(tuple(reversed(sizes)))


def slowest(cuts: Sequence[Cut], costs: Sequence[float]) -> float:
    """Return the cost of the most expensive stage."""
    return max(sum(costs[cut.first_block : cut.end_block]) for cut in cuts)


def parameters_by_block(model: Any) -> list[float]:
    """Return how many parameters each block needs: its own, and embeddings or head at the ends."""
    parts = parts_of(model)
    needed = blocks_by_parameter(model, parts)
    costs = [0.0] * parts[-1].end_block
    for name, parameter in model.named_parameters():
        for block in needed[name]:
            costs[block] += parameter.numel()
    return costs


def seconds_by_block(model: Any, spec: HeadSpec, input_names: Sequence[str], *, bare: bool) -> list[float]:
    """Return the time of each block forward and backward, with embeddings at the beginning and head at the end.

    First, last and one inner block of each stack are run on random weights and texts; the inner ones count as equal.
    The whole model need not be there.
    """
    parts = parts_of(model)
    count = parts[-1].end_block
    wanted = sorted(
        {index for part in parts for index in (part.first_block, part.first_block + 1, part.end_block - 1)}
        & set(range(count))
    )
    found: dict[int, float] = {}
    # Other processes do not draw what this one does; "meta" may be where the model is being made.
    with torch.random.fork_rng(), torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        given = _random_inputs(model, input_names)
        for index in wanted:
            whole = Stage(copy.deepcopy(model), _Bare() if bare else None, spec, input_names)
            stage = _one_block(whole, Cut(index, index + 1, count, index == 0, index == count - 1))
            given, found[index] = _timed(stage, given)
    costs = []
    for part in parts:
        inner = found.get(part.first_block + 1, found[part.first_block])
        costs += [found.get(index, inner) for index in range(part.first_block, part.end_block)]
    return costs


class _Bare(nn.Module):
    """Stands for a small head of the task's own, which costs nothing beside blocks."""

    def forward(self, hidden_BTD: torch.Tensor, mask_BT: torch.Tensor) -> Tensors:
        return (hidden_BTD * mask_BT[..., None],)


def _one_block(whole: Stage, cut: Cut) -> Stage:
    """Cut a model down to a stage of one block with random weights."""
    empty_blocks(whole.model, cut)
    stage = cut_stage(whole, cut)
    stage.to_empty(device=torch.get_default_device())
    with torch.no_grad():
        for tensor in (*stage.parameters(), *(each for each in stage.buffers() if each.is_floating_point())):
            tensor.fill_(0.01)
        for tensor in (each for each in stage.buffers() if not each.is_floating_point()):
            tensor.zero_()
    return stage.train()


def _random_inputs(model: Any, input_names: Sequence[str]) -> Tensors:
    tokens = min(TOKENS, getattr(model.config, "max_position_embeddings", None) or TOKENS)
    draw = torch.Generator(torch.get_default_device()).manual_seed(0)
    ids = torch.randint(5, max(6, model.config.get_text_config().vocab_size), (ROWS, tokens), generator=draw)
    by_name = {
        "attention_mask": torch.ones_like(ids),
        "token_type_ids": torch.zeros_like(ids),
        "position_ids": torch.arange(tokens).expand(ROWS, tokens),
    }
    return tuple(by_name.get(name, ids) for name in input_names)


def _timed(stage: Stage, given: Tensors) -> tuple[Tensors, float]:
    """Return a stage's outputs, and the median time of forward and backward."""
    seconds = []
    outputs: Tensors = ()
    for _ in range(REPEATS):
        inputs = tuple(each.detach().requires_grad_() if each.is_floating_point() else each for each in given)
        started = time.perf_counter()
        outputs = stage(inputs)
        torch.autograd.backward([each.sum() for each in outputs if each.requires_grad])
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return tuple(each.detach() for each in outputs), statistics.median(seconds[1:])
