"""Look at a data file before training on it: unusable rows, labels, lengths, duplicates, script."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyhead.backbone.data.examples import ExampleReader, ProblemKind, RowSource, SkippedRow
from polyhead.backbone.data.readers import detect_encoding, format_of, is_text
from polyhead.registry.contracts import E_, Example, Task, TaskSetup

_NOT_TEXT = frozenset({"id", "label", "labels"})
_CHINESE = re.compile("[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
"""Han characters: the unified block, its extensions, compatibility forms, the zero of Chinese numbers."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the texts are, in characters (a pair of texts counts together)."""

    minimum: int
    median: float
    mean: float
    p95: int
    """Nineteen in twenty texts are no longer than this."""
    maximum: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is in a data file."""

    file: Path
    format: str
    encoding: str | None
    """None where the format has none, or a plugin reads it."""
    rows: int
    usable: int
    problems: tuple[SkippedRow, ...]
    """The first of them."""
    problem_counts: Mapping[ProblemKind, int]
    labels: Mapping[str, int]
    """How many examples bear each label, most frequent first."""
    unlabelled: int
    lengths: Lengths | None
    duplicates: int
    """Examples whose text stands earlier in the file."""
    conflicts: int
    """Texts that stand in the file with different labels."""
    chinese_share: float
    """Han characters among all that are not white space, 0 to 1."""

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            "file": str(self.file),
            "format": self.format,
            "encoding": self.encoding,
            "rows": self.rows,
            "usable": self.usable,
            "problems": [
                {"line": problem.line, "kind": problem.kind, "problem": problem.problem} for problem in self.problems
            ],
            "problem_counts": dict(self.problem_counts),
            "labels": dict(self.labels),
            "unlabelled": self.unlabelled,
            "lengths": dataclasses.asdict(self.lengths) if self.lengths else None,
            "duplicates": self.duplicates,
            "conflicts": self.conflicts,
            "chinese_share": self.chinese_share,
        }


def inspect_file(
    registry: RowSource,
    task: Task[E_, Any],
    path: Path,
    *,
    labels_required: bool = True,
    columns: Mapping[str, str] | None = None,
    options: Any = None,
    format: str | None = None,  # noqa: A002
    encoding: str | None = None,
    setup: TaskSetup | None = None,
    most_problems: int = 20,
) -> Inspection:
    """Read a whole file as `read_examples` would, count instead of keeping, and never stop at a bad row.

    ``most_problems``: how many are listed; all are counted. Raises `DataError` where the file as a whole
    cannot be read, or lacks a column.
    """
    file_format = format or format_of(path)
    if encoding is None and is_text(file_format) and path.is_file():
        encoding = detect_encoding(path)
    reader = ExampleReader(
        registry, task, labels_required, columns or {}, options, file_format, encoding=encoding, setup=setup
    )
    problems: list[SkippedRow] = []
    problem_counts: Counter[ProblemKind] = Counter()
    tally = _Tally()
    for item in reader.walk([path]):
        if not isinstance(item, SkippedRow):
            tally.add(item)
            continue
        problem_counts[item.kind] += 1
        if len(problems) < most_problems:
            problems.append(item)
    return Inspection(
        file=path,
        format=file_format,
        encoding=encoding,
        rows=len(tally.lengths) + problem_counts.total(),
        usable=len(tally.lengths),
        problems=tuple(problems),
        problem_counts=dict(problem_counts.most_common()),
        labels=dict(tally.labels.most_common()),
        unlabelled=tally.unlabelled,
        lengths=_lengths(tally.lengths),
        duplicates=len(tally.lengths) - len(tally.labels_of_text),
        conflicts=len(tally.conflicts),
        chinese_share=tally.chinese / tally.visible if tally.visible else 0.0,
    )


@dataclass
class _Tally:
    """What is counted over the examples; texts are kept as digests, so that a large file fits."""

    lengths: list[int] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    unlabelled: int = 0
    labels_of_text: dict[bytes, tuple[str, ...] | None] = field(default_factory=dict)
    conflicts: set[bytes] = field(default_factory=set)
    chinese: int = 0
    visible: int = 0

    def add(self, example: Example) -> None:
        texts = _texts(example)
        self.lengths.append(sum(len(text) for text in texts))
        for text in texts:
            self.chinese += len(_CHINESE.findall(text))
            self.visible += len("".join(text.split()))
        labels = _labels(example)
        if labels is None:
            self.unlabelled += 1
        else:
            self.labels.update(labels)
        digest = hashlib.blake2b("\0".join(texts).encode(), digest_size=16).digest()
        if self.labels_of_text.setdefault(digest, labels) != labels:
            self.conflicts.add(digest)


def _texts(example: Example) -> list[str]:
    """Return what an example says: every field of it that is a string, apart from its id and label."""
    if not dataclasses.is_dataclass(example):
        raise TypeError(f"an example must be a dataclass, not {type(example).__name__}")
    values = (getattr(example, each.name) for each in dataclasses.fields(example) if each.name not in _NOT_TEXT)
    return [value for value in values if isinstance(value, str)]


def _labels(example: Example) -> tuple[str, ...] | None:
    """Return the labels of an example in order of the alphabet, or None where it has none."""
    labels = getattr(example, "labels", None)
    return None if labels is None else tuple(sorted(str(label) for label in labels))


def _lengths(lengths: Sequence[int]) -> Lengths | None:
    if not lengths:
        return None
    ordered = sorted(lengths)
    return Lengths(
        minimum=ordered[0],
        median=statistics.median(ordered),
        mean=statistics.fmean(ordered),
        p95=ordered[math.ceil(0.95 * len(ordered)) - 1],
        maximum=ordered[-1],
    )
