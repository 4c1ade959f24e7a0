"""Texts of a row's fields: their order, nested fields, lists, and what is refused."""

from __future__ import annotations

import pytest

from polyhead.registry import RowError
from polyhead.registry.toolkit.row_texts import texts_of_fields

NESTED = {"c": "second", "d": {"e": "third"}}
ROW = {"id": "7", "a": " first ", "b": NESTED, "f": ["one", "two"], "b.c": "whole", "n": 3}


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        (["f", "a"], ["one\ntwo", "first"]),
        (["b.d.e", "missing", "b.d.x", "a.b"], ["third"]),
        (["b.c"], ["whole"]),
    ],
)
def test_texts_come_in_the_order_of_the_fields(fields, texts):
    assert texts_of_fields(ROW, fields) == texts


@pytest.mark.parametrize(
    ("fields", "message"),
    [(["x", "y"], r"\(x, y\) holds a text; columns found: 'a', 'b'"), (["n"], "found 3"), (["b"], "found {'c'")],
)
def test_what_is_no_text_is_refused(fields, message):
    with pytest.raises(RowError, match=message):
        texts_of_fields(ROW, fields)
