"""Features in columns: flat arrays with offsets, tokenised once and kept by content.

A `FeatureSet` holds every window of a data set as one flat array per field, so that it costs bytes instead of
objects and can be stored and read back whole.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from polyhead.registry import DataError, EncodeSettings, Example, Feature, LabelField, Task
from polyhead.registry import toolkit as registry_toolkit

ENCODE_AT_ONCE = 1_000
MOST_CACHE_BYTES = 2 * 1024**3
FORMAT = "2"

Array = np.ndarray[Any, np.dtype[Any]]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths in one flat array: row i is ``values[offsets[i]:offsets[i + 1]]``."""

    values: Array
    offsets: Array

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]], dtype: Any) -> Ragged:
        """Pack rows."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        flat = itertools.chain.from_iterable(rows)
        return cls(np.fromiter(flat, dtype=dtype, count=int(offsets[-1])), offsets)

    def row(self, index: int) -> Array:
        """Return one row, not copied."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True)
class FeatureSet:
    """All features of a data set."""

    example_of: Array
    """Position of each feature's example."""
    inputs: Mapping[str, Ragged]
    labels: Mapping[str, Ragged]
    """Empty where the examples bear no labels."""
    spans: Ragged
    """Character offsets, two numbers a token; empty rows for tasks that do not use them."""

    def __len__(self) -> int:
        """Return how many features there are."""
        return len(self.example_of)

    @functools.cached_property
    def token_counts(self) -> Array:
        """Return the number of tokens of each feature's ``input_ids``."""
        return np.diff(self.inputs["input_ids"].offsets)

    @functools.cached_property
    def lengths(self) -> Array:
        """Return the number of tokens that the model reads of each feature: those of its decoder come on top."""
        decoder = self.inputs.get("decoder_input_ids")
        return self.token_counts if decoder is None else self.token_counts + np.diff(decoder.offsets)

    @property
    def has_labels(self) -> bool:
        """Return whether every feature bears labels."""
        return bool(self.labels)

    def feature(self, index: int) -> Feature:
        """Return one feature as the record that a plugin gets to see."""
        return Feature(
            int(self.example_of[index]),
            {name: rows.row(index).tolist() for name, rows in self.inputs.items()},
            {name: rows.row(index).tolist() for name, rows in self.labels.items()},
            [(int(a), int(b)) for a, b in self.spans.row(index).reshape(-1, 2)],
        )

    def windows_of_examples(self, example_count: int) -> list[list[int]]:
        """Return, for each example, the positions of its features."""
        found: list[list[int]] = [[] for _ in range(example_count)]
        for position, example in enumerate(self.example_of.tolist()):
            found[example].append(position)
        return found


def encode_examples(
    task: Task[Any, Any],
    examples: Sequence[Example],
    settings: EncodeSettings,
    *,
    cache: bool,
    progress: Progress | None = None,
) -> FeatureSet:
    """Return the features of all examples, from the cache where the same were encoded before.

    Args:
        task: Gives ``encode`` and the label fields.
        examples: Validated examples.
        settings: Tokenizer, window and setup.
        cache: Whether to look into and write to the cache folder.
        progress: Called with the number of examples that each step encoded.

    Raises:
        DataError: The cache folder cannot be written.

    """
    path = cache_folder() / f"{_fingerprint(task, examples, settings)}.safetensors" if cache else None
    if path is not None and (stored := _read(path)) is not None:
        return stored
    features: list[Feature] = []
    for start in range(0, len(examples), ENCODE_AT_ONCE):
        chunk = examples[start : start + ENCODE_AT_ONCE]
        features.extend(_moved(feature, start) for feature in task.encode(chunk, settings))
        if progress is not None:
            progress(len(chunk))
    packed = pack_features(features, task.label_fields(settings.setup))
    if path is not None:
        _write(path, packed)
    return packed


