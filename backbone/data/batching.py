"""Which features train together, and how they become tensors.

One optimizer step takes a global batch of examples. It is split into micro-batches of about equal token count, the
same number on every rank, none above the token budget. `collate` is the one place where padding happens.

Shapes: B batch, T tokens, L label size.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from polyhead.backbone.data.features import Array, FeatureSet, Ragged
from polyhead.registry import LabelField

BUCKET_BATCHES = 50
"""How many global batches are drawn together and sorted by length: less padding, still a random order."""
IGNORED_LABEL = -100

Group = tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """One micro-batch: flat tuples of tensors, inputs ``[B, T]``; what a pipeline engine takes too."""

    features: Group
    inputs: tuple[torch.Tensor, ...]
    labels: tuple[torch.Tensor, ...]
    tokens: int
    """Real tokens in it, padding not counted."""
    weight: float = 1.0
    """0 for a stand-in: a rank that has nothing left still takes part in the step, and counts for nothing."""

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on a device."""
        return Batch(
            self.features,
            tuple(tensor.to(device, non_blocking=True) for tensor in self.inputs),
            tuple(tensor.to(device, non_blocking=True) for tensor in self.labels),
            self.tokens,
            self.weight,
        )


@dataclass(frozen=True)
class Collator:
    """Pads features of one data set into batches."""

    features: FeatureSet
    input_names: tuple[str, ...]
    """The model's argument names in the order of ``Batch.inputs``, the same for every data set of a run."""
    pad_values: dict[str, int]
    """Fill value for each input name; 0 where it is not named."""
    fields: tuple[LabelField, ...]

    def collate(self, group: Group, *, with_labels: bool, weight: float = 1.0) -> Batch:
        """Return the batch of these features, padded on the right to the longest of them."""
        lengths = self.features.lengths[list(group)]
        inputs = tuple(
            torch.from_numpy(
                _pad(self.features.inputs[name], group, lengths.max(), self.pad_values.get(name, 0), np.int64)
            )
            for name in self.input_names
        )
        labels = tuple(self._labels(field, group, lengths.max()) for field in self.fields) if with_labels else ()
        return Batch(group, inputs, labels, int(lengths.sum()) if weight else 0, weight)

    def _labels(self, field: LabelField, group: Group, width: int) -> torch.Tensor:
        rows = self.features.labels[field.name]
        if field.shape == "tokens":
            return torch.from_numpy(_pad(rows, group, width, IGNORED_LABEL, rows.values.dtype))
        stacked = torch.from_numpy(np.stack([rows.row(index) for index in group]))
        return stacked[:, 0] if field.shape == "scalar" else stacked


def _pad(rows: Ragged, group: Group, width: int, fill: int, dtype: object) -> Array:
    padded: Array = np.full((len(group), width), fill, dtype=dtype)  # type: ignore[call-overload]
    for line, index in enumerate(group):
        row = rows.row(index)
        padded[line, : len(row)] = row
    return padded


def plan_epoch(lengths: Array, batch_size: int, *, seed: int, epoch: int) -> list[Group]:
    """Return the global batches of one epoch: a function of the seed and the epoch, so that a run can be resumed.

    Features are shuffled, sorted by length within buckets of 50 batches, and the batches shuffled again; the last
    batch may be smaller.
    """
    draw = np.random.default_rng((seed, epoch))
    order = draw.permutation(len(lengths))
    bucket = batch_size * BUCKET_BATCHES
    batches: list[Group] = []
    for start in range(0, len(order), bucket):
        part = order[start : start + bucket]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches.extend(tuple(part[at : at + batch_size].tolist()) for at in range(0, len(part), batch_size))
    return [batches[index] for index in draw.permutation(len(batches))]


def split_batch(group: Sequence[int], lengths: Array, *, ranks: int, max_tokens: int) -> list[list[Group]]:
    """Split a global batch into micro-batches: for each rank a list, all lists equally long.

    No micro-batch has more than ``max_tokens`` padded tokens, unless one feature alone has. Where there are fewer
    features than places, a group is empty: the rank takes part with a stand-in.
    """
    chunks = _even_groups(group, lengths, ranks, max_tokens)
    while len(chunks) % ranks and _halve_largest(chunks, lengths):
        pass
    while not chunks or len(chunks) % ranks:
        chunks.append(())
    chunks.sort(key=lambda chunk: -_padded(chunk, lengths))
    rounds = [chunks[start : start + ranks] for start in range(0, len(chunks), ranks)]
    parts: list[list[Group]] = [[] for _ in range(ranks)]
    work = [0] * ranks
    for row in rounds:  # whoever has least to do takes the largest of each round
        for rank, chunk in zip(sorted(range(ranks), key=work.__getitem__), row, strict=True):
            parts[rank].append(chunk)
            work[rank] += _padded(chunk, lengths)
    return parts


def _even_groups(group: Sequence[int], lengths: Array, ranks: int, max_tokens: int) -> list[Group]:
    """Group features under the smallest budget that needs no more groups than the real one: no small rest is left."""
    fewest = len(group_by_length(group, lengths, max_tokens))
    wanted = -(-fewest // ranks) * ranks
    budgets = range(1, max_tokens)
    at = bisect_left(budgets, True, key=lambda budget: len(group_by_length(group, lengths, budget)) <= wanted)
    return group_by_length(group, lengths, 1 + at)


def group_by_length(positions: Iterable[int], lengths: Array, max_tokens: int) -> list[Group]:
    """Group features, longest first, into as few groups as the budget of padded tokens allows."""
    ordered = sorted(positions, key=lambda position: (-lengths[position], position))
    groups: list[Group] = []
    start = 0
    while start < len(ordered):
        size = max(1, int(max_tokens // lengths[ordered[start]]))
        groups.append(tuple(ordered[start : start + size]))
        start += size
    return groups


def _halve_largest(chunks: list[Group], lengths: Array) -> bool:
    """Halve the group with the most padded tokens; False where every group holds one feature."""
    largest = max(range(len(chunks)), key=lambda index: (len(chunks[index]) > 1, _padded(chunks[index], lengths)))
    chunk = chunks[largest]
    if len(chunk) < 2:
        return False
    middle = _balance_point(chunk, lengths)
    chunks[largest : largest + 1] = [chunk[:middle], chunk[middle:]]
    return True


def _balance_point(chunk: Group, lengths: Array) -> int:
    """Return where to cut a group, longest first, so that both parts have about as many padded tokens."""
    sizes = range(1, len(chunk))
    return min(sizes, key=lambda size: abs(_padded(chunk[:size], lengths) - _padded(chunk[size:], lengths)))


def _padded(chunk: Group, lengths: Array) -> int:
    return len(chunk) * int(lengths[list(chunk)].max()) if chunk else 0
