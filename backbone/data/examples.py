"""Make typed examples of the rows of files: column mapping, required columns, ids, the task's own checks.

Every row is checked. What is wrong with the file as a whole (a missing column, no row at all) is always a
`DataError`; what is wrong with one row either stops (``on_error="stop"``) or leaves that row out and says so.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol

from polyhead.backbone.data.readers import format_of, stem_of
from polyhead.registry.contracts import E_, Column, Row, SourceRow, Task, TaskSetup
from polyhead.registry.errors import DataError, RowError
from polyhead.registry.names import available, did_you_mean

OnError = Literal["stop", "skip"]
ProblemKind = Literal["unreadable row", "missing value", "duplicate id", "invalid value", "does not fit the model"]
ID = "id"
"""The column that names a row. Every task has it; a file without it gets ``<file stem>:<line>``."""


_ABSENT = object()


class RowSource(Protocol):
    """Where rows come from: the plugin registry."""

    def read_rows(self, path: Path, format: str, encoding: str | None) -> Iterable[SourceRow]:  # noqa: A002
        """Return the rows of a file; raises `DataError` where the file as a whole cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """One row that gives no example, and why."""

    file: Path
    line: int
    problem: str
    kind: ProblemKind

    @property
    def message(self) -> str:
        """Return file, line and problem in one line."""
        return f"{self.file}, line {self.line}: {self.problem}"


@dataclass(frozen=True, slots=True)
class ExampleSet(Generic[E_]):
    """The examples of some files, in order, and the rows that were left out."""

    examples: tuple[E_, ...]
    skipped: tuple[SkippedRow, ...]
    files: tuple[Path, ...]


