"""The check that mistakes in data are told in words: no file, however broken, ends in an exception of the plugin's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polyhead.backbone.conformance.checks import Check, CheckError
from polyhead.backbone.conformance.subject import TaskSubject
from polyhead.backbone.conformance.trial import model_in_memory, write_rows
from polyhead.backbone.data.examples import read_examples
from polyhead.registry import EncodeSettings, PolyheadError, Row, RowError

STRANGE: Mapping[str, Any] = {
    "an empty text": "",
    "null": None,
    "a number": 12345,
    "a number with a point": -0.5,
    "true": True,
    "an empty list": [],
    "a list of numbers": [1, 2],
    "a list with an empty object": [{}],
    "an empty object": {},
    "an object": {"text": 1, "label": None},
    "a text that nobody expects": "\u200b�",
}
"""What stands in a column, one after the other."""


def check_errors(subject: TaskSubject) -> str:
    """Read files that are broken in every way, and see what comes of it."""
    folder = subject.folder / "broken"
    folder.mkdir(exist_ok=True)
    _must_refuse(subject, write_rows(folder / "empty.jsonl", []), "an empty file")
    settings = model_in_memory(subject, subject.first_family).session.reader.settings
    refused = read = 0
    for what, row in _broken_rows(subject):
        path = write_rows(folder / "broken.jsonl", [{**subject.rows[0], "id": "first"}, row])
        try:
            examples = _read(subject, path, what)
        except PolyheadError as error:
            refused += 1
            _check_words(path, str(error), what)
        else:
            read += 1
            _encode(subject, examples[-1], settings, what)
    return f"{refused} broken rows were refused in words, {read} were read"


def _broken_rows(subject: TaskSubject) -> Iterator[tuple[str, Row]]:
    """Give rows with one column wrong or missing, and what is wrong, in words."""
    row = {**subject.rows[1 % len(subject.rows)], "id": "second"}
    for column in subject.task.columns:
        if column.name == "id" or column.name not in row:
            continue
        yield f"no column '{column.name}'", {name: value for name, value in row.items() if name != column.name}
        for what, value in STRANGE.items():
            yield f"{what} in column '{column.name}'", {**row, column.name: value}


def _must_refuse(subject: TaskSubject, path: Path, what: str) -> None:
    try:
        _read(subject, path, what)
    except PolyheadError as error:
        _check_words(path, str(error), what, line="")
    else:
        raise CheckError(f"{what} was read without a word", "raise RowError for what makes no example")


def _read(subject: TaskSubject, path: Path, what: str) -> tuple[Any, ...]:
    """Read a file as training does."""
    try:
        found = read_examples(subject.registry, subject.task, [path], labels_required=True, options=subject.options)
    except PolyheadError:
        raise
    except Exception as error:
        raise CheckError(
            f"{what}: to_example raised {type(error).__name__}: {error}",
            "check every value before it is used, and raise RowError(problem, column=NAME)",
        ) from error
    return found.examples


def _check_words(path: Path, message: str, what: str, line: str = "line 2") -> None:
    """Refuse a message that does not say where, or that is longer than one line."""
    if str(path) not in message or line not in message or "\n" in message:
        raise CheckError(
            f"{what}: the message does not name file and line in one line: {message:.200}",
            "raise RowError with one line; the engine adds file and line",
        )


def _encode(subject: TaskSubject, example: Any, settings: EncodeSettings, what: str) -> None:
    """Check and encode an example that was read: whoever lets a row in must be able to work with it."""
    try:
        subject.task.check_example(example, subject.setup)
        subject.task.encode([example], settings)
    except RowError:
        return
    except Exception as error:
        raise CheckError(
            f"{what}: to_example let it pass, and then {type(error).__name__} was raised: {error}",
            "refuse it in to_example or check_example: raise RowError(problem, column=NAME)",
        ) from error


ERROR_CHECKS: tuple[Check[TaskSubject], ...] = (
    Check("errors-are-ours", "a broken file or row gives one line with file and row, never a traceback", check_errors),
)
