"""Where given answers stand, in every form that a row may hold them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from polyhead.registry import RowError, TaskSetup
from polyhead.registry.toolkit.question_answering import (
    Answer,
    QuestionExample,
    no_answer_threshold,
    paragraph_at,
    read_answers,
)

CONTEXT = "李白字太白，号青莲居士。李白生于701年 😀 in Suiye."


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"text": [], "answer_start": []}, ()),
        ([], ()),
        ({"text": ["太白", "青莲居士"], "answer_start": [3, 7]}, (Answer("太白", 3), Answer("青莲居士", 7))),
        ([{"text": "李白", "answer_start": 12}], (Answer("李白", 12),)),
        ([{"text": "😀", "answer_start": 21}, "Suiye"], (Answer("😀", 21), Answer("Suiye", 26))),
        ({"text": ["701年"]}, (Answer("701年", 16),)),
        ({"text": ["701年"], "answer_start": None}, (Answer("701年", 16),)),
    ],
)
def test_forms_of_answers(value, expected):
    answers = read_answers(value, (CONTEXT,), "answers")
    assert answers == expected
    assert [CONTEXT[answer.start : answer.end] for answer in answers] == [answer.text for answer in expected]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"text": ["太白"], "answer_start": [5]},
            "answer 1: '太白' does not stand at character 5 .there stands '，号'.; it stands 2 characters earlier",
        ),
        ({"text": ["Suiye"], "answer_start": [2]}, "the nearest place is character 26"),
        ({"text": ["Suiye"], "answer_start": [999]}, "'Suiye' does not stand at character 999; the nearest"),
        ({"text": ["李白"], "answer_start": [-1]}, "does not stand at character -1"),
        ({"text": ["杜甫"], "answer_start": [0]}, "'杜甫' does not stand at character 0 .*nor anywhere in the context"),
        (["李白"], "'李白' stands 2 times in the context; give its answer_start"),
        (["杜甫"], "'杜甫' is not in the context"),
        ({"text": ["太白"], "answer_start": [3, 7]}, "as many starts as texts, found 1 in 'text', 2 in 'answer_start'"),
        ({"text": "太白", "answer_start": 3}, "expected {"),
        ({"answer_start": [3]}, "expected {"),
        ({"text": [], "start": []}, "expected {"),
        ({"text": [""], "answer_start": [0]}, "a question without an answer has an empty list"),
        ({"text": [7], "answer_start": [0]}, "answer 1: expected a text, found 7"),
        ({"text": ["太白"], "answer_start": ["3"]}, "expected a whole number as answer_start, found '3'"),
        ({"text": ["太白"], "answer_start": [True]}, "expected a whole number as answer_start, found True"),
        ("太白", "expected answers with their starts, found str"),
    ],
)
def test_what_is_no_answer(value, message):
    with pytest.raises(RowError, match=message) as error:
        read_answers(value, (CONTEXT,), "answers")
    assert error.value.column == "answers"


def test_answers_in_one_of_several_paragraphs():
    contexts = ("甲 one", "乙 two", "甲 one")
    assert read_answers(["two"], contexts, "answers") == (Answer("two", 2, 1),)
    assert read_answers([{"text": "one", "answer_start": 2, "paragraph": 2}], contexts, "answers") == (
        Answer("one", 2, 2),
    )
    assert read_answers({"text": ["甲"], "paragraph": [0]}, contexts, "answers") == (Answer("甲", 0, 0),)
    for value, message in (
        (["one"], "stands 2 times in the context"),
        ([{"text": "one", "answer_start": 2}], "'one' stands at 2 in several paragraphs; say in which"),
        ([{"text": "one", "paragraph": 1}], "'one' is not in the context"),
        ([{"text": "one", "paragraph": 3}], "paragraph 3 is none of 0 to 2"),
        ([{"text": "one", "answer_start": 1, "paragraph": 2}], "it stands 1 characters later, at 2"),
    ):
        with pytest.raises(RowError, match=message):
            read_answers(value, contexts, "answers")


def test_joined_offsets_name_the_paragraph_without_doubt():
    example = QuestionExample("a", "?", ("ab", "c", "defg"))
    starts, joined = example.paragraph_starts, "\n".join(example.contexts)
    assert starts == [0, 3, 5]
    for number, context in enumerate(example.contexts):
        for offset, character in enumerate(context):
            assert joined[starts[number] + offset] == character
            assert paragraph_at(starts, starts[number] + offset) == number


def test_the_threshold_is_the_options_or_the_one_that_was_learned_or_none():
    options = SimpleNamespace(no_answer=None, null_threshold=None)
    learned = TaskSetup(options, facts={"no_answer": True, "null_threshold": 1.5})
    assert no_answer_threshold(TaskSetup(options)) == 0.0
    assert no_answer_threshold(learned) == 1.5
    assert no_answer_threshold(replace(learned, options=SimpleNamespace(no_answer=None, null_threshold=-2))) == -2.0
    assert no_answer_threshold(TaskSetup(options, facts={"no_answer": False})) == float("inf")
    forced = SimpleNamespace(no_answer=False, null_threshold=3.0)
    assert no_answer_threshold(replace(learned, options=forced)) == float("inf")
    allowed = SimpleNamespace(no_answer=True, null_threshold=None)
    assert no_answer_threshold(TaskSetup(allowed, facts={"no_answer": False})) == 0.0
