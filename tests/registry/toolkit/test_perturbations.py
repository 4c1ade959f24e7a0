"""Changes to a text that should not change its meaning, in English and in Chinese."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as some

from polyhead.registry import TextExample
from polyhead.registry.toolkit.perturbations import (
    drop_punctuation,
    perturbations_of_the_text,
    swap_neighbours,
    text_perturbations,
    widen,
)

CHANGES = {change.name: change for change in text_perturbations()}


def changed(name: str, text: str, seed: int = 0) -> str:
    return CHANGES[name].apply(TextExample("a", text), random.Random(seed)).text


def test_these_are_offered():
    assert list(CHANGES) == ["typos", "lowercase", "no-punctuation", "full-width"]
    assert all(change.summary for change in CHANGES.values())


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("lowercase", "GOOD Film", "good film"),
        ("no-punctuation", "Good, really good! “很好看”,真的。", "Good really good 很好看真的"),
        ("no-punctuation", "?!", "?!"),
        ("full-width", "OK 5! 好", "\uff2f\uff2b \uff15\uff01 好"),
        ("typos", "好", "好"),
        ("typos", "ab", "ba"),
        ("typos", "这部", "部这"),
    ],
)
def test_what_they_do(name, text, expected):
    assert changed(name, text) == expected


@given(some.text(), some.integers(0, 99))
def test_typos_swap_letters_within_words_only(text, seed):
    found = swap_neighbours(text, random.Random(seed))
    assert [len(word) for word in found.split(" ")] == [len(word) for word in text.split(" ")]
    assert [Counter(word) for word in found.split(" ")] == [Counter(word) for word in text.split(" ")]


@given(some.text())
def test_no_change_empties_a_text(text):
    draw = random.Random(0)
    for change in (swap_neighbours, drop_punctuation, widen):
        assert bool(change(text, draw).strip()) == bool(text.strip())


def test_about_one_word_of_ten_has_a_typo():
    text = " ".join(f"word{number}x" for number in range(100))
    differing = sum(a != b for a, b in zip(changed("typos", text).split(), text.split(), strict=True))
    assert 5 <= differing <= 10


def test_the_same_draw_gives_the_same_text():
    text = "a warm and funny film about friends"
    assert changed("typos", text, 4) == changed("typos", text, 4)
    assert len({changed("typos", text, seed) for seed in range(20)}) > 3


def test_a_pair_changes_on_both_sides_and_keeps_its_labels():
    example = TextExample("a", "GOOD", "Bad", ("x",))
    assert CHANGES["lowercase"].apply(example, random.Random(0)) == TextExample("a", "good", "bad", ("x",))


def test_an_aspect_may_be_left_as_it_is():
    changes = {change.name: change for change in perturbations_of_the_text()}
    assert list(changes) == list(CHANGES)
    example = TextExample("a", "GOOD", "Battery", ("x",))
    assert changes["lowercase"].apply(example, random.Random(0)) == TextExample("a", "good", "Battery", ("x",))