@dataclass(frozen=True)
class ExampleReader(Generic[E_]):
    """What is asked of the rows of some files; `walk` makes examples of them.

    ``columns`` maps a task's column (or ``id``) to its name in the file; ``paragraph.text`` is the field ``text`` of
    the column ``paragraph`` where no column has that name. With ``labels_required`` the columns
    that are required for training must be there. With ``setup`` each example must also fit that model, so
    leave it out where labels are of no interest. ``format`` and ``encoding`` None: told by each file. Raises
    `DataError` for a mapping of a column that the task does not have.
    """

    registry: RowSource
    task: Task[E_, Any]
    labels_required: bool
    columns: Mapping[str, str] = field(default_factory=dict)
    options: Any = None
    format: str | None = None
    encoding: str | None = None
    setup: TaskSetup | None = None
    check_ids: bool = True
    """Whether ids must differ, which takes a memory of them all."""

    def __post_init__(self) -> None:
        known = sorted({ID, *(column.name for column in self.task.columns)})
        for name in self.columns:
            if name not in known:
                raise DataError(
                    f"data.columns.{name}: task '{self.task.name}' has no column '{name}'."
                    f"{did_you_mean(name, known)} {available(known)}"
                )

    def walk(self, paths: Sequence[Path]) -> Iterator[E_ | SkippedRow]:
        """Yield an example, or why there is none, for each row of each file, in order.

        Raises `DataError` for a file that cannot be read, lacks a column, or is given twice.
        """
        stems = [stem_of(path) for path in paths]
        seen: dict[str, tuple[Path, int]] = {}
        for number, path in enumerate(paths):
            if path in paths[:number]:
                raise DataError(f"{path}: is given twice")
            prefix = stems[number] if stems.count(stems[number]) == 1 else str(path)
            rows = self.registry.read_rows(path, self.format or format_of(path), self.encoding)
            yield from self._walk_file(path, rows, prefix, seen, several=len(paths) > 1)

    def _walk_file(
        self,
        path: Path,
        rows: Iterable[SourceRow],
        prefix: str,
        seen: dict[str, tuple[Path, int]],
        *,
        several: bool,
    ) -> Iterator[E_ | SkippedRow]:
        columns: _FileColumns | None = None
        for source in rows:
            if source.problem is not None:
                yield SkippedRow(path, source.line, source.problem, "unreadable row")
                continue
            if columns is None:  # the first readable row tells which columns the file has
                columns = self._columns_of_file(path, source.row)
            # ids made of file and line cannot clash inside one file: a long one needs no memory of them
            remember = seen if self.check_ids and (several or columns.has_ids) else None
            yield self._example(path, source, columns, prefix, remember)

    def _columns_of_file(self, path: Path, found: Row) -> _FileColumns:
        names, missing = {}, {}
        for column in (*self.task.columns, Column(ID, "", required="never")):
            name = names[column.name] = self.columns.get(column.name, column.name)
            if _value_of(found, name) is _ABSENT and self._must_exist(column):
                missing[column.name] = name
        if missing:
            raise _missing_columns(path, missing, found)
        required = [column.name for column in self.task.columns if self._is_required(column)]
        own = {ID, *(column.name for column in self.task.columns)}
        return _FileColumns(
            names=names,
            required=tuple(required) if _value_of(found, names[ID]) is _ABSENT else (*required, ID),
            taken=frozenset(own.union(names.values())),
        )

    def _must_exist(self, column: Column) -> bool:
        if self._is_required(column):
            return True
        only_for_training = column.required == "training" or column.name == ID
        return column.name in self.columns and (self.labels_required or not only_for_training)

    def _is_required(self, column: Column) -> bool:
        return column.required == "always" or (column.required == "training" and self.labels_required)

    def _example(
        self,
        path: Path,
        source: SourceRow,
        columns: _FileColumns,
        prefix: str,
        seen: dict[str, tuple[Path, int]] | None,
    ) -> E_ | SkippedRow:
        row = columns.renamed(source.row)
        problem = columns.missing_value(row, source.row)
        if problem is not None:
            return SkippedRow(path, source.line, problem, "missing value")
        id_ = str(row[ID]) if columns.has_ids else f"{prefix}:{source.line}"
        if seen is not None:
            if id_ in seen:
                problem = _duplicate_id(id_, path, seen[id_], columns.names.get(ID, ID))
                return SkippedRow(path, source.line, problem, "duplicate id")
            seen[id_] = (path, source.line)
        kind: ProblemKind = "invalid value"
        try:
            example = self.task.to_example(row, id_, self.options)
            if self.setup is not None:
                kind = "does not fit the model"
                self.task.check_example(example, self.setup)
        except RowError as error:
            return SkippedRow(path, source.line, columns.in_words_of_the_file(error), kind)
        return example


@dataclass(frozen=True, slots=True)
class _FileColumns:
    """How the columns of one file answer to those of the task."""

    names: Mapping[str, str]
    """The name in the file of each column of the task; an optional one may first appear in a later row."""
    required: tuple[str, ...]
    """The task's columns, and ``id`` where the file has it, that no row may lack."""
    taken: frozenset[str]
    """Names that mean a column of the task, here or in the file; all others are passed on as they are."""

    @property
    def has_ids(self) -> bool:
        """Whether the rows bear ids of their own."""
        return ID in self.required

    def renamed(self, row: Row) -> Row:
        """Return the row under the task's names, without the missing values of its columns."""
        renamed = {name: value for name, value in row.items() if name not in self.taken}
        for name, name_in_file in self.names.items():
            value = _value_of(row, name_in_file)
            if not is_missing(value):
                renamed[name] = value
        return renamed

    def missing_value(self, renamed: Row, row: Row) -> str | None:
        """Return the problem with the first required column that this row lacks."""
        for name in self.required:
            if name not in renamed:
                name_in_file = self.names[name]
                there = _value_of(row, name_in_file) is not _ABSENT
                return f"column '{name_in_file}': {'is empty' if there else 'is missing'}"
        return None

    def in_words_of_the_file(self, error: RowError) -> str:
        """Return the problem with the column's name as it stands in the file."""
        if error.column is None:
            return error.problem
        return f"column '{self.names.get(error.column, error.column)}': {error.problem}"


