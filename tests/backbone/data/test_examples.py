from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from polyhead.backbone.data.examples import ExampleSet, SkippedRow, iterate_examples, read_examples
from polyhead.backbone.data.readers import read_rows
from polyhead.registry.contracts import Column, Row, SourceRow, Task, TaskSetup
from polyhead.registry.errors import DataError, RowError
from polyhead.registry.examples import TextExample


class Registry:
    """Answers like the real one, with our own readers only."""

    def read_rows(self, path: Path, format: str, encoding: str | None) -> Iterable[SourceRow]:  # noqa: A002
        answer = read_rows(path, format, encoding)
        assert answer is not None
        return answer


class GivenRows:
    """Gives the same rows for every file."""

    def __init__(self, *rows: SourceRow) -> None:
        self.rows = rows

    def read_rows(self, path: Path, format: str, encoding: str | None) -> Iterable[SourceRow]:  # noqa: A002
        return iter(self.rows)


def to_example(row: Row, id_: str, options: Any) -> TextExample:
    if not isinstance(row["text"], str):
        raise RowError(f"expected text, found {row['text']!r}", column="text")
    if "forbidden" in row:
        raise RowError("forbidden")
    label = row.get("label")
    return TextExample(id_, row["text"], row.get("text_pair"), None if label is None else (f"{options}{label}",))


def check_example(example: TextExample, setup: TaskSetup) -> None:
    for label in example.labels or ():
        if label not in setup.labels:
            raise RowError(f"unknown label '{label}'; known: {', '.join(setup.labels)}", column="label")


def never(*_: object) -> NoReturn:
    raise AssertionError("reading must not call this")


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
SETUP = TaskSetup(options=None, labels=("正面", "负面"))


def written(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode(encoding))
    return path


def read(*paths: Path, labels_required: bool = True, **settings: Any) -> ExampleSet[TextExample]:
    return read_examples(Registry(), TASK, paths, labels_required=labels_required, **{"options": "", **settings})


