from __future__ import annotations

import json
from pathlib import Path

import pytest

from polyhead.backbone.data.encodings import UNDECODABLE, check_encoding, detect_encoding, open_text
from polyhead.backbone.data.readers import format_of, read_rows
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError


def rows(path: Path, encoding: str | None = None) -> list[SourceRow]:
    return list(read_rows(path, format_of(path), encoding))


def written(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def error_of(path: Path, encoding: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        rows(path, encoding)
    message = str(caught.value)
    assert "\n" not in message
    return message


CHINESE = "text,label\n这部电影很好看，值得再看。,正面\n太无聊了,负面\n"
CHINESE_ROWS = [
    SourceRow(2, {"text": "这部电影很好看，值得再看。", "label": "正面"}),
    SourceRow(3, {"text": "太无聊了", "label": "负面"}),
]


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


def test_a_known_encoding_is_returned_as_it_was_stated() -> None:
    assert [check_encoding(name) for name in ("GBK", "utf-8")] == ["GBK", "utf-8"]


@pytest.mark.parametrize(("encoding", "opened"), [("utf-8-sig", "utf-8"), ("utf-16", "utf-16")])
def test_a_text_is_opened_behind_its_mark(tmp_path: Path, encoding: str, opened: str) -> None:
    with open_text(written(tmp_path / "a.txt", "好\r\n坏", encoding), opened) as file:
        assert file.read() == "好\r\n坏"


def test_bytes_that_are_not_valid_are_marked(tmp_path: Path) -> None:
    with open_text(written(tmp_path / "a.txt", b"a\xffb"), "utf-8") as file:
        assert file.read() == f"a{UNDECODABLE}b"
