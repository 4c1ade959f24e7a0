"""What was written window by window becomes one text: joined, tidied, with its probability."""

from __future__ import annotations

import pytest

from polyhead.registry import Feature, Generated, Window
from polyhead.registry.toolkit.written_texts import by_source, generated_windows, join_texts, join_windows, tidy


def window(*texts: str, start: int = 0, finished: bool = True) -> Window:
    spans = [(0, 0), (start, start + 3)]
    written = tuple(Generated(text, -1.0 - rank, 4 + rank, finished) for rank, text in enumerate(texts))
    return Window(Feature(0, {"input_ids": [1, 2]}, {}, spans), {}, written)


def test_windows_are_joined_rank_by_rank():
    windows = [window(), window(" Hello.", "Hi."), window("Bye.", "So long.", "Ciao.", finished=False)]
    assert generated_windows(windows) == windows[1:]
    written = join_windows(windows[1:])
    assert written.windows == 2
    assert [(text.text, text.log_probability, text.tokens) for text in written.candidates] == [
        ("Hello. Bye.", -2.0, 8),
        ("Hi. So long.", -4.0, 10),
    ]
    assert written.best == written.candidates[0]
    assert written.best.finished is False


def test_where_nothing_was_written_there_is_no_text():
    written = join_windows([])
    assert (written.best.text, written.candidates, written.windows) == ("", (), 0)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["One.", " Two. "], "One. Two."),
        (["好看。", "真好。"], "好看。真好。"),
        (["我用Python", "写代码"], "我用Python写代码"),
        (["It is 好", "yes"], "It is 好yes"),
        (["좋아요.", "네."], "좋아요. 네."),
        (["", "a", "", "b"], "a b"),
        ([], ""),
    ],
)
def test_joining_by_script(texts, expected):
    assert join_texts(texts) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我 不 知 道 ， 汤 姆 。", "我不知道，汤姆。"),
        ("他 在 2021 年 用 BERT 。", "他在 2021 年用 BERT。"),
        ("a b， c", "a b， c"),
        ("《 三 体 》 很 好 ！", "《三体》很好！"),
        ("i don ' t know , tom ' s dog", "i don't know , tom's dog"),
        ("he said ' hello '", "he said ' hello '"),
        (" plain text. ", "plain text."),
    ],
)
def test_blanks_of_wordpiece_are_taken_out(text, expected):
    assert tidy(text) == expected


def test_windows_of_several_sources_are_told_apart_by_their_starts():
    windows = [window("a"), window("b", start=9), window("c"), window("d", start=5), window("e")]
    assert [[found.generated[0].text for found in group] for group in by_source(windows)] == [
        ["a", "b"],
        ["c", "d"],
        ["e"],
    ]
    assert by_source([]) == []