def error_of(*paths: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(*paths, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ── examples ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_rows_become_examples_named_by_file_and_line(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path / "电影.csv", 'text,label\r\n"很好\r\n看",正面\r\ndull,负面\r\n', encoding)
    assert read(path, setup=SETUP) == ExampleSet(
        examples=(
            TextExample("电影:2", "很好\r\n看", labels=("正面",)),
            TextExample("电影:4", "dull", labels=("负面",)),
        ),
        skipped=(),
        files=(path,),
    )


def test_the_file_may_name_its_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"id": 7, "text": "a"}\n{"id": "八", "text": "b"}\n')
    assert [example.id for example in read(path, labels_required=False).examples] == ["7", "八"]


def test_options_and_other_columns_reach_the_task(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\na,b\n")
    assert read(path, options="x-").examples[0].labels == ("x-b",)
    path = written(tmp_path / "b.csv", "text,label,forbidden\na,b,c\n")
    assert error_of(path).startswith(f"{path}, line 2: forbidden")


def test_several_files_of_one_name_keep_their_ids_apart(tmp_path: Path) -> None:
    one = written(tmp_path / "one" / "a.csv", "text\nx\n")
    two = written(tmp_path / "two" / "a.csv", "text\ny\n")
    other = written(tmp_path / "b.csv", "text\nz\n")
    ids = [example.id for example in read(one, two, other, labels_required=False).examples]
    assert ids == [f"{one}:2", f"{two}:2", "b:2"]


def test_a_stated_format_goes_before_the_suffix(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "text\tlabel\na\tb\n")
    assert read(path, format="tsv").examples == (TextExample("a:2", "a", labels=("b",)),)


def test_examples_come_one_by_one(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"text": "好"}\n{"text": ""}\n{"text": "b"}\n')
    items = iterate_examples(Registry(), TASK, [path], labels_required=False, on_error="skip")
    assert next(items) == TextExample("a:1", "好")
    assert list(items) == [
        SkippedRow(path, 2, "column 'text': is empty", "missing value"),
        TextExample("a:3", "b"),
    ]


# ── columns ─────────────────────────────────────────────────────────────────────────────────────────────


def test_columns_are_renamed_to_what_the_task_calls_them(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "编号,评论,情感,text,label\nq1,很好,正面,other,other\n", "gb18030")
    columns = {"id": "编号", "text": "评论", "label": "情感"}
    assert read(path, columns=columns, setup=SETUP).examples == (TextExample("q1", "很好", labels=("正面",)),)


def test_a_column_mapped_elsewhere_is_not_read_under_its_own_name(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\na,not a label of ours\n")
    assert read(path, columns={"label": "gold"}, labels_required=False).examples == (TextExample("a:2", "a"),)


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_missing_column_is_reported_once_for_the_file(tmp_path: Path, on_error: str) -> None:
    path = written(tmp_path / "a.csv", "Texts,label\na,b\nc,d\n")
    assert error_of(path, on_error=on_error) == (
        f"{path}: column 'text' is missing. Did you mean 'Texts'? Columns found: 'Texts', 'label'. "
        "Say which one to use: data.columns.text=NAME"
    )


def test_every_missing_column_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "评论,情感\na,b\n")
    assert error_of(path, columns={"text": "评价"}) == (
        f"{path}: columns '评价', 'label' are missing. Columns found: '评论', '情感'. "
        "Say which one to use: data.columns.text=NAME data.columns.label=NAME"
    )


def test_a_mapped_column_must_be_there_even_where_the_task_could_do_without(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\na,b\n")
    assert error_of(path, columns={"text_pair": "second"}).startswith(f"{path}: column 'second' is missing.")
    assert error_of(path, columns={"id": "key"}).startswith(f"{path}: column 'key' is missing.")


def test_new_text_needs_neither_labels_nor_ids(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text\na\n")
    settings: Mapping[str, Any] = {"columns": {"id": "key", "label": "gold"}, "labels_required": False}
    assert read(path, **settings).examples == (TextExample("a:2", "a"),)


def test_labels_that_need_not_be_there_are_read_where_they_are(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\na,正面\nb,\n")
    assert read(path, labels_required=False).examples == (
        TextExample("a:2", "a", labels=("正面",)),
        TextExample("a:3", "b"),
    )


def test_a_mapping_of_an_unknown_column_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\na,b\n")
    assert error_of(path, columns={"txet": "text"}) == (
        "data.columns.txet: task 'toy' has no column 'txet'. Did you mean 'text'? "
        "Available: id, label, text, text_pair."
    )


def test_the_first_readable_row_tells_the_columns_of_json_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", 'oops\n{"text": "a"}\n{"text": "b", "label": "c"}\n')
    assert error_of(path, on_error="skip").startswith(f"{path}: column 'label' is missing.")
    assert error_of(written(tmp_path / "b.jsonl", "{}\n")).startswith(
        f"{tmp_path / 'b.jsonl'}: columns 'text', 'label' are missing. Columns found: none."
    )


# ── rows that are wrong ─────────────────────────────────────────────────────────────────────────────────

BAD_ROWS = """\
{"id": 1, "text": "好", "label": "正面"}
{"id": 2, "text": "a"
{"id": 3, "text": "a"}
{"id": 4, "text": " ", "label": "正面"}
{"id": 5, "text": null, "label": "正面"}
{"id": 6, "text": NaN, "label": "正面"}
{"id": 1, "text": "a", "label": "正面"}
{"id": null, "text": "a", "label": "正面"}
{"id": 8, "text": 8, "label": "正面"}
{"id": 9, "text": "a", "label": "中性"}
{"id": 10, "text": "b", "label": "负面"}
"""
PROBLEMS: Sequence[tuple[int, str, str]] = (
    (2, "invalid JSON: Expecting ',' delimiter (character 22)", "unreadable row"),
    (3, "column 'label': is missing", "missing value"),
    (4, "column 'text': is empty", "missing value"),
    (5, "column 'text': is empty", "missing value"),
    (6, "column 'text': is empty", "missing value"),
    (7, "column 'id': '1' is already the id of line 1", "duplicate id"),
    (8, "column 'id': is empty", "missing value"),
    (9, "column 'text': expected text, found 8", "invalid value"),
    (10, "column 'label': unknown label '中性'; known: 正面, 负面", "does not fit the model"),
)


def test_an_optional_column_may_first_appear_in_a_later_row(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y", "text_pair": "对"}]
    path = written(tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert [example.text_pair for example in read(path).examples] == [None, "对"]


def test_wrong_rows_are_left_out_and_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", BAD_ROWS)
    found = read(path, setup=SETUP, on_error="skip")
    assert [example.id for example in found.examples] == ["1", "10"]
    assert [(row.line, row.problem, row.kind) for row in found.skipped] == list(PROBLEMS)
    assert {row.file for row in found.skipped} == {path}


@pytest.mark.parametrize(("line", "problem", "kind"), PROBLEMS)
def test_the_first_wrong_row_stops(tmp_path: Path, line: int, problem: str, kind: str) -> None:
    lines = BAD_ROWS.splitlines()
    path = written(tmp_path / "a.jsonl", "\n".join([lines[0], *[""] * (line - 2), lines[line - 1], "broken"]))
    assert error_of(path, setup=SETUP) == (f"{path}, line {line}: {problem} (data.on_error=skip leaves such rows out)")


def test_a_problem_names_the_column_as_the_file_does(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "评论,情感\n好,中性\n,正面\n很好,正面\n")
    found = read(path, columns={"text": "评论", "label": "情感"}, setup=SETUP, on_error="skip")
    assert [row.message for row in found.skipped] == [
        f"{path}, line 2: column '情感': unknown label '中性'; known: 正面, 负面",
        f"{path}, line 3: column '评论': is empty",
    ]


def test_without_a_setup_any_label_will_do(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\na,never seen\n")
    assert read(path).examples[0].labels == ("never seen",)


def test_an_id_is_used_once_over_all_files(tmp_path: Path) -> None:
    one = written(tmp_path / "one.csv", "id,text\nx,a\n")
    two = written(tmp_path / "two.csv", "id,text\nx,b\none:2,c\n")
    found = read(one, two, labels_required=False, on_error="skip")
    assert [row.message for row in found.skipped] == [
        f"{two}, line 2: column 'id': 'x' is already the id of {one}, line 2"
    ]
    unnamed = written(tmp_path / "new" / "one.csv", "text\na\n")
    found = read(unnamed, two, labels_required=False, on_error="skip")
    assert [row.message for row in found.skipped] == [
        f"{two}, line 3: column 'id': 'one:2' is already the id of {unnamed}, line 2"
    ]


def test_the_same_file_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text\na\n")
    assert error_of(path, path, labels_required=False) == f"{path}: is given twice"


# ── no rows ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_of_wrong_rows_only_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", "oops\n[]\n")
    assert error_of(path, on_error="skip") == (
        f"{path}: no usable row: all 2 rows were left out; the first: "
        f"{path}, line 1: invalid JSON: Expecting value (character 1)"
    )


def test_a_reader_that_gives_no_rows_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "")
    with pytest.raises(DataError, match=r"a\.csv: no usable row: there are no rows$"):
        read_examples(GivenRows(), TASK, [path], labels_required=True)


@pytest.mark.parametrize(("content", "message"), [("", "is empty"), ("text,label\n", "has a header but no rows")])
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str, message: str, on_error: str) -> None:
    path = written(tmp_path / "a.csv", content)
    assert error_of(path, on_error=on_error) == f"{path}: {message}"


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert error_of(tmp_path).startswith(f"{tmp_path}: is a directory; expected a file or a folder")


def test_rows_are_the_same_from_every_format(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = [{"id": f"n{n}", "text": text, "label": "x"} for n, text in enumerate(("好 电影", "a film"))]
    contents = {
        "a.csv": "id,text,label\n" + "".join(f"{row['id']},{row['text']},x\n" for row in table),
        "a.tsv": "id\ttext\tlabel\n" + "".join(f"{row['id']}\t{row['text']}\tx\n" for row in table),
        "a.jsonl": "".join(json.dumps(row) + "\n" for row in table),
        "a.json": json.dumps(table),
    }
    paths = [written(tmp_path / name, content) for name, content in contents.items()]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "a.parquet")
    expected = (
        TextExample("n0", "好 电影", labels=("x",)),
        TextExample("n1", "a film", labels=("x",)),
    )
    for path in (*paths, tmp_path / "a.parquet"):
        assert read(path).examples == expected


# ── fields inside columns, packed files ─────────────────────────────────────────────────────────────────────

NESTED = [
    {"paragraph": {"text": "很好", "meta": {"id": "甲"}}, "label": "正面"},
    {"paragraph": {"text": "不好", "meta": {"id": "乙"}}, "label": "负面"},
]
DOTTED = {"text": "paragraph.text", "id": "paragraph.meta.id"}


def lines_of(path: Path, table: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table), encoding="utf-8")
    return path


def test_a_dotted_name_is_a_field_inside_a_column(tmp_path: Path) -> None:
    path = lines_of(tmp_path / "a.jsonl", NESTED)
    found = read_examples(Registry(), TASK, [path], labels_required=True, columns=DOTTED, options="")
    assert [(example.id, example.text) for example in found.examples] == [("甲", "很好"), ("乙", "不好")]


def test_a_column_of_that_very_name_goes_first(tmp_path: Path) -> None:
    path = lines_of(tmp_path / "a.jsonl", [{"a.b": "一", "a": {"b": "二"}, "label": "正面"}])
    found = read_examples(Registry(), TASK, [path], labels_required=True, columns={"text": "a.b"}, options="")
    assert [example.text for example in found.examples] == ["一"]


@pytest.mark.parametrize("column", ["paragraph.txt", "label.text", "paragraph.text.more", "."])
def test_a_field_that_the_first_row_lacks_is_a_missing_column(tmp_path: Path, column: str) -> None:
    path = lines_of(tmp_path / "a.jsonl", NESTED)
    with pytest.raises(DataError, match=f"column '{column}' is missing"):
        read_examples(Registry(), TASK, [path], labels_required=True, columns={"text": column}, options="")


def test_a_field_that_a_later_row_lacks_is_a_missing_value(tmp_path: Path) -> None:
    table = [*NESTED, {"paragraph": {"text": " ", "meta": {"id": "丙"}}, "label": "x"}, {"paragraph": 3, "label": "x"}]
    found = read_examples(
        Registry(),
        TASK,
        [lines_of(tmp_path / "a.jsonl", table)],
        labels_required=True,
        columns=DOTTED,
        options="",
        on_error="skip",
    )
    assert [(row.line, row.problem) for row in found.skipped] == [
        (3, "column 'paragraph.text': is empty"),
        (4, "column 'paragraph.text': is missing"),
    ]


def test_a_packed_file_gives_the_ids_of_the_plain_one(tmp_path: Path) -> None:
    table = [{"text": "很好", "label": "正面"}]
    plain = lines_of(tmp_path / "train.jsonl", table)
    packed = tmp_path / "train.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    (of_plain,) = read_examples(Registry(), TASK, [plain], labels_required=True, options="").examples
    (of_packed,) = read_examples(Registry(), TASK, [packed], labels_required=True, options="").examples
    assert of_plain == of_packed
    assert of_packed.id == "train:1"
