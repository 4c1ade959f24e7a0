"""How many bytes one part of a model takes: its parameters, and what forward and backward keep, without any weights.

The model stands on the meta device. Its real forward and backward run on tensors that have shapes and no content
(`FakeTensorMode`), so that what torch saves for the backward pass, and what comes and goes meanwhile, is counted as the
kernels of this device would do it, not estimated by a formula for an architecture.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from polyhead.backbone.model.stages import Stage, Tensors

WIDE = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class Parameters:
    """How many numbers the parameters of a part of a model hold."""

    blocks: int
    embeddings: int
    head: int
    trained: int
    """Those of all three that train."""
    largest: int
    """Of the largest single parameter that trains."""
    small: int
    """In parameters that train and that ZeRO 3 leaves whole."""
    largest_block: int
    """In the block that has most."""
    buffer_bytes: int

    @property
    def all(self) -> int:
        """Return how many numbers there are."""
        return self.blocks + self.embeddings + self.head


@dataclass(frozen=True)
class Activations:
    """What one micro-batch takes on its way through a part of a model, in bytes."""

    blocks: int
    """Saved for the backward pass inside the blocks."""
    embeddings: int
    """Saved before the first of them."""
    head: int
    """Saved behind the last of them: logits and loss, mostly."""
    peak: int
    """Most that is alive at once in forward and backward, gradients of parameters left out."""
    peak_with_gradients: int
    """The same with gradients of parameters, which come while activations go."""
    travelling: int
    """What goes to the next part of a pipeline."""

    @property
    def saved(self) -> int:
        """Return all that waits for the backward pass."""
        return self.blocks + self.embeddings + self.head


def count_parameters(stage: Stage, persistent: int) -> Parameters:
    """Count a part's parameters, those that are shared inside it once; ``persistent``: what ZeRO 3 leaves whole."""
    places = _places(stage)
    sizes = {"blocks": 0, "embeddings": 0, "head": 0}
    per_block: dict[int, int] = {}
    trained, seen = [], set[int]()
    for name, parameter in stage.named_parameters():
        if id(parameter) in seen:
            continue
        seen.add(id(parameter))
        place, number = places(name)
        sizes[place] += parameter.numel()
        if number is not None:
            per_block[number] = per_block.get(number, 0) + parameter.numel()
        if parameter.requires_grad:
            trained.append(parameter.numel())
    return Parameters(
        **sizes,
        trained=sum(trained),
        largest=max(trained, default=0),
        small=sum(size for size in trained if size < persistent),
        largest_block=max(per_block.values(), default=0),
        buffer_bytes=sum(buffer.nbytes for buffer in stage.buffers()),
    )


Place = tuple[str, int | None]


def _places(stage: Stage) -> Callable[[str], Place]:
    """Return what tells of a parameter's name whether it is in a block (and in which), before them or behind."""
    lists = [f"model.{path}." for path, _ in _block_lists(stage)]
    embeddings = {id(parameter) for parameter in _embedding_parameters(stage)}
    by_name = dict(stage.named_parameters())

    def place(name: str) -> Place:
        for index, prefix in enumerate(lists):
            if name.startswith(prefix):
                return "blocks", index * 10_000 + int(name.removeprefix(prefix).split(".", 1)[0])
        return ("embeddings", None) if id(by_name[name]) in embeddings else ("head", None)

    return place


def _embedding_parameters(stage: Stage) -> Iterator[torch.nn.Parameter]:
    for module in stage.modules():
        if isinstance(module, torch.nn.Embedding):
            yield from module.parameters(recurse=False)


def _block_lists(stage: Stage) -> list[tuple[str, torch.nn.ModuleList]]:
    """Return the outermost lists of modules of a model: its stacks of blocks, whatever the architecture."""
    found: list[tuple[str, torch.nn.ModuleList]] = []
    for path, module in stage.model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer, _ in found)
        if isinstance(module, torch.nn.ModuleList) and len(module) and not inside:
            found.append((path, module))
    return found


