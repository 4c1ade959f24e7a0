from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polyhead.backbone.data.squad_rows import read_squad
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError

CONTEXT = "长江是中国第一大河，全长6397千米。🙂 The Yangtze."


def rows(tmp_path: Path, content: Any, encoding: str = "utf-8") -> list[SourceRow]:
    path = tmp_path / "a.json"
    data = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False, indent=1).encode(encoding)
    path.write_bytes(data)
    return list(read_squad(path, encoding))


def squad(*questions: Any, version: str = "v2.0") -> dict[str, Any]:
    return {
        "version": version,
        "data": [{"title": "长江", "paragraphs": [{"context": CONTEXT, "qas": list(questions)}]}],
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_a_question_with_answers_is_a_row(tmp_path: Path, encoding: str) -> None:
    answers = [{"text": "6397千米", "answer_start": 12}, {"text": "6397", "answer_start": 12}]
    question = {"id": "DEV_0", "question": "长江全长多少？", "answers": answers}
    assert CONTEXT[12:18] == "6397千米"
    assert rows(tmp_path, squad(question), encoding) == [
        SourceRow(
            1,
            {
                "title": "长江",
                "id": "DEV_0",
                "context": CONTEXT,
                "question": "长江全长多少？",
                "answers": {"text": ["6397千米", "6397"], "answer_start": [12, 12]},
            },
        )
    ]


@pytest.mark.parametrize(
    ("more", "answers"),
    [
        ({"is_impossible": True, "answers": [], "plausible_answers": [{"text": "中国", "answer_start": 3}]}, ([], [])),
        ({"is_impossible": True}, ([], [])),
        ({"answers": []}, ([], [])),
        ({"is_impossible": False, "answers": [{"text": "中国", "answer_start": 3}]}, (["中国"], [3])),
        ({}, None),
        ({"is_impossible": False}, None),
    ],
)
def test_impossible_questions_and_those_to_be_answered(tmp_path: Path, more: dict[str, Any], answers: Any) -> None:
    (row,) = rows(tmp_path, squad({"id": 7, "question": "问？", **more}))
    expected = None if answers is None else {"text": answers[0], "answer_start": answers[1]}
    assert (row.row["id"], row.row.get("answers"), row.problem) == ("7", expected, None)


@pytest.mark.parametrize(
    ("question", "problem"),
    [
        ("text", "question: the question must be an object"),
        ({"id": "a"}, "question 'a': has no 'question'"),
        ({"question": 3}, "question: 'question' must be a string"),
        ({"question": "?", "answers": {"text": []}}, "question: answers must be a list"),
        ({"question": "?", "answers": ["中国"]}, "question: the answer must be an object"),
        ({"question": "?", "answers": [{"text": "中国"}]}, "question: answer_start must be a whole number"),
        ({"question": "?", "answers": [{"answer_start": 1}]}, "question: has no 'text'"),
        ({"question": "?", "is_impossible": "no"}, "question: is_impossible must be true or false"),
        (
            {"question": "?", "is_impossible": True, "answers": [{"text": "中国", "answer_start": 3}]},
            "question: is_impossible is true, and yet there are answers",
        ),
        ({"question": "\ud800"}, r"question: holds half a surrogate pair (\ud800 to \udfff), which is no character"),
    ],
)
def test_a_broken_question_does_not_end_the_file(tmp_path: Path, question: Any, problem: str) -> None:
    content = json.dumps(squad(question, {"id": "b", "question": "好？"})).encode()
    broken, whole = rows(tmp_path, content)
    assert broken == SourceRow(1, {}, problem)
    assert (whole.line, whole.row["question"]) == (2, "好？")


def test_broken_articles_and_paragraphs_are_problems(tmp_path: Path) -> None:
    good = squad({"question": "好？"})["data"][0]
    found = rows(tmp_path, {"data": [3, {"title": "x"}, {"paragraphs": [None, {"context": "文"}]}, good]})
    assert [row.problem for row in found] == [
        "an article has no list 'paragraphs'",
        "an article has no list 'paragraphs'",
        "a paragraph has no list 'qas'",
        "a paragraph has no list 'qas'",
        None,
    ]


def test_a_question_without_context_is_a_problem(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, {"data": [{"paragraphs": [{"qas": [{"id": "a", "question": "?"}]}]}]})
    assert row == SourceRow(1, {}, "question 'a': has no 'context'")


def test_the_files_of_cmrc_name_answers_without_their_place(tmp_path: Path) -> None:
    questions = [
        {"query_id": "TRAIN_0_QUERY_0", "query_text": "哪国？", "answers": ["中国", "中国第一大河"]},
        {"query_id": "TRAIN_0_QUERY_1", "query_text": "多长？", "answers": ["六千"]},
        {"query_id": "TRAIN_0_QUERY_2", "query_text": "多宽？"},
    ]
    content = [{"context_id": "TRAIN_0", "context_text": CONTEXT, "title": "长江", "qas": questions}]
    assert rows(tmp_path, content) == [
        SourceRow(
            1,
            {
                "title": "长江",
                "id": "TRAIN_0_QUERY_0",
                "context": CONTEXT,
                "question": "哪国？",
                "answers": {"text": ["中国", "中国第一大河"], "answer_start": [3, 3]},
            },
        ),
        SourceRow(2, {}, "question 'TRAIN_0_QUERY_1': the answer '六千' does not stand in its context"),
        SourceRow(3, {"title": "长江", "id": "TRAIN_0_QUERY_2", "context": CONTEXT, "question": "多宽？"}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no readable JSON"),
        (b'{"data": [', "is no readable JSON"),
        (b"3", "is no SQuAD file: expected an object with a list 'data'"),
        (b'{"data": {}}', "is no SQuAD file: expected an object with a list 'data'"),
        (b'{"data": []}', "holds no question"),
        (b"[]", "holds no question"),
        (b'{"data": [{"paragraphs": [{"context": "", "qas": []}]}]}', "holds no question"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        rows(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: {message}")
    assert "\n" not in str(caught.value)


def test_invalid_bytes_spoil_their_question_only(tmp_path: Path) -> None:
    content = json.dumps(squad({"id": "a", "question": "?XX"}, {"id": "b", "question": "?"})).encode()
    found = rows(tmp_path, content.replace(b"XX", b"\xff"))
    assert [row.problem for row in found] == ["question 'a': holds bytes that are not valid utf-8", None]
