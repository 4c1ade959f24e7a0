from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polyhead.backbone.data.arrow_rows import read_dataset_folder, read_parquet
from polyhead.backbone.data.readers import format_of
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError


def rows(path: Path) -> list[SourceRow]:
    return list(read_dataset_folder(path) if path.is_dir() else read_parquet(path))


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def error_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        rows(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def parquet(path: Path, columns: dict[str, list[Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


def labelled_dataset() -> Any:
    import datasets

    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["负面", "正面"]),
            "tags": datasets.Sequence(datasets.ClassLabel(names=["x", "y"])),
        }
    )
    columns = {"text": ["好", "bad", "?"], "label": [1, 0, -1], "tags": [[1, 0], [], [0]]}
    return datasets.Dataset.from_dict(columns, features=features)


NAMED_ROWS = [
    SourceRow(1, {"text": "好", "label": "正面", "tags": ["y", "x"]}),
    SourceRow(2, {"text": "bad", "label": "负面", "tags": []}),
    SourceRow(3, {"text": "?", "label": None, "tags": ["x"]}),
]


@pytest.fixture
def _quiet_datasets() -> Iterator[None]:
    import datasets

    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def test_parquet_gives_typed_rows_numbered_from_one(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"text": ["好", None], "n": [1, 2], "tags": [["a"], []]})
    assert rows(path) == [
        SourceRow(1, {"text": "好", "n": 1, "tags": ["a"]}),
        SourceRow(2, {"text": None, "n": 2, "tags": []}),
    ]


def test_parquet_numbers_rows_over_batches(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"n": list(range(1, 3001))})
    assert [(row.line, row.row["n"]) for row in rows(path)] == [(n, n) for n in range(1, 3001)]


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more"])
def test_a_broken_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path / "a.parquet", content)
    assert error_of(path).startswith(f"{path}: is no readable Parquet file: ")


def test_a_parquet_file_without_rows_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"text": []})
    assert error_of(path) == f"{path}: has no rows"


@pytest.mark.usefixtures("_quiet_datasets")
def test_class_numbers_written_by_datasets_come_out_as_names(tmp_path: Path) -> None:
    dataset = labelled_dataset()
    dataset.save_to_disk(tmp_path / "folder")
    dataset.to_parquet(tmp_path / "a.parquet")
    assert format_of(tmp_path / "folder") == "datasets"
    assert rows(tmp_path / "folder") == NAMED_ROWS
    assert rows(tmp_path / "a.parquet") == NAMED_ROWS


@pytest.mark.usefixtures("_quiet_datasets")
def test_a_folder_of_splits_asks_for_one_of_them(tmp_path: Path) -> None:
    import datasets

    dataset = labelled_dataset()
    path = tmp_path / "folder"
    datasets.DatasetDict(train=dataset, test=dataset).save_to_disk(path)
    assert error_of(path) == f"{path}: holds the splits train, test; point to one, such as {path / 'train'}"
    assert rows(path / "train") == NAMED_ROWS


@pytest.mark.usefixtures("_quiet_datasets")
def test_a_datasets_folder_with_a_lost_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    labelled_dataset().save_to_disk(path)
    for data in path.glob("*.arrow"):
        data.unlink()
    assert error_of(path).startswith(f"{path}: is no readable datasets folder: ")


def test_a_parquet_file_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table([["a"], ["b"]], names=["文本", "文本"]), path)
    assert error_of(path) == f"{path}: has the column '文本' more than once"