def count_activations(
    stage: Stage, inputs: Tensors, precision: torch.dtype, places_N: torch.Tensor | None = None
) -> tuple[Activations, Tensors]:
    """Run a part of a model forward and backward on tensors without content.

    Args:
        stage: The part, on the meta device; it is used up.
        inputs: One micro-batch: real tensors of ids, or what the part before gave.
        precision: What the model computes in.
        places_N: Where outputs are computed; everywhere, if left out.

    Returns:
        The bytes, and what the part hands on (on the meta device), for the part behind it.

    """
    stage.to(precision).train()
    places = _Saved()
    with FakeTensorMode(allow_non_fake_inputs=True):
        stage.to_empty(device="cuda" if torch.cuda.is_available() else "cpu")
        given = tuple(_without_content(each, precision) for each in inputs)
        there = [*stage.parameters(), *stage.buffers(), *given]
        places.ignore(there)
        with (
            _Traffic(there) as traffic,
            places.watching(stage),
            torch.autograd.graph.saved_tensors_hooks(places.add, _same),
        ):
            with nullcontext() if places_N is None else stage.writing_at(places_N):
                outputs = stage(given)
            travelling = sum(each.nbytes for each in outputs)
            targets = _loss_of(outputs, stage)
            places.now = "head"
            torch.autograd.backward(targets)
        gradients = {_key(each.grad) for each in stage.parameters() if each.grad is not None}
        saved = places.bytes
        handed_on = tuple(torch.empty_like(each, device="meta") for each in outputs)
    return (
        Activations(
            **saved,
            peak=traffic.peak(without=gradients),
            peak_with_gradients=traffic.peak(without=set()),
            travelling=0 if stage.is_last else travelling,
        ),
        handed_on,
    )


def _without_content(tensor: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
    dtype = precision if tensor.is_floating_point() else tensor.dtype
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.empty(tensor.shape, dtype=dtype, device=device, requires_grad=tensor.is_floating_point())


def _loss_of(outputs: Tensors, stage: Stage) -> list[torch.Tensor]:
    """Return what the backward pass starts from: a cross-entropy over each output's last dimension, or a sum."""
    floats = [each for each in outputs if each.is_floating_point() and each.requires_grad]
    if not stage.is_last:
        return [each.sum() for each in floats]
    losses = []
    for each in floats:
        rows = each.float().flatten(0, -2) if each.ndim > 1 else each.float()[None]
        losses.append(functional.cross_entropy(rows, torch.zeros(len(rows), dtype=torch.long, device=rows.device)))
    return [torch.stack(losses).sum()]


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _key(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the one name of a storage that has no address


class _Saved:
    """Adds up what is saved for the backward pass, each storage once, by where the model was meanwhile."""

    def __init__(self) -> None:
        self.bytes = {"blocks": 0, "embeddings": 0, "head": 0}
        self.now = "embeddings"
        self._seen: set[int] = set()
        self._kept: list[torch.Tensor] = []
        """Keeps what was seen alive, or its name could be given to another one."""

    def ignore(self, tensors: list[torch.Tensor]) -> None:
        """Leave out what is there anyhow: parameters, buffers, inputs."""
        self._kept += tensors
        self._seen |= {_key(each) for each in tensors}

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        """Count a tensor that torch saves."""
        if _key(tensor) not in self._seen:
            self._seen.add(_key(tensor))
            self.bytes[self.now] += tensor.untyped_storage().nbytes()
        return tensor

    @contextmanager
    def watching(self, stage: Stage) -> Iterator[None]:
        """Follow where the forward pass is."""
        hooks = []
        for _, blocks in _block_lists(stage):
            for block in blocks:
                hooks.append(block.register_forward_pre_hook(lambda *_: self._enter("blocks")))
                hooks.append(block.register_forward_hook(lambda *_: self._enter("head")))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, place: str) -> None:
        self.now = place


@dataclass(frozen=True, slots=True)
class _Event:
    storage: int
    change: int


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down when storages come and go; those of some tensors have been there before."""

    def __init__(self, there: list[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._events: list[_Event] = []
        self._alive = {_key(each): 0 for each in there}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor):
                self._meet(each)
        return result

    def _meet(self, tensor: torch.Tensor) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        if key in self._alive:
            return
        self._alive[key] = storage.nbytes()
        self._events.append(_Event(key, storage.nbytes()))
        weakref.finalize(storage, self._leave, key).atexit = False

    def _leave(self, key: int) -> None:
        self._events.append(_Event(key, -self._alive.pop(key)))

    def peak(self, *, without: set[int]) -> int:
        """Return the most bytes that were alive at once, storages that end as one of some left out."""
        last = {event.storage: number for number, event in enumerate(self._events) if event.change > 0}
        alive = most = 0
        left_out = set[int]()
        for number, event in enumerate(self._events):
            if event.change > 0 and event.storage in without and last[event.storage] == number:
                left_out.add(event.storage)
            elif event.storage not in left_out or event.change > 0:
                alive += event.change
                most = max(most, alive)
        return most
