from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyhead.backbone.data.readers import detect_encoding, format_of, polyhead_read_rows
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError


def rows(path: Path, format: str | None = None, encoding: str | None = None) -> list[SourceRow]:  # noqa: A002
    answer = polyhead_read_rows(path, format or format_of(path), encoding)
    assert answer is not None
    return list(answer)


def written(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def error_of(path: Path, format: str | None = None, encoding: str | None = None) -> str:  # noqa: A002
    with pytest.raises(DataError) as caught:
        rows(path, format, encoding)
    message = str(caught.value)
    assert "\n" not in message
    return message


CHINESE = "text,label\n这部电影很好看，值得再看。,正面\n太无聊了,负面\n"
CHINESE_ROWS = [
    SourceRow(2, {"text": "这部电影很好看，值得再看。", "label": "正面"}),
    SourceRow(3, {"text": "太无聊了", "label": "负面"}),
]


# ── encodings ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("encoding", "detected"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-32", "utf-32"),
        ("gb18030", "gb18030"),
        ("gbk", "gb18030"),
    ],
)
def test_an_encoding_is_detected(tmp_path: Path, encoding: str, detected: str) -> None:
    path = written(tmp_path / "a.csv", CHINESE, encoding)
    assert detect_encoding(path) == detected
    assert rows(path) == CHINESE_ROWS


def test_utf_16_big_endian_is_told_by_its_mark(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"\xfe\xff" + CHINESE.encode("utf-16-be"))
    assert rows(path) == CHINESE_ROWS


@pytest.mark.parametrize("encoding", ["big5", "utf-16-le", "shift_jis"])
def test_a_stated_encoding_is_used(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path / "a.csv", "text,label\n日本電影,好\n", encoding)
    assert rows(path, encoding=encoding) == [SourceRow(2, {"text": "日本電影", "label": "好"})]


