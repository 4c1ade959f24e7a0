from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from polyhead.backbone.data.inspection import Inspection, Lengths, inspect_file
from polyhead.backbone.data.readers import read_rows
from polyhead.registry.contracts import Column, Row, SourceRow, Task, TaskSetup
from polyhead.registry.errors import DataError, RowError
from polyhead.registry.examples import TextExample


class Registry:
    """Answers like the real one, with our own readers and one that a plugin might bring."""

    def read_rows(self, path: Path, format: str, encoding: str | None) -> Iterable[SourceRow]:  # noqa: A002
        if format == "lines":
            return [SourceRow(1, {"text": path.read_text(encoding=encoding), "label": "x"})]
        answer = read_rows(path, format, encoding)
        assert answer is not None
        return answer


def to_example(row: Row, id_: str, options: Any) -> TextExample:
    labels = tuple(row["label"].split("|")) if "label" in row else None
    return TextExample(id_, row["text"], row.get("text_pair"), labels)


def check_example(example: TextExample, setup: TaskSetup) -> None:
    for label in example.labels or ():
        if label not in setup.labels:
            raise RowError(f"unknown label '{label}'", column="label")


def never(*_: object) -> NoReturn:
    raise AssertionError("inspection must not call this")


TASK: Task[TextExample, Any] = Task(
    name="toy",
    summary="A task for tests.",
    example_type=TextExample,
    columns=(
        Column("text", "what is labelled"),
        Column("text_pair", "a second text", required="never"),
        Column("label", "its label", required="training"),
    ),
    to_example=to_example,
    prepare=never,
    setup_from_labels=never,
    check_example=check_example,
    encode=never,
    heads={},
    label_fields=never,
    count_targets=never,
    loss=never,
    decode=never,
    metrics=(),
    headline=never,
    baseline_name="none",
    baseline=never,
)


def written(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding))
    return path


def test_a_file_is_counted_through(tmp_path: Path) -> None:
    content = (
        "text,text_pair,label\n"
        "很好 a,,正面\n"  # 4 characters, 2 of 3 visible ones Chinese
        "很好 a,,正面\n"
        "很好 a,,负面\n"
        "bad,b,负面|x\n"
        "bad,b,x|负面\n"
        ",,负面\n"
        "broken\n"
        "much longer,,负面\n"
    )
    path = written(tmp_path / "a.csv", content, "gb18030")
    found = inspect_file(Registry(), TASK, path)
    assert found == Inspection(
        file=path,
        format="csv",
        encoding="gb18030",
        rows=8,
        usable=6,
        problems=found.problems,
        problem_counts={"missing value": 1, "unreadable row": 1},
        labels={"负面": 4, "正面": 2, "x": 2},
        unlabelled=0,
        lengths=Lengths(minimum=4, median=4, mean=31 / 6, p95=11, maximum=11),
        duplicates=3,
        conflicts=1,
        chinese_share=6 / 27,
    )
    assert [(problem.line, problem.problem) for problem in found.problems] == [
        (7, "column 'text': is empty"),
        (8, "has 1 field, the header has 3"),
    ]


def test_problems_are_all_counted_and_the_first_listed(tmp_path: Path) -> None:
    content = '{"text": "好", "label": "a"}\n' + '{"text": "b", "label": "c"}\n' * 30 + "oops\n" * 40
    found = inspect_file(
        Registry(),
        TASK,
        written(tmp_path / "a.jsonl", content),
        setup=TaskSetup(options=None, labels=("a",)),
        most_problems=3,
    )
    assert found.problem_counts == {"unreadable row": 40, "does not fit the model": 30}
    assert [problem.line for problem in found.problems] == [2, 3, 4]
    assert (found.rows, found.usable) == (71, 1)


def test_a_file_without_a_usable_row_is_still_inspected(tmp_path: Path) -> None:
    found = inspect_file(Registry(), TASK, written(tmp_path / "a.jsonl", "oops\n"))
    assert (found.rows, found.usable, found.lengths, found.chinese_share) == (1, 0, None, 0.0)


def test_an_unlabelled_file_is_inspected_as_such(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "文本\n你好世界\n")
    found = inspect_file(Registry(), TASK, path, labels_required=False, columns={"text": "文本"})
    assert (found.labels, found.unlabelled, found.chinese_share) == ({}, 1, 1.0)


def test_lengths_of_one_to_a_hundred(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\n" + "".join("字" * n + ",x\n" for n in range(100, 0, -1)))
    assert inspect_file(Registry(), TASK, path).lengths == Lengths(1, 50.5, 50.5, 95, 100)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_the_encoding_is_told(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path / "a.csv", "text,label\n好,x\n", encoding)
    assert inspect_file(Registry(), TASK, path).encoding == encoding


def test_a_stated_encoding_and_a_format_of_a_plugin_are_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "a.dat", "日本", "shift_jis")
    found = inspect_file(Registry(), TASK, path, format="lines", encoding="shift_jis")
    assert (found.format, found.encoding, found.usable) == ("lines", "shift_jis", 1)


def test_parquet_has_no_encoding(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["好"], "label": ["x"]}), path)
    found = inspect_file(Registry(), TASK, path)
    assert (found.format, found.encoding, found.usable) == ("parquet", None, 1)


def test_rare_chinese_characters_count(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\n〇㐀𠮷,x\n，。あ,x\n")
    assert inspect_file(Registry(), TASK, path).chinese_share == 0.5


def test_a_file_wrong_as_a_whole_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "评论,label\n好,x\n")
    with pytest.raises(DataError, match="column 'text' is missing"):
        inspect_file(Registry(), TASK, path)
    with pytest.raises(DataError, match="is a directory"):
        inspect_file(Registry(), TASK, tmp_path, format="csv")


def test_the_result_is_json(tmp_path: Path) -> None:
    found = inspect_file(Registry(), TASK, written(tmp_path / "a.csv", "text,label\n好,x\nb\n"))
    answer = json.loads(json.dumps(found.to_json()))
    assert answer == {
        "file": str(tmp_path / "a.csv"),
        "format": "csv",
        "encoding": "utf-8",
        "rows": 2,
        "usable": 1,
        "problems": [{"line": 3, "kind": "unreadable row", "problem": "has 1 field, the header has 2"}],
        "problem_counts": {"unreadable row": 1},
        "labels": {"x": 1},
        "unlabelled": 0,
        "lengths": {"minimum": 1, "median": 1, "mean": 1.0, "p95": 1, "maximum": 1},
        "duplicates": 0,
        "conflicts": 0,
        "chinese_share": 1.0,
    }
    assert set(answer) == {each.name for each in dataclasses.fields(Inspection)}
