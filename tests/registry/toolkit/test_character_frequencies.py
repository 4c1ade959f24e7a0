"""The likelihood of a text by how often its characters occur."""

from __future__ import annotations

import math

import pytest

from polyhead.registry.toolkit import character_frequencies
from polyhead.registry.toolkit.character_frequencies import character_counts, negative_log_likelihoods


def test_characters_are_counted_once_more_than_they_occur():
    counts = character_counts(["明月光明", "ab"])
    assert counts == {"明": 2, "月": 1, "光": 1, "a": 1, "b": 1, "": 0}
    (known, empty, unseen) = negative_log_likelihoods(["明a", "", "🙂"], counts)
    assert known == pytest.approx(-math.log(3 / 12) - math.log(2 / 12))
    assert empty == 0.0
    assert unseen == pytest.approx(math.log(12) + math.log(0x110000 - 5))


def test_the_probabilities_of_all_characters_add_up_to_one():
    counts = character_counts(["明月光明", "ab"])
    known = [math.exp(-cost) for cost in negative_log_likelihoods([name for name in counts if name], counts)]
    (other,) = negative_log_likelihoods(["x"], counts)
    assert sum(known) + math.exp(-other) * (0x110000 - 5) == pytest.approx(1.0)


def test_rare_characters_count_as_one(monkeypatch):
    monkeypatch.setattr(character_frequencies, "MOST_CHARACTERS", 2)
    assert character_counts(["aaabbcd"]) == {"a": 3, "b": 2, "": 2}
