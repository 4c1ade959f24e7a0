"""Features on disk: written piece by piece, read through memory maps, so that memory does not grow with the texts.

A store is a folder of flat files, one for the values and one for the offsets of each field, and ``store.json``. It is
written under another name first: a run that breaks off leaves nothing that another would take for a store.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import psutil

from polyhead.backbone.data.features import (
    ENCODE_AT_ONCE,
    Array,
    FeatureSet,
    Ragged,
    cache_folder,
    encoding_digest,
    pack_features,
)
from polyhead.registry import DataError, EncodeSettings, Example, Task

MOST_CHARACTERS = 2_000_000
"""How much text is encoded at once, unless one alone is longer."""
RECORD = "store.json"
FORMAT = 1
_SMALL_INPUTS = frozenset({"attention_mask", "token_type_ids", "position_ids", "decoder_attention_mask"})
_IDS = frozenset({"input_ids", "decoder_input_ids"})

Beat = Callable[[int], None]


@dataclass(frozen=True)
class Store:
    """The features of a corpus on disk."""

    features: FeatureSet
    examples: int
    """How many texts there are."""
    skipped: int
    """How many rows were left out."""
    digest: str
    """Names the texts, in order."""


@dataclass(frozen=True)
class Corpus:
    """Texts that can be read more than once, each time one by one."""

    walk: Callable[[], Iterator[Example]]
    skipped: Callable[[], int]
    """How many rows the last walk left out."""
    key: Any
    """Names what is read, and how; JSON."""


def store_path(task: Task[Any, Any], settings: EncodeSettings, corpus: Corpus) -> Path:
    """Return where the features of a corpus are kept: files, settings and code tell, not what the files hold."""
    digest = encoding_digest(task, settings)
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    digest.update(json.dumps([FORMAT, corpus.key], sort_keys=True, default=str).encode())
    return cache_folder().with_name("streams") / str(digest.hexdigest())[:32]


def open_store(path: Path) -> Store | None:
    """Return a store that was written before, or None."""
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    groups: dict[str, dict[str, Ragged]] = {"inputs": {}, "labels": {}}
    for name, (dtype, count) in record["arrays"].items():
        group, _, field = name.partition(".")
        offsets = _mapped(path / f"{name}.offsets", np.int64, record["features"] + 1)
        groups[group][field] = Ragged(_mapped(path / f"{name}.values", dtype, count), offsets)
    nothing = np.broadcast_to(np.int64(0), record["features"] + 1)
    features = FeatureSet(
        _mapped(path / "example_of", np.int64, record["features"]),
        groups["inputs"],
        groups["labels"],
        Ragged(np.zeros(0, dtype=np.int32), nothing),
    )
    return Store(features, record["examples"], record["skipped"], record["digest"])


def write_store(path: Path, task: Task[Any, Any], settings: EncodeSettings, corpus: Corpus, beat: Beat) -> None:
    """Read a corpus once and write its features; ``beat`` is told after each piece how many texts are done.

    Raises:
        DataError: A row makes no sense, there is no text, or the folder cannot be written.

    """
    draft = path.with_name(f".writing-{path.name}-{os.getpid()}")
    try:
        _forget_broken(path.parent)
        draft.mkdir(parents=True)
        with _Writer(draft, task, settings) as writer:
            for chunk in _chunks(corpus.walk()):
                writer.add(chunk)
                beat(writer.examples)
            writer.finish(corpus.skipped())
        if not path.exists():  # another run may have been faster
            draft.rename(path)
    except OSError as error:
        raise DataError(
            f"{path.parent}: the tokens cannot be kept there: {error}; set XDG_CACHE_HOME to a folder with more room"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _mapped(path: Path, dtype: Any, count: int) -> Array:
    if count == 0:
        return np.zeros(0, dtype=dtype)  # an empty file cannot be mapped
    return np.memmap(path, dtype=dtype, mode="r", shape=(count,)).view(np.ndarray)  # slicing a memmap itself is slow


def _forget_broken(folder: Path) -> None:
    """Delete what processes that are gone have not written to the end."""
    for draft in folder.glob(".writing-*"):
        if not psutil.pid_exists(int(draft.name.rpartition("-")[2])):
            shutil.rmtree(draft, ignore_errors=True)


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    chunk: list[Example] = []
    characters = 0
    for example in examples:
        chunk.append(example)
        characters += len(repr(example))
        if len(chunk) == ENCODE_AT_ONCE or characters >= MOST_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


@dataclass
class _Column:
    """The two files of one field."""

    values: BinaryIO
    offsets: BinaryIO
    dtype: str
    count: int = 0

    def add(self, rows: Ragged) -> None:
        rows.values.astype(self.dtype).tofile(self.values)
        (rows.offsets[1:] + self.count).astype(np.int64).tofile(self.offsets)
        self.count += len(rows.values)


class _Writer:
    """Appends features to the files of a store."""

    def __init__(self, folder: Path, task: Task[Any, Any], settings: EncodeSettings) -> None:
        self._folder, self._task, self._settings = folder, task, settings
        self._files = ExitStack()
        self._columns: dict[str, _Column] = {}
        self._digest = hashlib.sha256()
        self.examples = self.features = 0

    def __enter__(self) -> Self:
        self._example_of = self._open("example_of")
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, examples: Sequence[Example]) -> None:
        """Encode some examples and append their features."""
        fields = self._task.label_fields(self._settings.setup)
        found = pack_features(self._task.encode(examples, self._settings), fields)
        for example in examples:
            self._digest.update(repr(example).encode("utf-8", "surrogatepass"))
        if len(found):
            (found.example_of + self.examples).tofile(self._example_of)
            for group, columns in (("inputs", found.inputs), ("labels", found.labels)):
                for name, rows in columns.items():
                    self._column(group, name, rows).add(rows)
        self.examples += len(examples)
        self.features += len(found)

    def finish(self, skipped: int) -> None:
        """Write what the files hold, when all are on disk."""
        if not self.features:
            raise DataError("data.train: no text gives a token to train on")
        for file in (
            self._example_of,
            *(f for column in self._columns.values() for f in (column.values, column.offsets)),
        ):
            file.flush()
            os.fsync(file.fileno())
        record = {
            "arrays": {name: [column.dtype, column.count] for name, column in self._columns.items()},
            "features": self.features,
            "examples": self.examples,
            "skipped": skipped,
            "digest": self._digest.hexdigest(),
        }
        (self._folder / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")

    def _column(self, group: str, name: str, rows: Ragged) -> _Column:
        key = f"{group}.{name}"
        if key not in self._columns:
            dtype = rows.values.dtype.name if group == "labels" else self._dtype(name)
            column = _Column(self._open(f"{key}.values"), self._open(f"{key}.offsets"), dtype)
            np.zeros(1, dtype=np.int64).tofile(column.offsets)
            self._columns[key] = column
        return self._columns[key]

    def _dtype(self, name: str) -> str:
        """Return the smallest kind of number that holds an input."""
        if name in _IDS:
            return "uint16" if len(self._settings.tokenizer) <= 1 << 16 else "int32"
        return "uint16" if name in _SMALL_INPUTS and self._settings.max_length <= 1 << 16 else "int32"

    def _open(self, name: str) -> BinaryIO:
        return self._files.enter_context((self._folder / name).open("wb"))
