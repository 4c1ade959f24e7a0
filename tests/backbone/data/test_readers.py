from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from polyhead.backbone.data import readers
from polyhead.backbone.data.readers import FORMATS, SUFFIXES, format_of, polyhead_read_rows
from polyhead.registry import Registry
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError

AVAILABLE = "Available: jsonl, json, csv, tsv, parquet, datasets."
CHINESE = "text,label\n这部电影很好看，值得再看。,正面\n太无聊了,负面\n"


def rows(path: Path, format: str | None = None, encoding: str | None = None) -> list[SourceRow]:  # noqa: A002
    return list(polyhead_read_rows(path, format or format_of(path), encoding))


def written(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def error_of(path: Path, format: str | None = None, encoding: str | None = None) -> str:  # noqa: A002
    with pytest.raises(DataError) as caught:
        rows(path, format, encoding)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ── formats ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_suffix_gives_one_of_the_formats() -> None:
    assert {*SUFFIXES.values(), "datasets"} == set(FORMATS)


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "JSONL"])
def test_json_lines_have_two_suffixes(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"a.{suffix}", '{"text": "一"}\n')
    assert format_of(path) == "jsonl"
    assert rows(path) == [SourceRow(1, {"text": "一"})]


@pytest.mark.parametrize("name", ["dataset_info.json", "state.json", "dataset_dict.json"])
def test_a_folder_written_by_datasets_tells_its_format(tmp_path: Path, name: str) -> None:
    written(tmp_path / name, "{}")
    assert format_of(tmp_path) == "datasets"


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.conll", "conll"), ("数据.CoNLL", "conll"), ("a.csv.gz", "gz"), ("a.b.标注", "标注")],
)
def test_another_suffix_is_a_format_by_itself(tmp_path: Path, name: str, format: str) -> None:  # noqa: A002
    assert format_of(written(tmp_path / name, "")) == format


@pytest.mark.parametrize("name", ["plain", "数据", ".csv", "plain."])
def test_a_file_without_suffix_needs_a_stated_format(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, "text\n一\n")
    assert error_of(path) == (
        f"{path}: has no suffix to tell its format. {AVAILABLE} State it with data.format=, such as data.format=jsonl."
    )
    assert rows(path, "csv") == [SourceRow(2, {"text": "一"})]


@pytest.mark.parametrize(
    ("format", "near"),
    [
        ("txt", ""),
        ("标注", ""),
        ("cvs", " Did you mean 'csv'?"),
        ("CSV", " Did you mean 'csv'?"),
        ("jsonlines", " Did you mean 'jsonl'?"),
        ("ndjsn", " Did you mean 'ndjson'?"),
        ("dataset", " Did you mean 'datasets'?"),
    ],
)
def test_a_format_that_nobody_reads_is_refused(tmp_path: Path, format: str, near: str) -> None:  # noqa: A002
    path = written(tmp_path / "数据.txt", CHINESE)
    assert error_of(path, format) == (
        f"{path}: nothing reads the format '{format}'.{near} {AVAILABLE} "
        f"State another with data.format=, or install a plugin that reads '{format}'."
    )


def test_an_encoding_stated_for_parquet_is_warned_about(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["好"]}), path)
    with pytest.warns(UserWarning, match="data.encoding has no effect on format parquet"):
        assert rows(path, encoding="gbk") == [SourceRow(1, {"text": "好"})]


# ── plugins ─────────────────────────────────────────────────────────────────────────────────────────────────

