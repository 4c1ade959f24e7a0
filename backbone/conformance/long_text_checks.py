"""Whether a text that is longer than a window is read to its end, or refused in words: never cut off in silence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from polyhead.backbone.conformance.checks import Check, CheckError, NotApplicable
from polyhead.backbone.conformance.data_checks import unanswered
from polyhead.backbone.conformance.subject import TaskSubject, View
from polyhead.registry import PolyheadError, Row

SMALL_WINDOW = 64
LONG = 4
"""How many windows a long text fills."""
MOST_ROWS = 8
"""Rows that are looked through for a text that is read: some have only an answer."""
RowWith = Callable[[str], Row]


def check_long_texts(subject: TaskSubject) -> str:
    """Lengthen each text that is read beyond one window."""
    for row in subject.rows[:MOST_ROWS]:
        seen = _seen(subject, row)
        if seen:
            return "; ".join(f"{what} ({', '.join(dict.fromkeys(families))})" for what, families in seen.items())
    raise NotApplicable(f"no column of the first {MOST_ROWS} rows holds a text that is read")


def _seen(subject: TaskSubject, row: Row) -> dict[str, list[str]]:
    """Lengthen each text of a row that is read, and return what became of it, with the families."""
    seen: dict[str, list[str]] = {}
    for family, view in subject.views.items():
        for column, text, row_with in _texts(subject, row):
            base = _windows_of(subject, view, row_with(text))
            if base is None or _windows_of(subject, view, row_with(f"{text} 7 {text}")) == base:
                continue  # it is not read, as a title is not
            seen.setdefault(f"'{column}' {_lengthened(subject, view, text, row_with)}", []).append(family)
    return seen


def _texts(subject: TaskSubject, answered: Row) -> Iterator[tuple[str, str, RowWith]]:
    """Yield the texts in a row, as it is predicted, each with what puts another one in its place."""
    row, bare = unanswered(subject, answered), subject.task.text_column
    for name, value in row.items():
        if name == "id":
            continue
        if isinstance(value, str):
            yield name, value, partial(_with, row, name)
        elif isinstance(value, Mapping):
            for key, part in value.items():
                if isinstance(part, str):
                    yield f"{name}.{key}", part, partial(_with_part, row, name, key)
        elif isinstance(value, list) and value and all(isinstance(part, str) for part in value) and bare not in row:
            yield bare, " ".join(value), partial(_with, {}, bare)


def _with(row: Row, name: str, text: str) -> Row:
    return {**row, name: text}


def _with_part(row: Row, name: str, key: str, text: str) -> Row:
    return {**row, name: {**row[name], key: text}}


def _lengthened(subject: TaskSubject, view: View, text: str, row_with: RowWith) -> str:
    """Say what becomes of a text that is longer than a window."""
    once, window = _tokens(view, text), _window_of(subject, view)
    long = " ".join([text] * (1 + LONG * window // max(1, once)))
    wanted, read = _tokens(view, long), _windows_of(subject, view, row_with(long))
    if read is None:
        return "is refused where it is too long"
    longest = max(map(len, read), default=0)
    if longest > window:
        raise CheckError(
            f"{view.family}: a text of {wanted} tokens in the column gives a window of {longest}; one holds {window}",
            "cut it at settings.max_length (truncation=True with return_overflowing_tokens=True)",
        )
    if sum(map(len, read)) < wanted:
        raise CheckError(
            f"{view.family}: a text of {wanted} tokens in the column becomes {len(read)} windows of at most {window} "
            f"with {sum(map(len, read))} tokens in all: the rest is cut off without a word. It begins: {text:.60}",
            "give a feature for each window (return_overflowing_tokens=True with settings.stride), or raise DataError",
        )
    return f"gives {len(read)} windows"


def _tokens(view: View, text: str) -> int:
    return len(view.settings.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _window_of(subject: TaskSubject, view: View) -> int:
    """Return a small window; the whole one where it has to hold what is written, too."""
    return SMALL_WINDOW if subject.task.encode_prompts is None else view.settings.max_length


def _windows_of(subject: TaskSubject, view: View, row: Row) -> list[list[int]] | None:
    """Return the ids of the windows that a row is predicted from; None where it is refused."""
    task, window = subject.task, _window_of(subject, view)
    settings = dataclasses.replace(view.settings, max_length=window, stride=window // 4, predicting=True)
    encode = task.encode if task.encode_prompts is None else task.encode_prompts
    try:
        features = encode([task.to_example(row, "long", subject.options)], settings)
    except PolyheadError:
        return None
    return [[int(token) for token in feature.inputs["input_ids"]] for feature in features]


LONG_TEXT_CHECKS: tuple[Check[TaskSubject], ...] = (
    Check("long-texts", "what is longer than a window becomes several, or is refused in words", check_long_texts),
)
