"""The best spans of a window, and what of the text they are."""

from __future__ import annotations

import numpy as np
import pytest

from polyhead.registry.toolkit.answer_spans import best_spans, tidy_span


@pytest.mark.parametrize("longest", [1, 3, 50])
@pytest.mark.parametrize("most", [1, 7, 10_000])
def test_best_spans_are_those_of_trying_all(longest, most):
    draw = np.random.default_rng(longest * most)
    start_T, end_T = (draw.normal(size=20).astype(np.float32) for _ in range(2))
    offsets_T2 = np.array([(-2, -2), *[(-1, -1)] * 4, *[(3 * n, 3 * n + 2) for n in range(14)], (-1, -1)])
    tried = sorted(
        (
            (float(start_T[i]) + float(end_T[j]), 3 * (i - 5), 3 * (j - 5) + 2)
            for i in range(5, 19)
            for j in range(i, min(19, i + longest))
        ),
        reverse=True,
    )
    found = list(best_spans(start_T, end_T, offsets_T2, longest=longest, most=most))
    assert [span[1:] for span in found] == [span[1:] for span in tried[:most]]
    assert [span[0] for span in found] == pytest.approx([span[0] for span in tried[:most]])


def test_where_no_token_may_be_chosen_there_is_no_span():
    offsets_T2 = np.array([(-2, -2), (-1, -1)])
    assert list(best_spans(np.zeros(2), np.zeros(2), offsets_T2, longest=3, most=3)) == []


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [
        (" 李白 \r\n", (0, 6), "李白"),
        ("cafe\u0301 noir", (0, 4), "cafe\u0301"),
        ("e\u0301tude", (1, 6), "e\u0301tude"),
        ("👩\u200d🔬 and", (0, 1), "👩\u200d🔬"),
        ("👩\u200d🔬 and", (2, 3), "👩\u200d🔬"),
        ("☎\ufe0f 110", (0, 1), "☎\ufe0f"),
        ("ＡＢ\u3000Ｃ", (1, 3), "Ｂ"),
        ("\t \n", (0, 3), ""),
        ("ab", (0, 2), "ab"),
    ],
)
def test_spans_are_tidied(text, span, expected):
    start, end = tidy_span(text, *span)
    assert text[start:end] == expected
