"""Where texts may be cut: English and Chinese sentences, abbreviations, characters of several code points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhead.registry.toolkit.sentence_windows import cut_at, sentence_ends, sentences, words_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Is it No. 5? No. It is not.", ["Is it No. 5?", "No.", "It is not."]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("Dr. Smith (cf. Fig. 3) came at 3.5 p.m. from the U.S. office. He left.", None),
        ("See example.org and v1.2 now. Done", ["See example.org and v1.2 now.", "Done"]),
        ("好看。“真好！”他说；我也去……你呢？", ["好看。", "“真好！”", "他说；我也去……你呢？"]),
        ("采用铁掺杂方法.结果表明,效果好.", ["采用铁掺杂方法.", "结果表明,效果好."]),
        ("温度为3.5度.", ["温度为3.5度."]),
        ("Title\nFirst line\r\n\r\nSecond", ["Title", "First line", "Second"]),
        ("我用iPhone。It works. 好", ["我用iPhone。", "It works.", "好"]),
        ("no end", ["no end"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences(text, expected):
    whole = ["Dr. Smith (cf. Fig. 3) came at 3.5 p.m. from the U.S. office.", "He left."]
    assert sentences(text) == (whole if expected is None else expected)


def test_clauses_are_ends_only_where_asked():
    assert sentence_ends("甲；乙……丙。") == [7]
    assert sentence_ends("甲；乙……丙。", clauses=True) == [2, 5, 7]


@given(st.text(alphabet="ab .!?\n。！；好é́👩‍👧", max_size=60))
def test_nothing_is_lost(text):
    ends = sentence_ends(text, clauses=True)
    assert ends == sorted(set(ends))
    assert ends[-1] == len(text)
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


@given(st.text(alphabet="ab .!?\n。！；好é́👩‍👧", min_size=2, max_size=60), st.data())
def test_a_cut_moves_on_and_stays_inside_what_fits(text, data):
    start = data.draw(st.integers(0, len(text) - 2))
    last = data.draw(st.integers(start + 1, len(text) - 1))
    end = cut_at(text, start, list(range(start + 1, last + 1)))
    assert start < end <= last + 1


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        ("One two. Three four five", 16, "One two. "),
        ("one two three four", 12, "one two "),
        ("one two three", 7, "one two"),
        ("一二三四五六", 4, "一二三四"),
        ("一 二三四五六七八", 8, "一 二三四五六七"),  # a blank near the start is no place to cut
        ("cafe\u0301s", 4, "caf"),
        ("ab👩\u200d👩\u200d👧", 4, "ab"),
    ],
)
def test_where_a_window_ends(text, tokens, expected):
    assert text[: cut_at(text, 0, list(range(1, tokens + 1)))] == expected


def test_words_are_whole_and_chinese_characters_single():
    assert words_of("基于BERT-base的 3.5 版，Größe！한국어") == [
        *("基", "于", "BERT", "base", "的", "3", "5", "版", "Größe", "한국어")
    ]