def iterate_examples(
    registry: RowSource,
    task: Task[E_, Any],
    paths: Sequence[Path],
    *,
    labels_required: bool,
    columns: Mapping[str, str] | None = None,
    options: Any = None,
    format: str | None = None,  # noqa: A002
    encoding: str | None = None,
    on_error: OnError = "stop",
    setup: TaskSetup | None = None,
    check_ids: bool = True,
    unique: bool = False,
) -> Iterator[E_ | SkippedRow]:
    """Yield the examples of some files one by one, and the rows that were left out where they stood.

    The arguments are those of `ExampleReader`; ``unique`` leaves out, without a word, examples that came before under
    another id. Raises `DataError` for a file that cannot be read or lacks a column, with ``on_error="stop"`` at the
    first bad row, and at the end if there was no example at all.
    """
    reader = ExampleReader(
        registry,
        task,
        labels_required,
        columns or {},
        options,
        format,
        encoding=encoding,
        setup=setup,
        check_ids=check_ids,
    )
    usable = left_out = 0
    first: SkippedRow | None = None
    found = reader.walk(paths)
    if unique:
        from polyhead.backbone.data.duplicates import without_duplicates  # numpy: only who asks for it pays for it

        found = without_duplicates(found)
    for item in found:
        if not isinstance(item, SkippedRow):
            usable += 1
        elif on_error == "stop":
            raise DataError(f"{item.message} (data.on_error=skip leaves such rows out)")
        else:
            left_out += 1
            first = first or item
        yield item
    if usable == 0:
        files = ", ".join(str(path) for path in paths)
        what = f"all {left_out} rows were left out; the first: {first.message}" if first else "there are no rows"
        raise DataError(f"{files}: no usable row: {what}")


def read_examples(
    registry: RowSource,
    task: Task[E_, Any],
    paths: Sequence[Path],
    *,
    labels_required: bool,
    columns: Mapping[str, str] | None = None,
    options: Any = None,
    format: str | None = None,  # noqa: A002
    encoding: str | None = None,
    on_error: OnError = "stop",
    setup: TaskSetup | None = None,
    unique: bool = False,
) -> ExampleSet[E_]:
    """Return all examples of some files and the rows left out; arguments and errors as `iterate_examples`."""
    examples: list[E_] = []
    skipped: list[SkippedRow] = []
    for item in iterate_examples(
        registry,
        task,
        paths,
        labels_required=labels_required,
        columns=columns,
        options=options,
        format=format,
        encoding=encoding,
        on_error=on_error,
        setup=setup,
        unique=unique,
    ):
        if isinstance(item, SkippedRow):
            skipped.append(item)
        else:
            examples.append(item)
    return ExampleSet(tuple(examples), tuple(skipped), tuple(paths))


def _missing_columns(path: Path, missing: Mapping[str, str], found: Collection[str]) -> DataError:
    names = ", ".join(f"'{name}'" for name in missing.values())
    what = f"column {names} is missing" if len(missing) == 1 else f"columns {names} are missing"
    near = next((near for name in missing.values() if (near := did_you_mean(name, found))), "")
    columns = ", ".join(f"'{name}'" for name in found) or "none"
    hints = " ".join(f"data.columns.{canonical}=NAME" for canonical in missing)
    return DataError(f"{path}: {what}.{near} Columns found: {columns}. Say which one to use: {hints}")


def _value_of(row: Row, name: str) -> object:
    """Return the value of a column, or `_ABSENT`; ``paragraph.text`` may also stand for a field inside a column."""
    if name in row:
        return row[name]
    value: object = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _ABSENT
        value = value[part]
    return value


def is_missing(value: object) -> bool:
    """Whether a value stands for none: absent, null, blank, or not a number."""
    if value is _ABSENT:
        return True
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, float) and math.isnan(value))


def _duplicate_id(id_: str, path: Path, first: tuple[Path, int], column: str) -> str:
    where = f"line {first[1]}" if first[0] == path else f"{first[0]}, line {first[1]}"
    return f"column '{column}': '{id_}' is already the id of {where}"
