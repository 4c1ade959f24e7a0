"""Texts of one example as features of their own: none is cut off, and it is known which feature belongs to which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from polyhead.registry import DataError, EncodeSettings, TaskSetup, Window
from polyhead.registry.toolkit.embedding_encoding import by_text, features_of_pairs, windows_of_texts

LONG = "the cat sat on the mat and 猫坐在垫子上 " * 8


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def reading(tokenizer: Any, longest: int = 16, stride: int = 4) -> EncodeSettings:
    return EncodeSettings(tokenizer, longest, stride, TaskSetup(None))


def as_window(found: Any) -> Window:
    from polyhead.registry import Feature

    return Window(Feature(found.example, found.inputs, {}, found.offsets), {})


def test_a_short_text_is_what_the_tokenizer_gives(tokenizer):
    (found,) = windows_of_texts([["  A cat. 猫"]], reading(tokenizer))
    assert dict(found.inputs) == dict(tokenizer("  A cat. 猫"))
    assert (found.example, found.text, found.number) == (0, 0, 0)


def test_no_token_of_a_long_text_is_lost(tokenizer):
    found = list(windows_of_texts([["short", LONG], [LONG]], reading(tokenizer)))
    places = [(window.example, window.text, window.number) for window in found]
    count = max(number for _, _, number in places) + 1
    assert places == [(0, 0, 0), *((0, 1, n) for n in range(count)), *((1, 0, n) for n in range(count))]
    ids = tokenizer(LONG, add_special_tokens=False, verbose=False)["input_ids"]
    kept: list[int] = []
    for window in found[1 : 1 + count]:
        inner = list(window.inputs["input_ids"][1:-1])
        kept += inner[4:] if kept else inner
    assert kept == ids
    assert all(len(window.inputs["input_ids"]) <= 16 for window in found)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.text("ab 中文😀é\r\n\t。", min_size=1, max_size=60), min_size=1, max_size=3), min_size=1))
def test_windows_are_told_apart_by_where_they_begin(tokenizer, examples):
    found = list(windows_of_texts(examples, reading(tokenizer, 6, 2)))
    for number, texts in enumerate(examples):
        windows = [window for window in found if window.example == number]
        assert [len(part) for part in by_text([as_window(window) for window in windows])] == [
            sum(window.text == text for window in windows) for text in range(len(texts))
        ]


def test_a_window_without_room_is_refused(tokenizer):
    with pytest.raises(DataError, match="holds no text"):
        list(windows_of_texts([["a"]], reading(tokenizer, 2)))


def test_no_examples_give_no_windows(tokenizer):
    assert list(windows_of_texts([], reading(tokenizer))) == []


def test_pairs_are_read_together(tokenizer):
    pairs = [(0, "a cat", "a dog"), (0, "a cat", LONG), (1, "猫", "狗")]
    labels = [{"target": float(at)} for at in range(3)]
    found = list(features_of_pairs(pairs, reading(tokenizer), labels))
    assert dict(found[0].inputs) == dict(tokenizer("a cat", "a dog"))
    assert [feature.example for feature in found] == [0] * (len(found) - 1) + [1]
    assert [feature.labels["target"] for feature in found] == [0.0, *[1.0] * (len(found) - 2), 2.0]
    first = [Window(feature, {}) for feature in found if feature.example == 0]
    assert [len(part) for part in by_text(first)] == [1, len(found) - 2]


def test_a_tokenizer_that_parts_nothing_gets_a_line_between(tokenizer):
    import copy

    from tokenizers.processors import Sequence as Nothing

    plain = copy.deepcopy(tokenizer)
    plain.backend_tokenizer.post_processor = Nothing([])
    (found,) = features_of_pairs([(0, "a", "b")], reading(plain), [{}])
    assert found.inputs["input_ids"] == plain("a", "\nb")["input_ids"]