@pytest.mark.parametrize(
    ("encoding", "stated"),
    [("utf-8-sig", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("utf-8", "utf-8-sig"), ("utf-16", "utf-16")],
)
def test_a_byte_order_mark_is_never_part_of_the_header(tmp_path: Path, encoding: str, stated: str) -> None:
    path = written(tmp_path / "a.csv", CHINESE, encoding)
    assert rows(path, encoding=stated) == CHINESE_ROWS


def test_traditional_chinese_in_gb18030_is_detected(tmp_path: Path) -> None:
    text = '{"text": "這個電影非常好看，我們都很喜歡 👍"}\n'
    path = written(tmp_path / "a.jsonl", text, "gb18030")
    assert [row.row for row in rows(path)] == [json.loads(text)]


def test_a_curly_apostrophe_of_cp1252_does_not_become_chinese(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text\ngood\nit’s great\n", "cp1252")
    path.read_bytes().decode("gb18030")  # valid, as '抯'
    assert error_of(path) == (
        f"{path}, line 3: neither UTF-8 nor GB18030; state data.encoding (for instance cp1252 or big5)"
    )
    assert rows(path, encoding="cp1252")[1] == SourceRow(3, {"text": "it’s great"})


@pytest.mark.parametrize("lines", [0, 1, 30_000])
def test_the_line_that_fits_no_encoding_is_named(tmp_path: Path, lines: int) -> None:
    good = "一行好的文字\n".encode() * lines
    path = written(tmp_path / "a.csv", good + b"caf\xe9, \xff\n" + good)
    assert error_of(path).startswith(f"{path}, line {lines + 1}: neither UTF-8 nor GB18030; state data.encoding")


def test_utf_8_cut_inside_its_last_character_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"text": "好"}\n'.encode() + "文".encode()[:2])
    assert error_of(path).startswith(f"{path}, line 2: neither UTF-8 nor GB18030")


def test_utf_16_without_a_mark_must_be_stated(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\nfine film,positive\n", "utf-16-le")
    assert "state data.encoding=utf-16-le" in error_of(path)
    assert rows(path, encoding="utf-16-le") == [SourceRow(2, {"text": "fine film", "label": "positive"})]


@pytest.mark.parametrize("name", ["gb18300", "base64", "nonsense"])
def test_an_unknown_encoding_is_refused(tmp_path: Path, name: str) -> None:
    message = error_of(written(tmp_path / "a.csv", CHINESE), encoding=name)
    assert message.startswith(f"data.encoding: unknown encoding '{name}'.")
    assert ("Did you mean 'gb18030'?" in message) == (name == "gb18300")


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_undecodable_bytes_in_a_stated_encoding_spoil_their_row(tmp_path: Path, encoding: str) -> None:
    lines = ["text,label".encode(encoding), b"a\xff\xff,x", "好,y".encode(encoding)]
    path = written(tmp_path / "a.csv", b"\n".join(lines))
    assert rows(path, encoding=encoding) == [
        SourceRow(2, {}, f"holds bytes that are not valid {encoding}"),
        SourceRow(3, {"text": "好", "label": "y"}),
    ]
    lines = [b'{"text": "\xff"}', '{"text": "好"}'.encode(encoding)]
    path = written(tmp_path / "a.jsonl", b"\n".join(lines))
    assert rows(path, encoding=encoding) == [
        SourceRow(1, {}, f"holds bytes that are not valid {encoding}"),
        SourceRow(2, {"text": "好"}),
    ]


# ── JSON lines ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "JSONL"])
def test_json_lines_keep_their_types_and_skip_blank_lines(tmp_path: Path, suffix: str) -> None:
    content = '\n{"text": "一", "n": 1, "x": 0.5}\r\n  \r\n{"ok": true, "none": null, "labels": ["a"]}'
    assert rows(written(tmp_path / f"a.{suffix}", content)) == [
        SourceRow(2, {"text": "一", "n": 1, "x": 0.5}),
        SourceRow(4, {"ok": True, "none": None, "labels": ["a"]}),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"text": "a"', "invalid JSON: Expecting ',' delimiter (character 13)"),
        ("text", "invalid JSON: Expecting value (character 1)"),
        ("[1]", "expected a JSON object, found a list"),
        ('"a"', "expected a JSON object, found a string"),
        ("7", "expected a JSON object, found a number"),
        ("null", "expected a JSON object, found null"),
        (r'{"text": "\ud83d"}', r"holds half a surrogate pair (\ud800 to \udfff), which is no character"),
    ],
)
def test_a_broken_json_line_does_not_end_the_file(tmp_path: Path, line: str, problem: str) -> None:
    path = written(tmp_path / "a.jsonl", f'{{"text": "好"}}\n{line}\n{{"text": "b"}}\n')
    assert rows(path) == [
        SourceRow(1, {"text": "好"}),
        SourceRow(2, {}, problem),
        SourceRow(3, {"text": "b"}),
    ]


@pytest.mark.parametrize("line", ["[" * 100_000, '{"n": ' + "9" * 5000 + "}"])
def test_json_that_the_parser_gives_up_on_is_a_broken_row(tmp_path: Path, line: str) -> None:
    broken, good = rows(written(tmp_path / "a.jsonl", f'{line}\n{{"text": "b"}}\n'))
    assert broken.problem is not None
    assert broken.problem.startswith("invalid JSON: ")
    assert good == SourceRow(2, {"text": "b"})


def test_an_escaped_emoji_is_a_character(tmp_path: Path) -> None:
    assert rows(written(tmp_path / "a.jsonl", r'{"text": "\ud83d\ude00"}')) == [SourceRow(1, {"text": "😀"})]


# ── JSON lists ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_json_list_gives_the_line_where_each_object_starts(tmp_path: Path) -> None:
    content = '\n[\n  {"text": "a ] } \\" , [",\n   "label": "x"},\n\n  {"text": "好", "n": [1, {}]}, 5]\n'
    assert rows(written(tmp_path / "a.json", content)) == [
        SourceRow(3, {"text": 'a ] } " , [', "label": "x"}),
        SourceRow(6, {"text": "好", "n": [1, {}]}),
        SourceRow(6, {}, "expected a JSON object, found a number"),
    ]


def test_a_broken_object_does_not_end_a_json_list(tmp_path: Path) -> None:
    content = '[\n{"text": "a"},\n{"text":\n oops},\n{"text": "b"},\n]'
    assert rows(written(tmp_path / "a.json", content)) == [
        SourceRow(2, {"text": "a"}),
        SourceRow(3, {}, "invalid JSON: Expecting value (line 2 of the object, character 2)"),
        SourceRow(5, {"text": "b"}),
        SourceRow(6, {}, "invalid JSON: Expecting value (character 1)"),
    ]


def test_a_json_list_that_is_cut_off_says_so(tmp_path: Path) -> None:
    content = '[{"text": "a"},\n {"text": "b'
    assert rows(written(tmp_path / "a.json", content)) == [
        SourceRow(1, {"text": "a"}),
        SourceRow(2, {}, "the file ends before this list is closed"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        (" \n ", "is empty"),
        ("[ ]", "holds an empty list, no rows"),
        ('{"text": "a"}', "does not begin with a list; expected a JSON list of objects"),
        ('[{"text": "a"}]\n[]', "has text after the end of its list"),
    ],
)
def test_a_json_file_that_is_no_list_of_rows_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = written(tmp_path / "a.json", content)
    assert error_of(path).startswith(f"{path}: {message}")


def test_a_long_json_list_is_cut_right_whatever_the_pieces(tmp_path: Path) -> None:
    expected = [{"text": "\\" * (n % 7) + '"好\n' * (n % 5), "n": n} for n in range(20_000)]
    path = written(tmp_path / "a.json", json.dumps(expected, ensure_ascii=False))
    assert path.stat().st_size > 4 * 65536
    assert [row.row for row in rows(path)] == expected
    path = written(tmp_path / "b.json", json.dumps(expected, indent=1))
    found = rows(path)
    assert [row.row for row in found] == expected
    assert [row.line for row in found] == [2 + 4 * n for n in range(20_000)]


# ── CSV and TSV ─────────────────────────────────────────────────────────────────────────────────────────


def test_quoted_newlines_keep_the_line_numbers_right(tmp_path: Path) -> None:
    content = 'text,label\n"one\ntwo\n\nthree",a\n\n"说 ""好"", 真的",b\nplain,\n'
    assert rows(written(tmp_path / "a.csv", content)) == [
        SourceRow(2, {"text": "one\ntwo\n\nthree", "label": "a"}),
        SourceRow(7, {"text": '说 "好", 真的', "label": "b"}),
        SourceRow(8, {"text": "plain", "label": ""}),
    ]


def test_carriage_returns_are_line_ends_and_stay_inside_quotes(tmp_path: Path) -> None:
    content = 'text,label\r\n"一\r\n二",a\r\nb,c\r\n'
    assert rows(written(tmp_path / "a.csv", content)) == [
        SourceRow(2, {"text": "一\r\n二", "label": "a"}),
        SourceRow(4, {"text": "b", "label": "c"}),
    ]


def test_tsv_is_split_at_tabs(tmp_path: Path) -> None:
    assert rows(written(tmp_path / "a.tsv", "文本\t标签\n好, 很好\t正面\n")) == [
        SourceRow(2, {"文本": "好, 很好", "标签": "正面"})
    ]


def test_broken_csv_rows_do_not_end_the_file(tmp_path: Path) -> None:
    content = 'text,label\na,b,c\nalone\nnul\0,b\n"a" b,c\n好,d\n"open,e\nf,g\n'
    assert rows(written(tmp_path / "a.csv", content)) == [
        SourceRow(2, {}, "has 3 fields, the header has 2; a text with ',' in it must stand in double quotes"),
        SourceRow(3, {}, "has 1 field, the header has 2"),
        SourceRow(4, {}, "holds a NUL byte"),
        SourceRow(5, {}, "broken quotes or cell: ',' expected after '\"'"),
        SourceRow(6, {"text": "好", "label": "d"}),
        SourceRow(7, {}, "a quote is never closed"),
    ]


def test_a_cell_may_be_larger_than_the_limit_of_the_csv_module(tmp_path: Path) -> None:
    text = "长" * 200_000
    assert rows(written(tmp_path / "a.csv", f"text,label\n{text},x\n"))[0].row["text"] == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": is empty"),
        ("\ufeff", ": is empty"),
        ("\n\n", ": is empty"),
        ("text,label\n", ": has a header but no rows"),
        ("text,label", ": has a header but no rows"),
        ("text, 标签 ,标签\na,b,c\n", ": the header has the column '标签' more than once"),
        ('"text,label\na,b\n', ", line 1: header: a quote is never closed"),
        ("te\0xt,label\na somewhat longer line,b\n", ", line 1: header: holds a NUL byte"),
    ],
)
def test_a_csv_without_header_or_rows_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = written(tmp_path / "a.csv", content)
    assert error_of(path) == f"{path}{message}"


