"""Read Arrow tables row by row: Parquet files, and folders written by ``datasets``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError

_ROWS_AT_ONCE = 1024


def read_parquet(path: Path) -> Iterator[SourceRow]:
    """Yield the rows of a Parquet file; raises `DataError` for another file, or one without rows."""
    import pyarrow as pa  # heavy: only who reads Parquet pays for it
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            twice = [name for name, count in Counter(schema.names).items() if count > 1]
            if twice:
                raise DataError(f"{path}: has the column '{twice[0]}' more than once")
            written_by_datasets = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
            features = written_by_datasets.get("info", {}).get("features", {})
            yield from _arrow_rows(path, file.iter_batches(batch_size=_ROWS_AT_ONCE), features)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: is no readable Parquet file: {_first_line(error)}") from error


def read_dataset_folder(path: Path) -> Iterator[SourceRow]:
    """Yield the rows that ``save_to_disk`` wrote; raises `DataError` for a folder of splits, or without rows."""
    splits = path / "dataset_dict.json"
    if splits.exists():
        names = json.loads(splits.read_text(encoding="utf-8"))["splits"]
        raise DataError(f"{path}: holds the splits {', '.join(names)}; point to one, such as {path / names[0]}")
    import datasets  # heavy, and it brings pandas: only who reads such a folder pays for it
    import pyarrow as pa

    try:
        dataset = datasets.load_from_disk(path)
        batches = dataset.with_format("arrow").iter(batch_size=_ROWS_AT_ONCE)
        yield from _arrow_rows(path, batches, dataset.features.to_dict())
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: is no readable datasets folder: {_first_line(error)}") from error


def _arrow_rows(path: Path, batches: Iterable[Any], features: Mapping[str, Any]) -> Iterator[SourceRow]:
    """Yield the rows of Arrow tables; class numbers become the names that ``datasets`` noted for them."""
    class_names = _class_names(features)
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            named = {column: _name_classes(row[column], names) for column, names in class_names.items()}
            yield SourceRow(number, row | named)
    if number == 0:
        raise DataError(f"{path}: has no rows")


def _class_names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    found = {}
    for column, feature in features.items():
        inner = feature[0] if isinstance(feature, list) else feature.get("feature", feature)
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
            found[column] = list(inner["names"])
    return found


def _name_classes(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_name_classes(item, names) for item in value]
    known = value is not None and 0 <= value < len(names)  # datasets writes -1 where the class is not known
    return names[value] if known else None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
