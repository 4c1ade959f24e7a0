from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyhead.backbone.data.plain_rows import read_documents, read_text_lines
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError


def written(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_each_line_that_is_not_blank_is_a_text(tmp_path: Path, line_end: str, encoding: str) -> None:
    content = line_end.join(["第一行，很好。", "", "\u3000 ", " second line ", "ＡＢＣ"])
    assert list(read_text_lines(written(tmp_path / "a.txt", content, encoding), encoding)) == [
        SourceRow(1, {"text": "第一行，很好。"}),
        SourceRow(4, {"text": " second line "}),
        SourceRow(5, {"text": "ＡＢＣ"}),
    ]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030"])
def test_blank_lines_part_documents(tmp_path: Path, line_end: str, encoding: str) -> None:
    content = line_end.join(["", "= 标题 =", "第一段。", " \t", "", "Second 🙂 document", "end"])
    assert list(read_documents(written(tmp_path / "a.txt", content, encoding), encoding)) == [
        SourceRow(2, {"text": "= 标题 =\n第一段。"}),
        SourceRow(6, {"text": "Second 🙂 document\nend"}),
    ]


@pytest.mark.parametrize("read", [read_text_lines, read_documents])
def test_invalid_bytes_spoil_their_text_only(tmp_path: Path, read: type) -> None:
    path = written(tmp_path / "a.txt", "好\n\n".encode() + b"\xff\xfe\n\n" + "的\n".encode())
    assert list(read(path, "utf-8")) == [
        SourceRow(1, {"text": "好"}),
        SourceRow(3, {}, "holds bytes that are not valid utf-8"),
        SourceRow(5, {"text": "的"}),
    ]


@pytest.mark.parametrize("read", [read_text_lines, read_documents])
@pytest.mark.parametrize("content", ["", "\ufeff", "\n \r\n\t\n"])
def test_a_file_without_text_is_refused(tmp_path: Path, read: type, content: str) -> None:
    path = written(tmp_path / "a.txt", content)
    with pytest.raises(DataError) as caught:
        list(read(path, "utf-8"))
    assert str(caught.value) == f"{path}: is empty"


visible = st.text(st.sampled_from("中文好，。🙂é\"',\t{} \u2028\u0085ab"), min_size=1).filter(
    lambda text: not text.isspace()
)


@settings(max_examples=60, deadline=None)
@given(documents=st.lists(st.lists(visible, min_size=1, max_size=3), min_size=1, max_size=4))
def test_what_was_written_is_read_back(documents: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder, "a.txt"), "\n\n".join("\n".join(lines) for lines in documents))
        assert [row.row["text"] for row in read_documents(path, "utf-8")] == ["\n".join(lines) for lines in documents]
        assert [row.row["text"] for row in read_text_lines(path, "utf-8")] == [
            line for doc in documents for line in doc
        ]
