"""Read the JSON export of Label Studio (https://labelstud.io/guide/export): one row a task.

A task holds ``data`` (what was shown) and ``annotations``; the ``result`` of an annotation lists what was marked:
``choices`` become ``label``, ``labels`` with ``start`` and ``end`` become ``entities``. Of several annotations the one
that is marked as ground truth counts, else the first that was not cancelled. Predictions of models do not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polyhead.registry import DataError, RowError, SourceRow

_TASK = "an object with 'data' and 'annotations'"


def read(path: Path, encoding: str | None) -> Iterator[SourceRow]:
    """Yield a row for each task; its line is the number of the task, from 1.

    Raises:
        DataError: The file is no such export.

    """
    tasks = _tasks(path, encoding)
    marks_spans = any(_spans(_result(task)) for task in tasks if isinstance(task, Mapping))
    for number, task in enumerate(tasks, start=1):
        try:
            yield SourceRow(number, _row(task, marks_spans=marks_spans))
        except RowError as error:
            yield SourceRow(number, {}, f"task {number}: {error}")


def write_example(folder: Path) -> Path:
    """Write two tasks: one with a choice and marked spans, one that nobody has annotated."""
    text = "王小明 lives in Paris."
    spans = [(0, 3, "PER"), (13, 18, "LOC")]
    marked = [
        {"type": "labels", "value": {"start": start, "end": end, "text": text[start:end], "labels": [label]}}
        for start, end, label in spans
    ]
    result = [{"type": "choices", "value": {"choices": ["news"]}}, *marked]
    tasks = [
        {"id": 1, "data": {"text": text}, "annotations": [{"result": result, "was_cancelled": False}]},
        {"id": 2, "data": {"text": "Nobody has read this yet."}, "annotations": []},
    ]
    path = folder / "export.json"
    path.write_text(json.dumps(tasks, ensure_ascii=False), encoding="utf-8")
    return path


def _tasks(path: Path, encoding: str | None) -> list[Any]:
    try:
        content = path.read_bytes()
        tasks = json.loads(content if encoding is None else content.decode(encoding))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, RecursionError) as error:  # no text, an unknown encoding, no JSON
        raise DataError(f"{path}: is no readable JSON: {error}") from None
    if not isinstance(tasks, list) or not tasks:
        raise DataError(f"{path}: expected a list of tasks, as Label Studio's export 'JSON' writes it")
    if not any(isinstance(task, Mapping) and "data" in task for task in tasks):
        raise DataError(f"{path}: none of its entries is {_TASK}; export 'JSON' from Label Studio, not 'JSON-MIN'")
    return tasks


def _row(task: Any, *, marks_spans: bool) -> dict[str, Any]:
    if not isinstance(task, Mapping) or not isinstance(task.get("data"), Mapping):
        raise RowError(f"expected {_TASK}")
    data = dict(task["data"])
    text = _text_of(data)
    row: dict[str, Any] = {**data, "text": text}
    if task.get("id") is not None:
        row["id"] = str(task["id"])
    result = _result(task)
    if result is None:
        return row
    choices = [str(choice) for entry in _of_type(result, "choices") for choice in entry["choices"]]
    if choices:
        row["label"] = choices[0] if len(choices) == 1 else choices
    if marks_spans:
        row["entities"] = [_entity(value, text) for value in _spans(result)]
    return row


def _text_of(data: Mapping[str, Any]) -> str:
    """Return the column ``text``, or the only text there is."""
    if isinstance(data.get("text"), str):
        return str(data["text"])
    texts = {name: value for name, value in data.items() if isinstance(value, str)}
    if len(texts) != 1:
        raise RowError(f"expected 'text' in its data, found {', '.join(data) or 'nothing'}")
    return next(iter(texts.values()))


def _result(task: Mapping[str, Any]) -> list[Any] | None:
    """Return what was marked; None where nobody has."""
    annotations = [
        each
        for each in task.get("annotations") or ()
        if isinstance(each, Mapping) and isinstance(each.get("result"), list) and not each.get("was_cancelled")
    ]
    agreed = [each for each in annotations if each.get("ground_truth")]
    chosen = next(iter(agreed or annotations), None)
    return None if chosen is None else list(chosen["result"])


def _of_type(result: Sequence[Any] | None, kind: str) -> list[Mapping[str, Any]]:
    """Return the values of the entries of one kind that hold something."""
    entries = (each for each in result or () if isinstance(each, Mapping) and each.get("type") == kind)
    values = (each.get("value") for each in entries)
    return [value for value in values if isinstance(value, Mapping) and isinstance(value.get(kind), list)]


def _spans(result: Sequence[Any] | None) -> list[Mapping[str, Any]]:
    return _of_type(result, "labels")


def _entity(value: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return a marked span, in characters of the text.

    Older versions of Label Studio count as JavaScript does, in 16-bit units: what stands behind an emoji is one further
    for each of them. The text that comes with a span tells; where there is none, characters are counted.
    """
    start, end, labels = value.get("start"), value.get("end"), value["labels"]
    if type(start) is not int or type(end) is not int:
        raise RowError("a span has no whole numbers 'start' and 'end'; spans of hypertext and audio are not read")
    if len(labels) != 1:
        raise RowError(f"the span {start}-{end} has {len(labels)} labels; expected one")
    label, written = str(labels[0]), value.get("text")
    if not isinstance(written, str):
        return {"start": start, "end": end, "label": label}
    written = written.replace("\\n", "\n")  # a line break is exported as two characters
    by_units = (_characters_before(text, start), _characters_before(text, end))
    if text[start:end] != written and text[slice(*by_units)] == written:
        start, end = by_units
    return {"start": start, "end": end, "label": label, "text": written}


def _characters_before(text: str, units: int) -> int:
    """Return how many characters stand before a place that is counted in 16-bit units."""
    return len(text.encode("utf-16-le")[: 2 * max(0, units)].decode("utf-16-le", errors="ignore"))
