from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyhead.backbone.data.conll_rows import read_conll
from polyhead.backbone.data.encodings import detect_encoding
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError


def written(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def rows(tmp_path: Path, content: str | bytes, encoding: str = "utf-8") -> list[SourceRow]:
    return list(read_conll(written(tmp_path / "a.conll", content, encoding), encoding))


def sentence(line: int, tokens: str, tags: str) -> SourceRow:
    return SourceRow(line, {"tokens": tokens.split(), "ner_tags": tags.split()})


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_blank_lines_part_sentences(tmp_path: Path, line_end: str, encoding: str) -> None:
    lines = ["上 B-LOC", "海 I-LOC", "好 O", "", "", "John B-PER", "来 O", "了 O"]
    path = written(tmp_path / "数据.bio", line_end.join(lines), encoding)
    assert list(read_conll(path, detect_encoding(path))) == [
        sentence(1, "上 海 好", "B-LOC I-LOC O"),
        sentence(6, "John 来 了", "B-PER O O"),
    ]


def test_the_first_of_four_columns_is_the_token_and_the_last_its_tag(tmp_path: Path) -> None:
    content = (
        "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n. . O O\n\n"
        "-DOCSTART- -X- O O\n\nPeter NNP I-NP I-PER\n"
    )
    assert rows(tmp_path, content) == [sentence(3, "EU rejects .", "B-ORG O O"), sentence(9, "Peter", "I-PER")]


def test_a_short_document_line_does_not_tell_the_columns(tmp_path: Path) -> None:
    assert rows(tmp_path, "-DOCSTART-\n\na O\n\n-DOCSTART-\tO\nb O\n") == [sentence(3, "a", "O"), sentence(6, "b", "O")]


def test_tabs_split_first_so_that_a_token_may_hold_spaces(tmp_path: Path) -> None:
    content = "New York\tB-LOC\n\u3000\tO\n\u00a0\tO\n"
    assert rows(tmp_path, content) == [
        SourceRow(1, {"tokens": ["New York", "\u3000", "\u00a0"], "ner_tags": ["B-LOC", "O", "O"]})
    ]


def test_wide_spaces_do_not_split(tmp_path: Path) -> None:
    assert rows(tmp_path, "好 O\n\u3000 O\n  的   M-X  \n") == [
        SourceRow(1, {"tokens": ["好", "\u3000", "的"], "ner_tags": ["O", "O", "M-X"]})
    ]


def test_comments_stand_before_a_sentence_and_hash_tokens_are_tokens(tmp_path: Path) -> None:
    content = (
        "# sent_id = 1\n# text = # 1\n#\tO\n1\tO\n#tag\tB-X\n\n"
        "# newdoc\n#爱\tB-X\nb\tO\n\n# only a comment\n\n# O\nc\tO\n"
    )
    assert rows(tmp_path, content) == [
        sentence(3, "# 1 #tag", "O O B-X"),
        sentence(8, "#爱 b", "B-X O"),
        sentence(13, "# c", "O O"),
    ]


@pytest.mark.parametrize("tags", ["B-a M-a E-a S-a O", "I-a I-a B-a O O", "b_a i_a l_a u_a O", "B I O O O"])
def test_tags_of_every_scheme_stand_as_they_do(tmp_path: Path, tags: str) -> None:
    content = "".join(f"字 {tag}\n" for tag in tags.split())
    assert rows(tmp_path, content) == [sentence(1, "字 字 字 字 字", tags)]


def test_ragged_lines_spoil_their_sentence_only(tmp_path: Path) -> None:
    content = "a O\nb O\n\nc O\nd\n\ne x O\n\n\tO\n\nf\tO\t\n\n好 O\n"
    assert rows(tmp_path, content) == [
        sentence(1, "a b", "O O"),
        SourceRow(5, {}, "has 1 column, the first line of the file has 2"),
        SourceRow(7, {}, "has 3 columns, the first line of the file has 2"),
        SourceRow(9, {}, "the token is empty"),
        sentence(11, "f", "O"),
        sentence(13, "好", "O"),
    ]


def test_conll_u_of_ten_columns_is_no_ner_file(tmp_path: Path) -> None:
    line = "\t".join(["1", "字", "字", "NOUN", "NN", "_", "0", "root", "_", "_"])
    assert rows(tmp_path, f"# text = 字\n{line}\n") == [
        SourceRow(2, {}, "has 10 columns; CoNLL files have 2 to 4, the token first and the tag last")
    ]


def test_tokens_alone_are_sentences_without_tags(tmp_path: Path) -> None:
    assert rows(tmp_path, "上\n海\n\n#\n好\n") == [
        SourceRow(1, {"tokens": ["上", "海"]}),
        SourceRow(4, {"tokens": ["#", "好"]}),
    ]


def test_invalid_bytes_spoil_their_sentence_only(tmp_path: Path) -> None:
    content = "好 O\n\n".encode() + b"\xff O\n\n" + "的 O\n".encode()
    assert rows(tmp_path, content) == [
        sentence(1, "好", "O"),
        SourceRow(3, {}, "holds bytes that are not valid utf-8"),
        sentence(5, "的", "O"),
    ]


@pytest.mark.parametrize("content", ["", "\n\n", "# alone\n", "-DOCSTART- O\n\n"])
def test_a_file_without_sentence_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match="holds no sentence"):
        rows(tmp_path, content)


tokens = st.text(
    st.characters(exclude_categories=["Cs", "Zl", "Zp"], exclude_characters=" \t\r\n\0\x0b\x0c\x1c\x1d\x1e\x1f\x85"),
    min_size=1,
    max_size=4,
).filter(lambda token: token != "-DOCSTART-")
tagged = st.lists(st.tuples(tokens, st.sampled_from(["O", "B-人名", "I-人名", "S-LOC"])), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(sentences=st.lists(tagged, min_size=1, max_size=4), sign=st.sampled_from(["\t", " ", "\tx\t"]))
def test_what_was_written_is_read_back(sentences: list[list[tuple[str, str]]], sign: str) -> None:
    content = "\n".join("".join(f"{token}{sign}{tag}\n" for token, tag in pairs) for pairs in sentences)
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder, "a.conll"), "\ufeff" + content)
        found = [list(zip(row.row["tokens"], row.row["ner_tags"], strict=True)) for row in read_conll(path, "utf-8")]
    assert found == sentences
