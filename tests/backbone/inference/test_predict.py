"""Rows that stand in no file, and the file that predictions go to."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyhead.backbone.inference.predict import GivenRows, _check_target, _writer
from polyhead.backbone.parallel.processes import World
from polyhead.registry import DataError, SourceRow


def rows_of(*rows: SourceRow, **more: str) -> list[SourceRow]:
    return list(GivenRows(rows, "stdin", **more).read_rows(Path("stdin"), "jsonl", None))


def test_rows_are_given_the_columns_of_the_others():
    assert rows_of(SourceRow(1, {"text": "a"}), SourceRow(2, {"text": "b", "text_pair": "c"})) == [
        SourceRow(1, {"text": "a", "text_pair": None}),
        SourceRow(2, {"text": "b", "text_pair": "c"}),
    ]


def test_rows_without_id_are_given_one_where_others_have_it():
    rows = (SourceRow(1, {"nr": "x"}), SourceRow(4, {"text": "b"}), SourceRow(5, {}, "broken"))
    assert rows_of(*rows, id_column="nr") == [
        SourceRow(1, {"nr": "x", "text": None}),
        SourceRow(4, {"nr": "stdin:4", "text": "b"}),
        SourceRow(5, {}, "broken"),
    ]


def test_a_file_gets_its_name_when_it_is_complete(tmp_path):
    target = tmp_path / "out.jsonl"
    with _writer(str(target), World()) as file:
        file.write("好\n")
        assert not target.exists()
    assert target.read_text(encoding="utf-8") == "好\n"
    assert list(tmp_path.iterdir()) == [target]


def write_half(target: Path) -> None:
    with _writer(str(target), World()) as file:
        file.write("half")
        raise DataError("wrong")


def test_a_failure_leaves_no_file(tmp_path):
    with pytest.raises(DataError, match="wrong"):
        write_half(tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_other_ranks_write_nothing(tmp_path):
    with _writer(str(tmp_path / "out.jsonl"), World(rank=1, size=2)) as file:
        assert file is None
    assert list(tmp_path.iterdir()) == []


def test_targets_that_cannot_be_written_are_refused(tmp_path):
    _check_target("-")
    _check_target(str(tmp_path / "new.jsonl"))
    with pytest.raises(DataError, match="is a directory; expected a file"):
        _check_target(str(tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        _check_target(str(tmp_path / "no" / "out.jsonl"))
