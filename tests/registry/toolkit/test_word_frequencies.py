"""Words by frequency: what is counted, and how well texts are guessed by it."""

from __future__ import annotations

import math

import pytest

from polyhead.registry.toolkit import word_frequencies
from polyhead.registry.toolkit.word_frequencies import OTHER, guess_words, word_counts


def test_words_are_guessed_by_how_often_they_occurred():
    counts = word_counts(["The cat, the dog.", "上海"])
    assert counts == {"the": 2, "cat": 1, "dog": 1, "上": 1, "海": 1, OTHER: 0}
    (guess,) = guess_words(["THE cat the bird"], counts)
    assert (guess.words, guess.right) == (4, 2)
    assert guess.nll == pytest.approx(-(2 * math.log(3 / 12) + math.log(2 / 12) + math.log(1 / 12)))


def test_rare_words_are_counted_together(monkeypatch):
    monkeypatch.setattr(word_frequencies, "MOST_WORDS", 1)
    assert word_counts(["a a b c"]) == {"a": 2, OTHER: 2}


def test_probabilities_add_up_to_one():
    counts = word_counts(["a a b", "c"])
    known = [math.exp(-guess.nll) for guess in guess_words(["a", "b", "c", "unseen"], counts)]
    assert sum(known) == pytest.approx(1)


def test_an_empty_text_needs_no_guess():
    (guess,) = guess_words([""], {OTHER: 0})
    assert (guess.nll, guess.words, guess.right) == (0, 0, 0)
