from __future__ import annotations

import gzip
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from polyhead.backbone.data import readers
from polyhead.backbone.data.readers import FORMATS, SUFFIXES, format_of, read_rows, stem_of
from polyhead.registry import Registry
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError

AVAILABLE = "Available: conll, csv, datasets, documents, json, jsonl, ndjson, parallel, parquet, squad, text, tmx, tsv."
CHINESE = "text,label\n这部电影很好看，值得再看。,正面\n太无聊了,负面\n"


def rows(path: Path, format: str | None = None, encoding: str | None = None) -> list[SourceRow]:  # noqa: A002
    return list(read_rows(path, format or format_of(path), encoding))


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
    assert {*SUFFIXES.values(), "ndjson", "datasets", "squad", "parallel", "documents"} == set(FORMATS)


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
    [("a.brat", "brat"), ("数据.BraT", "brat"), ("a.brat.gz", "brat"), ("a.b.标注", "标注")],
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
        ("txt", " Did you mean 'text'?"),
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
    with pytest.raises(DataError) as caught:
        Registry.load((readers,), {}, ()).read_rows(path, format, None)
    assert str(caught.value) == (
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

PAIRS_PLUGIN = """
from polyhead.registry import Reader, SourceRow, hookimpl


@hookimpl
def polyhead_register_readers():
    return [Reader("pairs", "a token and its tag a line", sentences)]


def sentences(path, encoding):
    for line, text in enumerate(path.read_text(encoding=encoding or "utf-8").splitlines(), start=1):
        token, tag = text.split()
        yield SourceRow(line, {"token": token, "tag": tag})
"""
PAIR_ROWS = [
    SourceRow(1, {"token": "上海", "tag": "B-LOC"}),
    SourceRow(2, {"token": "shines", "tag": "O"}),
]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Return our readers, and a plugin of another distribution that reads a format of its own."""
    folder = tmp_path / "installed"
    information = folder / "acme_conll-2.1.dist-info"
    information.mkdir(parents=True)
    written(folder / "acme_conll_reader.py", PAIRS_PLUGIN)
    written(information / "METADATA", "Metadata-Version: 2.1\nName: acme-conll\nVersion: 2.1\n")
    written(information / "entry_points.txt", "[polyhead]\nconll = acme_conll_reader\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "acme_conll_reader", raising=False)
    (distribution,) = metadata.distributions(path=[str(folder)])
    loaded = Registry.load((readers,), {}, distribution.entry_points)
    assert [plugin.status for plugin in loaded.plugins()] == ["ok", "ok"]
    return loaded


@pytest.mark.parametrize("name", ["a.pairs", "数据.PAIRS"])
def test_a_plugin_reads_the_suffix_that_it_knows(tmp_path: Path, registry: Registry, name: str) -> None:
    path = written(tmp_path / name, "上海 B-LOC\nshines O\n")
    assert list(registry.read_rows(path, format_of(path), None)) == PAIR_ROWS


@pytest.mark.parametrize("name", ["a.txt", "plain", "a.csv"])
def test_a_stated_format_of_a_plugin_goes_before_the_suffix(tmp_path: Path, registry: Registry, name: str) -> None:
    path = written(tmp_path / name, "上海 B-LOC\nshines O\n", "gb18030")
    assert list(registry.read_rows(path, "pairs", "gb18030")) == PAIR_ROWS


def test_our_formats_are_read_beside_a_plugin(tmp_path: Path, registry: Registry) -> None:
    path = written(tmp_path / "a.csv", CHINESE, "gb18030")
    assert [row.row["label"] for row in registry.read_rows(path, format_of(path), None)] == ["正面", "负面"]


def test_what_no_plugin_reads_either_is_refused_with_the_formats(tmp_path: Path, registry: Registry) -> None:
    path = written(tmp_path / "数据.jsonlines", "")
    available = AVAILABLE.replace("ndjson, ", "ndjson, pairs, ")
    with pytest.raises(DataError) as caught:
        registry.read_rows(path, format_of(path), None)
    assert str(caught.value) == (
        f"{path}: nothing reads the format 'jsonlines'. Did you mean 'jsonl'? {available} "
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
    answer = read_rows(path, "csv", "utf-8")
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


# ── formats that are told in other ways ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.conll", "conll"),
        ("数据.CoNLL", "conll"),
        ("a.iob", "conll"),
        ("a.iob2", "conll"),
        ("a.bio", "conll"),
        ("a.bmes", "conll"),
        ("a.tmx", "tmx"),
        ("a.txt", "text"),
        ("a.csv.gz", "csv"),
        ("a.conll.GZ", "conll"),
        ("a.jsonl.gz", "jsonl"),
    ],
)
def test_suffixes_tell_formats(tmp_path: Path, name: str, format: str) -> None:  # noqa: A002
    assert format_of(written(tmp_path / name, "")) == format


@pytest.mark.parametrize("name", ["a.gz", ".gz"])
def test_gz_alone_tells_no_format(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, "")
    with pytest.raises(DataError, match="has no suffix to tell its format"):
        format_of(path)


@pytest.mark.parametrize(
    ("content", "format"),
    [
        ('{"version": "1.1", "data": [', "squad"),
        ('\n { "data":[]}', "squad"),
        ('[{"context_id": "1", "context_text": "文", "qas": [{"query_text": "问"}]}]', "squad"),
        ('[{"text": "一", "data": [1]}]', "json"),
        ('[{"context_text": "文"}]', "json"),
        ('{"text": "一"}', "json"),
        ('{"data": "一"}', "json"),
        ("", "json"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_json_is_looked_into(tmp_path: Path, content: str, format: str, encoding: str) -> None:  # noqa: A002
    assert format_of(written(tmp_path / "a.json", content, encoding)) == format


ROWS_OF_TEXT = [SourceRow(1, {"text": "这是第一行。"}), SourceRow(2, {"text": "second"})]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_packed_files_are_read_like_others(tmp_path: Path, encoding: str, line_end: str) -> None:
    content = line_end.join(["这是第一行。", "second", ""]).encode(encoding)
    assert rows(written(tmp_path / "a.txt", content)) == ROWS_OF_TEXT
    assert rows(written(tmp_path / "a.txt.gz", gzip.compress(content))) == ROWS_OF_TEXT
    assert rows(tmp_path / "a.txt.gz", encoding=encoding) == ROWS_OF_TEXT


@pytest.mark.parametrize("encoding", [None, "utf-8"])
@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: b"text\n", lambda data: data[:20] + b"xx" * 50]
)
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes], encoding: str | None) -> None:
    whole = gzip.compress("".join(f"第{number}行\n" for number in range(5000)).encode())
    path = written(tmp_path / "a.txt.gz", damage(whole))
    assert error_of(path, encoding=encoding).startswith(f"{path}: is no whole gzip file: ")


@pytest.mark.parametrize(
    ("name", "stem"),
    [("train.jsonl", "train"), ("a.b.jsonl.gz", "a.b"), ("训练.en-zh", "训练"), ("folder", "folder")],
)
def test_the_stem_of_a_file_leaves_its_format_out(name: str, stem: str) -> None:
    assert stem_of(Path("somewhere", name)) == stem


def test_two_files_of_parallel_texts_tell_their_format(tmp_path: Path) -> None:
    written(tmp_path / "a.en", "one\n")
    path = tmp_path / "a.en-zh"
    assert error_of(path) == f"{path}: a.en is there, but a.zh is not; parallel texts are two files"
    written(tmp_path / "a.zh", "一\n")
    assert format_of(path) == "parallel"
    assert rows(path) == [SourceRow(1, {"translation": {"en": "one", "zh": "一"}})]


# ── memory ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.txt", "a.csv", "a.tsv", "a.parquet"])
def test_a_large_file_is_never_in_memory_whole(tmp_path: Path, name: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count, text = 40_000, "a film of many words " * 5
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.table({"text": [f"{number} {text}" for number in range(count)]}), path, row_group_size=2_000)
    else:
        lines = {
            "jsonl": f'{{"text": "{text}"}}\n' * count,
            "json": "[" + f'{{"text": "{text}"}},' * (count - 1) + f'{{"text": "{text}"}}]',
            "txt": f"{text}\n" * count,
            "csv": "text,label\n" + f"{text},x\n" * count,
            "tsv": "text\tlabel\n" + f"{text}\tx\n" * count,
        }[name.split(".")[1]]
        path.write_bytes(gzip.compress(lines.encode(), 1) if name.endswith(".gz") else lines.encode())
        del lines
    tracemalloc.start()
    try:
        rows = sum(1 for _ in read_rows(path, format_of(path), None))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows >= count
    assert peak < 2_000_000  # of more than four million characters
