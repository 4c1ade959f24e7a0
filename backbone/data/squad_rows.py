"""Read question answering files: SQuAD 1.1 and 2.0, what has their shape (CMRC 2018, DRCD), and CMRC's own.

Definitions: https://rajpurkar.github.io/SQuAD-explorer (``data``, ``paragraphs``, ``qas``, ``answers``,
``is_impossible``), https://github.com/ymcui/cmrc2018 (its trial data: ``context_text``, ``qas``, ``query_text``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyhead.backbone.data.encodings import UNDECODABLE, open_bytes, open_text, undecodable_problem
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError, RowError

_FIRST_BYTES = 1 << 16
_MARKS = b"\xef\xbb\xbf\xfe\xff"
"""The bytes of all byte order marks."""
_SQUAD = re.compile(r'\s*\{.*?"data"\s*:\s*\[', re.DOTALL)
_CMRC = re.compile(r'\s*\[\s*\{(?=.*?"context_text"\s*:)(?=.*?"query_text"\s*:)', re.DOTALL)


def looks_like_squad(path: Path) -> bool:
    """Tell whether a JSON file has the shape of SQuAD or of CMRC's own, by its beginning."""
    with open_bytes(path) as file:
        start = file.read(_FIRST_BYTES)
    text = start.translate(None, b"\0").lstrip(_MARKS).decode("latin-1")  # the keys are ASCII in every encoding
    return _SQUAD.match(text) is not None or _CMRC.match(text) is not None


def read_squad(path: Path, encoding: str) -> Iterator[SourceRow]:
    """Yield a row for each question: ``id``, ``title``, ``context``, ``question`` and, where it has any, ``answers``.

    ``answers`` is ``{"text": [...], "answer_start": [...]}``; both are empty for a question that cannot be answered
    (``plausible_answers`` do not count). CMRC's own files do not say where an answer stands: its first place in the
    context is taken. The line of a row is the number of its question, from 1. The file is read as a whole. Raises
    `DataError` for another file, or one without a question.
    """
    with open_text(path, encoding, newline=None) as file:
        text = file.read()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no readable JSON: {error}") from None
    number = 0
    for question in _questions(path, content):
        number += 1
        yield SourceRow(number, {}, question) if isinstance(question, str) else _row(number, question, encoding)
    if number == 0:
        raise DataError(f"{path}: holds no question")


def _row(number: int, question: _Question, encoding: str) -> SourceRow:
    try:
        row = question.row()
        _check_characters(row, encoding)
    except RowError as error:
        return SourceRow(number, {}, f"{question.name}: {error.problem}")
    return SourceRow(number, row)


@dataclass(frozen=True)
class _Question:
    """One question where it stands; nothing of it is checked yet."""

    title: Any
    paragraph: dict[str, Any]
    question: Any
    is_cmrc: bool

    @property
    def name(self) -> str:
        """Return what to call it in a message."""
        id_ = self.question.get("query_id" if self.is_cmrc else "id") if isinstance(self.question, dict) else None
        return "question" if id_ is None else f"question '{id_}'"

    def row(self) -> dict[str, Any]:
        """Return the row; raises `RowError` for what is missing or has another type."""
        paragraph, question = self.paragraph, _object(self.question, "question")
        names = ("context_text", "query_text", "query_id") if self.is_cmrc else ("context", "question", "id")
        row: dict[str, Any] = {"title": self.title} if isinstance(self.title, str) and self.title else {}
        if question.get(names[2]) is not None:
            row["id"] = str(question[names[2]])
        row["context"] = _text(paragraph, names[0])
        row["question"] = _text(question, names[1])
        answers = _answers_of_cmrc(question, row["context"]) if self.is_cmrc else _answers_of_squad(question)
        return row if answers is None else {**row, "answers": answers}


def _questions(path: Path, content: Any) -> Iterator[_Question | str]:
    """Yield the questions, and in words where an article or paragraph has none because it is broken."""
    if isinstance(content, list):
        for paragraph in content:
            yield from _questions_of(paragraph, paragraph, is_cmrc=True)
        return
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise DataError(f"{path}: is no SQuAD file: expected an object with a list 'data'")
    for article in content["data"]:
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            yield "an article has no list 'paragraphs'"
            continue
        for paragraph in paragraphs:
            yield from _questions_of(article, paragraph, is_cmrc=False)


def _questions_of(article: Any, paragraph: Any, *, is_cmrc: bool) -> Iterator[_Question | str]:
    questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
    if not isinstance(questions, list):
        yield "a paragraph has no list 'qas'"
        return
    for question in questions:
        yield _Question(article.get("title"), paragraph, question, is_cmrc)


def _answers_of_squad(question: dict[str, Any]) -> dict[str, list[Any]] | None:
    impossible = question.get("is_impossible", False)
    if not isinstance(impossible, bool):
        raise RowError("is_impossible must be true or false", column="answers")
    answers = question.get("answers")
    if answers is None:
        return {"text": [], "answer_start": []} if impossible else None
    if not isinstance(answers, list):
        raise RowError("answers must be a list", column="answers")
    if impossible and answers:
        raise RowError("is_impossible is true, and yet there are answers", column="answers")
    starts = [_object(answer, "answer").get("answer_start") for answer in answers]
    if not all(isinstance(start, int) and not isinstance(start, bool) for start in starts):
        raise RowError("answer_start must be a whole number", column="answers")
    return {"text": [_text(answer, "text") for answer in answers], "answer_start": starts}


def _answers_of_cmrc(question: dict[str, Any], context: str) -> dict[str, list[Any]] | None:
    answers = question.get("answers")
    if answers is None:
        return None
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise RowError("answers must be a list of strings", column="answers")
    absent = next((answer for answer in answers if answer not in context), None)
    if absent is not None:
        raise RowError(f"the answer {absent!r:.60} does not stand in its context", column="answers")
    return {"text": answers, "answer_start": [context.index(answer) for answer in answers]}


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RowError(f"the {what} must be an object")
    return value


def _text(holder: dict[str, Any], key: str) -> str:
    value = holder.get(key)
    if not isinstance(value, str):
        raise RowError(f"'{key}' must be a string" if key in holder else f"has no '{key}'")
    return value


def _check_characters(row: dict[str, Any], encoding: str) -> None:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        if UNDECODABLE in json.dumps(row, ensure_ascii=False):
            raise RowError(undecodable_problem(encoding)) from None
        raise RowError(r"holds half a surrogate pair (\ud800 to \udfff), which is no character") from None