CONLL_PLUGIN = """
from polyhead.registry import SourceRow, hookimpl


@hookimpl
def polyhead_read_rows(path, format, encoding):
    return sentences(path, encoding) if format == "conll" else None


def sentences(path, encoding):
    for line, text in enumerate(path.read_text(encoding=encoding or "utf-8").splitlines(), start=1):
        token, tag = text.split()
        yield SourceRow(line, {"token": token, "tag": tag})
"""
CONLL_ROWS = [
    SourceRow(1, {"token": "上海", "tag": "B-LOC"}),
    SourceRow(2, {"token": "shines", "tag": "O"}),
]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Return our readers, and a plugin of another distribution that reads CoNLL."""
    folder = tmp_path / "installed"
    information = folder / "acme_conll-2.1.dist-info"
    information.mkdir(parents=True)
    written(folder / "acme_conll_reader.py", CONLL_PLUGIN)
    written(information / "METADATA", "Metadata-Version: 2.1\nName: acme-conll\nVersion: 2.1\n")
    written(information / "entry_points.txt", "[polyhead]\nconll = acme_conll_reader\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "acme_conll_reader", raising=False)
    (distribution,) = metadata.distributions(path=[str(folder)])
    loaded = Registry.load((readers,), {}, distribution.entry_points)
    assert [plugin.status for plugin in loaded.plugins()] == ["ok", "ok"]
    return loaded


@pytest.mark.parametrize("name", ["a.conll", "数据.CONLL"])
def test_a_plugin_reads_the_suffix_that_it_knows(tmp_path: Path, registry: Registry, name: str) -> None:
    path = written(tmp_path / name, "上海 B-LOC\nshines O\n")
    assert list(registry.read_rows(path, format_of(path), None)) == CONLL_ROWS


@pytest.mark.parametrize("name", ["a.txt", "plain", "a.csv"])
def test_a_stated_format_of_a_plugin_goes_before_the_suffix(tmp_path: Path, registry: Registry, name: str) -> None:
    path = written(tmp_path / name, "上海 B-LOC\nshines O\n", "gb18030")
    assert list(registry.read_rows(path, "conll", "gb18030")) == CONLL_ROWS


def test_our_formats_are_read_beside_a_plugin(tmp_path: Path, registry: Registry) -> None:
    path = written(tmp_path / "a.csv", CHINESE, "gb18030")
    assert [row.row["label"] for row in registry.read_rows(path, format_of(path), None)] == ["正面", "负面"]


def test_what_no_plugin_reads_either_is_refused_with_the_formats(tmp_path: Path, registry: Registry) -> None:
    path = written(tmp_path / "数据.jsonlines", "")
    with pytest.raises(DataError) as caught:
        registry.read_rows(path, format_of(path), None)
    assert str(caught.value) == (
        f"{path}: nothing reads the format 'jsonlines'. Did you mean 'jsonl'? {AVAILABLE} "
        "State another with data.format=, or install a plugin that reads 'jsonlines'."
    )


# ── paths ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("format", [None, "csv", "parquet"])
def test_another_directory_is_refused(tmp_path: Path, format: str | None) -> None:  # noqa: A002
    assert error_of(tmp_path, format) == (
        f"{tmp_path}: is a directory; expected a file or a folder written by datasets.save_to_disk"
    )


def test_a_file_is_no_datasets_folder(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", CHINESE)
    assert error_of(path, "datasets").startswith(f"{path}: is a file; format datasets is a folder")


@pytest.mark.parametrize("format", [None, "csv"])
def test_a_missing_file_names_its_neighbour(tmp_path: Path, format: str | None) -> None:  # noqa: A002
    written(tmp_path / "train.csv", CHINESE)
    path = tmp_path / "trian.csv"
    assert error_of(path, format) == f"{path}: there is no such file. Did you mean 'train.csv'?"


def test_rows_come_one_by_one(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text\n" + "一行\n" * 200_000)
    answer = polyhead_read_rows(path, "csv", "utf-8")
    assert next(answer) == SourceRow(2, {"text": "一行"})
    path.write_text("")  # what is read later is read from the file, not from memory
    assert len(list(answer)) < 200_000


def test_importing_the_data_modules_loads_nothing_heavy() -> None:
    code = (
        "import sys; import polyhead.backbone.data.inspection; "
        "print(sorted({'torch', 'numpy', 'pyarrow', 'datasets', 'transformers'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_a_directory_is_refused_whatever_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "corpus.conll"
    path.mkdir()
    assert error_of(path).startswith(f"{path}: is a directory; expected a file or a folder")