# ── Parquet and datasets ────────────────────────────────────────────────────────────────────────────────


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
def _quiet_datasets() -> Any:
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


def test_an_encoding_stated_for_parquet_is_warned_about(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"text": ["a"]})
    with pytest.warns(UserWarning, match="data.encoding has no effect on format parquet"):
        rows(path, encoding="gbk")


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


# ── paths and formats ───────────────────────────────────────────────────────────────────────────────────


def test_an_unsupported_suffix_lists_the_formats(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "text")
    assert error_of(path) == (
        f"{path}: format 'txt' is not supported; one of .jsonl, .ndjson, .json, .csv, .tsv, .parquet, "
        "or state it: data.format=jsonl|json|csv|tsv|parquet|datasets"
    )
    path = written(tmp_path / "plain", "text\na\n")
    assert error_of(path).startswith(f"{path}: has no suffix to tell its format; one of .jsonl, ")
    assert rows(path, "csv") == [SourceRow(2, {"text": "a"})]


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


def test_a_format_of_others_is_left_to_them(tmp_path: Path) -> None:
    assert polyhead_read_rows(tmp_path / "a.conll", "conll", None) is None


def test_rows_come_one_by_one(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text\n" + "一行\n" * 200_000)
    answer = polyhead_read_rows(path, "csv", "utf-8")
    assert answer is not None
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


# ── round trips ─────────────────────────────────────────────────────────────────────────────────────────

# neither NUL (refused) nor surrogates (no characters)
texts = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        st.sampled_from("中文好，。《》🙂é\"',\t\r\n\\{}[]\u2028\u0085\ufeff "),
    )
)
tables = st.lists(st.tuples(texts, texts), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(table=tables, delimiter=st.sampled_from([",", "\t"]), encoding=st.sampled_from(["utf-8-sig", "utf-16"]))
def test_what_the_csv_module_writes_is_read_back(table: list[tuple[str, str]], delimiter: str, encoding: str) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter)
    writer.writerows([("文本", "label"), *table])
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / ("a.csv" if delimiter == "," else "a.tsv"), buffer.getvalue(), encoding)
        assert [row.row for row in rows(path)] == [{"文本": a, "label": b} for a, b in table]


@settings(max_examples=60, deadline=None)
@given(table=tables, ascii_only=st.booleans(), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_what_the_json_module_writes_is_read_back(
    table: list[tuple[str, str]], ascii_only: bool, encoding: str
) -> None:
    expected = [{"文本": a, "label": b} for a, b in table]
    lines = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in expected)
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "a.jsonl", lines, encoding)
        assert rows(path) == [SourceRow(line, row) for line, row in enumerate(expected, start=1)]
        path = written(Path(folder) / "a.json", json.dumps(expected, ensure_ascii=ascii_only), encoding)
        assert [row.row for row in rows(path)] == expected
