"""Which features train together, and how they become tensors.

One optimizer step takes a global batch of examples. It is split into micro-batches of about equal token count, the
same number on every rank, none above the token budget. `collate` is the one place where padding happens.

Shapes: B batch, T tokens, L label size.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import overload

import numpy as np
import torch

from polyhead.backbone.data.features import Array, FeatureSet, Ragged, pack_features
from polyhead.registry import Feature, LabelField

BUCKET_BATCHES = 50
"""How many global batches are drawn together and sorted by length: less padding, still a random order."""
IGNORED_LABEL = -100
EVALUATION = (2**32, 0)
"""Stands for seed and epoch where nothing is trained on: no run has this seed."""

Group = tuple[int, ...]
Corrupt = Callable[[Feature, np.random.Generator], Feature]
"""What the model gets to see of a feature, with the labels that it has to restore."""


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
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Return the same batch in memory that a GPU can copy from while it computes."""
        return self._with(torch.Tensor.pin_memory)

    def _with(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        return replace(self, inputs=tuple(map(change, self.inputs)), labels=tuple(map(change, self.labels)))


@dataclass(frozen=True)
class Collator:
    """Makes tensors of some features of a data set: the one place where padding happens."""

    features: FeatureSet
    input_names: tuple[str, ...]
    """The model's argument names in the order of ``Batch.inputs``, the same for every data set of a run."""
    pad_values: dict[str, int]
    """Fill value for each input name; 0 where it is not named."""
    fields: tuple[LabelField, ...]
    corrupt: Corrupt | None = None
    """For objectives that restore what is taken from a feature: makes the labels, in training and in evaluation."""

    @property
    def has_labels(self) -> bool:
        """Return whether every feature bears labels, or gets them when it is corrupted."""
        return self.corrupt is not None or self.features.has_labels

    def collate(
        self, group: Group, *, with_labels: bool, weight: float = 1.0, draw: tuple[int, int] = EVALUATION
    ) -> Batch:
        """Return the batch of these features, one a row."""
        rows = [(index,) for index in group]
        return self.collate_rows(rows, with_labels=with_labels, weight=weight, draw=draw)

    def collate_rows(
        self,
        rows: Sequence[Group],
        *,
        with_labels: bool,
        weight: float = 1.0,
        draw: tuple[int, int] = EVALUATION,
    ) -> Batch:
        """Return a batch of rows, each of one feature or of several behind one another, padded on the right.

        ``draw`` is the seed and the epoch that features are corrupted by: a feature comes out the same in whatever
        batch and on whatever rank it stands.
        """
        group = tuple(index for row in rows for index in row)
        features = self.features
        if self.corrupt is not None:
            features = self._corrupted(group, draw)
            ends = np.cumsum([0, *map(len, rows)]).tolist()
            rows = [tuple(range(start, end)) for start, end in pairwise(ends)]
        inputs = tuple(
            torch.from_numpy(_pad(features.inputs[name], rows, self.pad_values.get(name, 0), np.int64))
            for name in self.input_names
        )
        labels = tuple(_labels(features, field, rows) for field in self.fields) if with_labels else ()
        tokens = int(features.lengths[[index for row in rows for index in row]].sum())
        return Batch(group, inputs, labels, tokens if weight else 0, weight)

    def _corrupted(self, group: Group, draw: tuple[int, int]) -> FeatureSet:
        """Return these features as the model gets to see them, by their places in the group."""
        assert self.corrupt is not None
        found = [self.corrupt(self.features.feature(at), np.random.default_rng((*draw, at))) for at in group]
        return pack_features(found, self.fields)


def labelled_places(labels_BT: torch.Tensor) -> torch.Tensor:
    """Return the positions in the flattened rows that bear a label: ``[N]``."""
    return (labels_BT.flatten() != IGNORED_LABEL).nonzero().flatten()


def _labels(features: FeatureSet, field: LabelField, rows: Sequence[Group]) -> torch.Tensor:
    values = features.labels[field.name]
    if field.shape in ("tokens", "targets"):
        return torch.from_numpy(_pad(values, rows, IGNORED_LABEL, values.values.dtype))
    stacked = torch.from_numpy(np.stack([values.row(index) for row in rows for index in row]))
    return stacked[:, 0] if field.shape == "scalar" else stacked


def _pad(values: Ragged, rows: Sequence[Group], fill: int, dtype: object) -> Array:
    joined = [np.concatenate([values.row(index) for index in row]) for row in rows]
    padded: Array = np.full((len(rows), max(map(len, joined))), fill, dtype=dtype)  # type: ignore[call-overload]
    for line, row in enumerate(joined):
        padded[line, : len(row)] = row
    return padded


@dataclass(frozen=True)
class Items:
    """What one step draws from a data set, and what of it may not be taken apart.

    An item is a feature, or all features of an example where the loss needs them side by side.
    """

    members: Sequence[Group]
    """The features of each item."""
    lengths: Array
    """Padded tokens of each item."""
    together: int = 1
    """How many items share a micro-batch."""
    row_width: int = 0
    """Most tokens in a row that is packed with several features; 0: each feature has a row of its own."""

    @classmethod
    def of(cls, features: FeatureSet, *, together: int | None, row_width: int = 0) -> Items:
        """Return the items of a data set.

        Args:
            features: All features.
            together: How many whole examples share a micro-batch; None: each feature is an item.
            row_width: Tokens that a row may be packed with; 0 packs none.

        """
        lengths = features.lengths
        if together is None:
            places = np.arange(len(features))
            singles = Batches(places, 1, places)
            return cls(singles, lengths, row_width=row_width)
        found: dict[int, list[int]] = {}
        for position, example in enumerate(features.example_of.tolist()):
            found.setdefault(example, []).append(position)
        members = [tuple(group) for group in found.values()]
        return cls(members, np.array([_padded(group, lengths) for group in members]), together)

    def units(self, items: Sequence[int]) -> list[Unit]:
        """Return the parts of a global batch that go whole into a micro-batch."""
        if self.row_width:
            rows = _fill_rows(items, self.lengths, self.row_width)
            return [Unit((row,), int(self.lengths[list(row)].sum())) for row in rows]
        chunks = [items[start : start + self.together] for start in range(0, len(items), self.together)]
        return [
            Unit(
                tuple((feature,) for item in chunk for feature in self.members[item]),
                int(self.lengths[list(chunk)].max()) * len(chunk),
            )
            for chunk in chunks
        ]


@dataclass(frozen=True)
class Unit:
    """Rows of features that stay in one micro-batch, and how many padded tokens they take."""

    rows: tuple[Group, ...]
    tokens: int


def _fill_rows(features: Sequence[int], lengths: Array, width: int) -> list[Group]:
    """Put features behind one another into as few rows as first-fit by falling length finds."""
    rows: list[list[int]] = []
    room: list[int] = []
    for feature in sorted(features, key=lambda index: (-lengths[index], index)):
        length = int(lengths[feature])
        place = next((index for index, left in enumerate(room) if left >= length), None)
        if place is None:
            rows.append([feature])
            room.append(width - length)
        else:
            rows[place].append(feature)
            room[place] -= length
    return [tuple(row) for row in rows]


def plan_epoch(lengths: Array, batch_size: int, *, seed: int, epoch: int) -> Sequence[Group]:
    """Return the global batches of one epoch: a function of the seed and the epoch, so that a run can be resumed.

    Features are shuffled, sorted by length within buckets of 50 batches, and the batches shuffled again; the last
    batch may be smaller. A few bytes a feature are kept: there may be hundreds of millions.
    """
    draw = np.random.default_rng((seed, epoch))
    order = draw.permutation(len(lengths))
    bucket = batch_size * BUCKET_BATCHES
    for start in range(0, len(order), bucket):
        part = order[start : start + bucket]
        order[start : start + bucket] = part[np.argsort(lengths[part], kind="stable")]
    starts = np.arange(0, len(order), batch_size)
    return Batches(order, batch_size, starts[draw.permutation(len(starts))])


@dataclass(frozen=True, eq=False)
class Batches(Sequence[Group]):
    """Groups of features that are made when they are asked for: ``size`` of ``order`` from each of ``starts`` on."""

    order: Array
    size: int
    starts: Array

    def __len__(self) -> int:
        """Return how many groups there are."""
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> Group: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Group]: ...

    def __getitem__(self, index: int | slice) -> Group | Sequence[Group]:
        """Return one group, or some of them."""
        if isinstance(index, slice):
            return Batches(self.order, self.size, self.starts[index])
        start = int(self.starts[index])
        return tuple(self.order[start : start + self.size].tolist())


def split_batch(group: Sequence[int], lengths: Array, *, ranks: int, max_tokens: int) -> list[list[Group]]:
    """Split a global batch into micro-batches: for each rank a list, all lists equally long.

    ``group`` names what cannot be split further (features, or the positions of units), ``lengths`` its padded tokens.
    No micro-batch has more than ``max_tokens`` padded tokens, unless one of them alone has. Where there are fewer
    than places, a group is empty: the rank takes part with a stand-in.
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
