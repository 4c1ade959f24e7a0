from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyhead.backbone.data.encodings import detect_encoding
from polyhead.backbone.data.json_rows import read_json_lines, read_json_list
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError


def rows(path: Path, encoding: str = "utf-8") -> list[SourceRow]:
    read = read_json_list if path.suffix == ".json" else read_json_lines
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


# ── JSON lines ──────────────────────────────────────────────────────────────────────────────────────────


def test_json_lines_keep_their_types_and_skip_blank_lines(tmp_path: Path) -> None:
    content = '\n{"text": "一", "n": 1, "x": 0.5}\r\n  \r\n{"ok": true, "none": null, "labels": ["a"]}'
    assert rows(written(tmp_path / "a.jsonl", content)) == [
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


@pytest.mark.parametrize("content", ["", " \n\t\n"])
def test_json_lines_without_a_row_are_refused(tmp_path: Path, content: str) -> None:
    path = written(tmp_path / "a.jsonl", content)
    assert error_of(path) == f"{path}: is empty"


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
@given(table=tables, ascii_only=st.booleans(), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_what_the_json_module_writes_is_read_back(
    table: list[tuple[str, str]], ascii_only: bool, encoding: str
) -> None:
    expected = [{"文本": a, "label": b} for a, b in table]
    lines = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in expected)
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "a.jsonl", lines, encoding)
        assert rows(path, detect_encoding(path)) == [SourceRow(line, row) for line, row in enumerate(expected, start=1)]
        path = written(Path(folder) / "a.json", json.dumps(expected, ensure_ascii=ascii_only), encoding)
        assert [row.row for row in rows(path, detect_encoding(path))] == expected