def cache_folder() -> Path:
    """Return where encoded features are kept: ``$XDG_CACHE_HOME/polyhead/features``."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "polyhead" / "features"


def _moved(feature: Feature, start: int) -> Feature:
    return Feature(feature.example + start, feature.inputs, feature.labels, feature.offsets) if start else feature


def pack_features(features: Sequence[Feature], fields: Sequence[LabelField]) -> FeatureSet:
    """Return features in columns; labels only where every feature bears them."""
    input_names = list(features[0].inputs) if features else ["input_ids"]
    labelled = bool(features) and all(feature.labels for feature in features)
    return FeatureSet(
        np.array([feature.example for feature in features], dtype=np.int64),
        {name: Ragged.of([feature.inputs[name] for feature in features], np.int32) for name in input_names},
        {field.name: _pack_labels(features, field) for field in fields} if labelled else {},
        Ragged.of([[edge for span in feature.offsets for edge in span] for feature in features], np.int32),
    )


def _pack_labels(features: Sequence[Feature], field: LabelField) -> Ragged:
    dtype = np.int64 if field.dtype == "int" else np.float32
    values = [feature.labels[field.name] for feature in features]
    return Ragged.of([value if isinstance(value, Sequence) else [value] for value in values], dtype)


def _fingerprint(task: Task[Any, Any], examples: Sequence[Example], settings: EncodeSettings) -> str:
    """Name what the features depend on: texts, tokenizer, window, setup, and the code that encodes."""
    digest = encoding_digest(task, settings)
    for example in examples:
        digest.update(repr(example).encode())
    return str(digest.hexdigest())[:32]


def encoding_digest(task: Task[Any, Any], settings: EncodeSettings) -> Any:
    """Return a SHA-256 of all that features depend on but the texts, to be gone on with."""
    setup = settings.setup
    digest = hashlib.sha256()
    digest.update(
        json.dumps(
            {
                "format": FORMAT,
                "task": task.name,
                "window": [settings.max_length, settings.stride],
                "model": [settings.family, settings.decoder_start, settings.predicting],
                "setup": [setup.labels, repr(setup.options), dict(setup.facts)],
                "tokenizer": tokenizer_digest(settings.tokenizer),
            },
            default=str,
            sort_keys=True,
        ).encode()
    )
    for folder in (_folder_of(task.encode), Path(inspect.getfile(registry_toolkit)).parent):
        for source in sorted(folder.glob("*.py")):
            digest.update(source.read_bytes())
    return digest


def tokenizer_digest(tokenizer: Any) -> str:
    """Name what the tokens of a text depend on."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    for leftover in ("truncation", "padding"):  # of the last call, whatever it was for
        rules.pop(leftover, None)
    told = [rules, tokenizer.special_tokens_map, tokenizer.padding_side]
    return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()


def _folder_of(encode: Callable[..., object]) -> Path:
    """Return the folder of the code that encodes: a function's, a partial function's, a callable object's."""
    while isinstance(encode, functools.partial):
        encode = encode.func
    return Path(inspect.getfile(encode if inspect.isroutine(encode) else type(encode))).parent


def _write(path: Path, features: FeatureSet) -> None:
    arrays = {"example_of": features.example_of}
    for group, columns in (
        ("inputs", features.inputs),
        ("labels", features.labels),
        ("spans", {"": features.spans}),
    ):
        for name, rows in columns.items():
            arrays[f"{group}/{name}/values"] = rows.values
            arrays[f"{group}/{name}/offsets"] = rows.offsets
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        save_file(arrays, temporary)
        temporary.replace(path)
        _forget_oldest(path.parent)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path.parent}: features cannot be kept there: {error}; say data.cache=false, "
            "or set XDG_CACHE_HOME to a folder of yours"
        ) from error


def _read(path: Path) -> FeatureSet | None:
    if not path.is_file():
        return None
    try:
        arrays = load_file(path)
    except SafetensorError:  # torn by a crash: encode again
        return None
    groups: dict[str, dict[str, Ragged]] = {"inputs": {}, "labels": {}, "spans": {}}
    for key in arrays:
        if key.endswith("/values"):
            group, name, _ = key.split("/")
            groups[group][name] = Ragged(arrays[key], arrays[f"{group}/{name}/offsets"])
    return FeatureSet(arrays["example_of"], groups["inputs"], groups["labels"], groups["spans"][""])


def _forget_oldest(folder: Path) -> None:
    """Delete the oldest files until the cache is below its size limit."""
    files = sorted(folder.glob("*.safetensors"), key=lambda file: file.stat().st_mtime, reverse=True)
    kept = 0
    for file in files:
        kept += file.stat().st_size
        if kept > MOST_CACHE_BYTES:
            file.unlink(missing_ok=True)
