"""Label Studio's export, read through the reader and through the tasks that take its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polyhead.registry import DataError
from polyhead_labelstudio.export import read, write_example


def export(folder: Path, *tasks: Any) -> Path:
    path = folder / "export.json"
    path.write_text(json.dumps(list(tasks), ensure_ascii=False), encoding="utf-8")
    return path


def task(text: str, *result: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": 7, "data": {"text": text}, "annotations": [{"result": list(result)}], **more}


def choice(*choices: str) -> dict[str, Any]:
    return {"type": "choices", "value": {"choices": list(choices)}}


def span(start: int, end: int, label: str, text: str | None = None) -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": [label]}
    return {"type": "labels", "value": value if text is None else {**value, "text": text}}


def test_choices_become_labels(tmp_path: Path) -> None:
    path = export(tmp_path, task("好看", choice("正面")), task("so so", choice("a", "b")), task("nothing"))
    assert [row.row for row in read(path, None)] == [
        {"text": "好看", "id": "7", "label": "正面"},
        {"text": "so so", "id": "7", "label": ["a", "b"]},
        {"text": "nothing", "id": "7"},
    ]


def test_spans_become_entities_and_an_annotation_without_any_says_so(tmp_path: Path) -> None:
    path = export(tmp_path, task("王小明在北京。", span(4, 6, "LOC"), span(0, 3, "PER")), task("nobody"))
    one, other = (row.row for row in read(path, None))
    assert one["entities"] == [{"start": 4, "end": 6, "label": "LOC"}, {"start": 0, "end": 3, "label": "PER"}]
    assert other["entities"] == []


@pytest.mark.parametrize(
    ("start", "end", "written"),
    [(7, 12, "Paris"), (6, 11, "Paris"), (6, 11, None)],
    ids=["units", "characters", "bare"],
)
def test_places_behind_an_emoji_are_those_of_characters(
    tmp_path: Path, start: int, end: int, written: str | None
) -> None:
    text = "😀 in \nParis\n"
    (row,) = read(export(tmp_path, task(text, span(start, end, "LOC", written))), None)
    (entity,) = row.row["entities"]
    assert text[entity["start"] : entity["end"]] == "Paris"


def test_a_line_break_in_a_span_is_one_character(tmp_path: Path) -> None:
    (row,) = read(export(tmp_path, task("New\nYork", span(0, 8, "LOC", "New\\nYork"))), None)
    assert row.row["entities"] == [{"start": 0, "end": 8, "label": "LOC", "text": "New\nYork"}]


def test_what_counts_of_several_annotations(tmp_path: Path) -> None:
    kept = {"result": [choice("kept")]}
    cancelled, agreed = {**kept, "result": [choice("x")], "was_cancelled": True}, {"result": [choice("y")]}
    agreed["ground_truth"] = True  # type: ignore[assignment]
    first = {**task("a"), "annotations": [cancelled, kept, {"result": [choice("z")]}]}
    second = {**task("b"), "annotations": [kept, agreed]}
    guessed = {**task("c"), "annotations": [], "predictions": [{"result": [choice("machine")]}]}
    assert [row.row.get("label") for row in read(export(tmp_path, first, second, guessed), None)] == ["kept", "y", None]


def test_the_only_text_is_the_text_and_other_data_stay(tmp_path: Path) -> None:
    path = export(tmp_path, {"data": {"review": "fine", "stars": 4}}, {"data": {"a": "x", "b": "y"}})
    one, other = read(path, None)
    assert one.row == {"review": "fine", "stars": 4, "text": "fine"}
    assert other.problem == "task 2: expected 'text' in its data, found a, b"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is no readable JSON"),
        (b"\xff\xfe\x00", "is no readable JSON"),
        (b"{}", "expected a list of tasks"),
        (b"[]", "expected a list of tasks"),
        (b'[{"text": "a", "sentiment": "b"}]', "not 'JSON-MIN'"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read(tmp_path / "file.json", None))


def test_encodings(tmp_path: Path) -> None:
    path = write_example(tmp_path)
    text = path.read_text(encoding="utf-8")
    expected = [row.row for row in read(path, None)]
    for encoding in ("utf-8-sig", "utf-16", "gb18030"):
        path.write_bytes(text.encode(encoding))
        assert [row.row for row in read(path, encoding if encoding == "gb18030" else None)] == expected
    with pytest.raises(DataError, match="unknown encoding"):
        list(read(path, "latin-0"))


def test_a_wrong_span_is_a_problem_of_its_row_only(tmp_path: Path) -> None:
    good, bad = (
        task("a b", span(0, 1, "X")),
        task("a b", {"type": "labels", "value": {"start": "/p[1]", "labels": ["X"]}}),
    )
    rows = list(read(export(tmp_path, bad, good, "text"), None))
    assert [row.problem is None for row in rows] == [False, True, False]
    assert rows[0].problem is not None
    assert rows[0].problem.startswith("task 1: a span has no whole numbers")
