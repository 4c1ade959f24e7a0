from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from polyhead.backbone.data.parallel_rows import parallel_files, read_parallel
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError


def written(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def pair(line: int, **sides: str) -> SourceRow:
    return SourceRow(line, {"translation": sides})


def error_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(read_parallel(path, None))
    return str(caught.value)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_lines_of_two_files_are_pairs(tmp_path: Path, line_end: str, encoding: str) -> None:
    written(tmp_path / "train.en", line_end.join(["Hello.", "", "How are you?", ""]))
    written(tmp_path / "train.zh", line_end.join(["你好。", " ", "你好吗？", ""]), encoding)
    assert list(read_parallel(tmp_path / "train.en-zh", None)) == [
        pair(1, en="Hello.", zh="你好。"),
        pair(3, en="How are you?", zh="你好吗？"),
    ]
    other = list(read_parallel(tmp_path / "train.zh-en", None))
    assert other == [pair(1, zh="你好。", en="Hello."), pair(3, zh="你好吗？", en="How are you?")]


def test_files_as_opus_names_them_and_packed_ones(tmp_path: Path) -> None:
    written(tmp_path / "Tatoeba.en-zh.en", "one\n")
    written(tmp_path / "Tatoeba.en-zh.zh.gz", gzip.compress("一\n".encode()))
    assert list(read_parallel(tmp_path / "Tatoeba.en-zh", None)) == [pair(1, en="one", zh="一")]


def test_a_language_may_have_a_hyphen(tmp_path: Path) -> None:
    written(tmp_path / "a.pt-BR", "um\n")
    written(tmp_path / "a.zh-CN", "一\n")
    assert list(parallel_files(tmp_path / "a.pt-BR-zh-CN")) == ["pt-BR", "zh-CN"]


def test_signs_inside_a_sentence_do_not_move_the_files_apart(tmp_path: Path) -> None:
    written(tmp_path / "a.en", "one\u2028two\x0bthree\rfour\u0085\n5\n")
    written(tmp_path / "a.zh", "一\n五\n")
    assert list(read_parallel(tmp_path / "a.en-zh", None)) == [
        pair(1, en="one\u2028two\x0bthree\rfour\u0085", zh="一"),
        pair(2, en="5", zh="五"),
    ]


def test_different_line_counts_are_refused_before_the_first_row(tmp_path: Path) -> None:
    written(tmp_path / "a.en", "one\ntwo\nthree\n")
    written(tmp_path / "a.zh", "一\n二")
    path = tmp_path / "a.en-zh"
    with pytest.raises(DataError) as caught:
        next(read_parallel(path, None))
    assert str(caught.value) == (
        f"{path}: a.en has 3 lines, a.zh has 2; each line must be the translation of the same line in the other file"
    )


def test_a_broken_pair_does_not_end_the_file(tmp_path: Path) -> None:
    written(tmp_path / "a.en", "one\n\nthree\nfour\n")
    written(tmp_path / "a.zh", "一\n二\n".encode() + b"\xff\n" + "四\n".encode())
    assert list(read_parallel(tmp_path / "a.en-zh", "utf-8")) == [
        pair(1, en="one", zh="一"),
        SourceRow(2, {}, "'en' is empty"),
        SourceRow(3, {}, "'zh' holds bytes that are not valid utf-8"),
        pair(4, en="four", zh="四"),
    ]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.en-zh"
    assert error_of(path) == f"{path}: there are no such files as a.en and a.zh"
    assert error_of(tmp_path / "a.en").endswith(
        "format parallel wants a path that ends in two languages, such as train.en-zh for train.en and train.zh"
    )
    written(tmp_path / "a.zh", "")
    assert error_of(path) == f"{path}: a.zh is there, but a.en is not"
    written(tmp_path / "a.en", "")
    assert error_of(path) == f"{path}: is empty"


@pytest.mark.parametrize("name", ["a", "a.en", "a.en-", "a.-zh", "a.en-en"])
def test_such_paths_stand_for_nothing(tmp_path: Path, name: str) -> None:
    for suffix in ("en", "zh", ""):
        written(tmp_path / f"a.{suffix}", "x\n")
    assert parallel_files(tmp_path / name) == {}
