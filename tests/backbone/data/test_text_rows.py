from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyhead.backbone.data.encodings import detect_encoding
from polyhead.backbone.data.text_rows import read_csv, read_tsv
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError


def rows(path: Path, encoding: str = "utf-8") -> list[SourceRow]:
    read = read_tsv if path.suffix == ".tsv" else read_csv
    return list(read(path, encoding))


def written(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def error_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        rows(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


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


def test_a_tsv_row_with_one_tab_too_many_is_told_about_tabs(tmp_path: Path) -> None:
    assert rows(written(tmp_path / "a.tsv", "text\tlabel\n好\t很\t正面\n")) == [
        SourceRow(2, {}, "has 3 fields, the header has 2; a text with a tab in it must stand in double quotes")
    ]


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
        assert [row.row for row in rows(path, detect_encoding(path))] == [{"文本": a, "label": b} for a, b in table]
