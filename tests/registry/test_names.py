"""Unknown names: did you mean, and the list."""

from __future__ import annotations

import pytest

from polyhead.registry import UnknownNameError, available, did_you_mean, unknown_name


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("sentimnt", " Did you mean 'sentiment'?"),
        ("SENTIMENT", " Did you mean 'sentiment'?"),
        ("minilm", " Did you mean 'MiniLM'?"),
        ("情感分折", " Did you mean '情感分析'?"),
        ("translation", ""),
        ("", ""),
    ],
)
def test_the_nearest_name_is_suggested(name, suggestion):
    assert did_you_mean(name, ["sentiment", "MiniLM", "情感分析"]) == suggestion


def test_nothing_is_near_where_nothing_is():
    assert did_you_mean("sentiment", []) == ""


def test_available_names_are_listed_in_their_order():
    assert available(["b", "a"]) == "Available: b, a."


def test_a_long_list_is_cut_and_says_how_much_is_missing():
    assert available([f"n{number}" for number in range(5)], most=3) == "Available: n0, n1, n2 and 2 more."


def test_an_empty_list_is_said():
    assert available([]) == "None is available."


def test_the_error_names_kind_name_nearest_and_list():
    error = unknown_name("task", "sentimnt", {"topics", "sentiment", "情感"})

    assert isinstance(error, UnknownNameError)
    assert str(error) == ("unknown task 'sentimnt'. Did you mean 'sentiment'? Available: sentiment, topics, 情感.")
