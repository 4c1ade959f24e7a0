"""Texts that were seen before: none is lost, none comes twice, and few bytes are kept of each."""

from __future__ import annotations

import random
from dataclasses import dataclass

from polyhead.backbone.data.duplicates import SeenTexts, number_of, text_without_id, without_duplicates


@dataclass(frozen=True)
class Text:
    """Stands for a task's example."""

    id: str
    text: str


def test_only_the_first_of_like_examples_is_left():
    examples = [Text("1", "a"), Text("2", "b"), Text("3", "a"), Text("4", "A"), Text("5", "b")]
    assert [each.id for each in without_duplicates(examples)] == ["1", "2", "4"]


def test_what_has_no_id_is_left_alone():
    assert list(without_duplicates(["skipped", "skipped"])) == ["skipped", "skipped"]
    assert text_without_id("skipped") is None


def test_it_is_a_set_however_it_grows():
    draw = random.Random(1)
    texts = [str(draw.randrange(8_000)) for _ in range(20_000)]
    seen, known = SeenTexts(), set()
    for text in texts:
        assert seen.add(text) == (text not in known)
        known.add(text)
    assert len(seen) == len(known) > 7_000


def test_the_number_of_a_text_depends_on_text_and_seed_alone():
    assert number_of("电影") == number_of("电影") != number_of("电影", seed=1)
    numbers = [number_of(str(each), seed=7) / 2**64 for each in range(4_000)]
    assert abs(sum(number < 0.1 for number in numbers) / 4_000 - 0.1) < 0.02
    number_of("half a surrogate pair: \ud800")
