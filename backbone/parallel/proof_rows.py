"""Which rows of a recipe's files a proof needs, and a reader that gives no others: the real data, not all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from polyhead.backbone.data.choosing import evenly
from polyhead.backbone.data.examples import ExampleReader, SkippedRow
from polyhead.backbone.options import build_options
from polyhead.configs.schema import DataConfig, RunConfig
from polyhead.registry import DataError, Example, Registry, RowError, SourceRow

MOST_ROWS = 50_000
"""Rows that are looked through; the chosen ones are spread evenly over them, for files may be sorted."""
VALIDATION_ROWS = 24

Chosen = Mapping[str, Sequence[int]]
"""Numbers of the wanted rows (from 0, in the order of reading) by the path of their file."""


class ChosenRows(Registry):
    """A registry that reads files as every other does, and hands on the chosen rows of some of them."""

    chosen: Chosen = MappingProxyType({})

    def read_rows(self, path: Path, format: str, encoding: str | None) -> Iterator[SourceRow]:  # noqa: A002
        """Return the chosen rows of a file, or all of one that nothing was chosen of."""
        rows = super().read_rows(path, format, encoding)
        wanted = self.chosen.get(str(path))
        if wanted is None:
            return rows
        numbers = frozenset(wanted)
        return (row for number, row in enumerate(islice(rows, max(numbers) + 1)) if number in numbers)


def choose_rows(config: RunConfig, registry: Registry, *, training_rows: int) -> dict[str, list[int]]:
    """Return the rows that a proof trains and validates on; without validation files, some of the former are held out.

    Rows that give no example are left out, and so are validation rows that do not fit what the chosen training rows
    teach, such as one of a label that none of them has.

    Raises:
        PolyheadError: A file cannot be read, or holds no usable row.

    """
    registry.choose(*config.plugins)
    task, data = registry.task(config.task), config.data
    options = build_options(task, config.options)

    def reader_of(data: DataConfig) -> ExampleReader[Any]:
        return ExampleReader(
            registry, task, True, data.columns, options=options, format=data.format, encoding=data.encoding
        )

    train = evenly(_usable(reader_of(data), data.train), training_rows)
    if not train:
        raise DataError(f"{', '.join(map(str, data.train))}: no usable row")
    chosen = train
    if data.validation:
        setup = task.prepare([example for *_, example in train], options)
        fitting = [row for row in _usable(reader_of(data), data.validation) if _fits(task, row[2], setup)]
        chosen = [*train, *evenly(fitting, VALIDATION_ROWS)]
    rows: dict[str, list[int]] = {}
    for path, number, _ in chosen:
        rows.setdefault(str(path), []).append(number)
    return rows


Row = tuple[Path, int, Example]


def _usable(reader: ExampleReader[Any], paths: Sequence[Path]) -> list[Row]:
    """Return the examples of some files, each with its file and the number of its row."""
    rows = (
        (path, number, item)
        for path in paths
        for number, item in enumerate(reader.walk([path]))
        if not isinstance(item, SkippedRow)
    )
    return list(islice(rows, MOST_ROWS))


def _fits(task: Any, example: Example, setup: Any) -> bool:
    try:
        task.check_example(example, setup)
    except RowError:
        return False
    return True
