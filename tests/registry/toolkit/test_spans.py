"""Words stand where they stand: in mixed scripts, emoji, full-width text and texts joined from tokens."""

from __future__ import annotations

import pytest

from polyhead.registry.toolkit.spans import cut_at, find_tokens, join_tokens, split_words, trim, word_at

FAMILY = "👨‍👩‍👧"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \r\n\t ", []),
        ("John's U.S. trip", ["John", "'", "s", "U", ".", "S", ".", "trip"]),
        ("我爱Python3和北京。", ["我", "爱", "Python3", "和", "北", "京", "。"]),
        ("ＡＢＣ１２３，全角", ["ＡＢＣ１２３", "，", "全", "角"]),
        ("ひらカタ 한국어", ["ひ", "ら", "カ", "タ", "한국어"]),
        ("々〆〇", ["々", "〆", "〇"]),
        ("a\r\nb c　d", ["a", "b", "c", "d"]),
        (f"{FAMILY}x👍🏽👍", [FAMILY, "x", "👍🏽", "👍"]),
        ("🇩🇪🇫🇷🇨", ["🇩🇪", "🇫🇷", "🇨"]),
        ("1️⃣ ❤️‍🔥", ["1️⃣", "❤️‍🔥"]),
        ("cafe\u0301 naïve", ["cafe\u0301", "naïve"]),
        ("\u0301a", ["\u0301a"[:1], "a"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("می‌خواهم", ["می‌خواهم"]),
        ("zero\u200bwidth\ufeff\u2060", ["zero", "width"]),
        ("Paris\u200e, \u200dx", ["Paris", ",", "x"]),
        ("co\u00adop", ["co\u00adop"]),
        ("ไทย", ["ไ", "ท", "ย"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
        ("x_y", ["x", "_", "y"]),
    ],
)
def test_words_by_unicode_rules(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in split_words(text)] == expected


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], ""),
        (["I", "ca", "n't", "."], "I ca n't ."),
        (["我", "在", "IBM", "工", "作", "，", "2008", "年", "。"], "我在 IBM 工作，2008 年。"),
        (["他", "说", "“", "好", "”"], "他说“好”"),
        (["say", "“", "hi", "”"], "say “ hi ”"),
        (["OK", "！", "OK"], "OK！OK"),
        (["ไ", "ท", "ย"], "ไทย"),
        (["a", "", "b"], "a b"),
        (["", ""], ""),
        (["한국", "어"], "한국 어"),
    ],
)
def test_joining_tokens(tokens: list[str], expected: str) -> None:
    text, spans = join_tokens(tokens)
    assert text == expected
    assert [text[start:end] for start, end in spans] == tokens


def test_finding_tokens_in_a_text() -> None:
    assert find_tokens(["I", "ca", "n't", "北", "京"], "I  can't\r\n北京") == (
        ((0, 1), (3, 5), (5, 8), (10, 11), (11, 12)),
        None,
    )
    assert find_tokens(["a", "c"], "a b c")[1] == 1
    assert find_tokens(["a", "b"], "a")[1] == 1
    assert find_tokens([" ", "b"], " b") == (((0, 1), (1, 2)), None)


def test_which_word_a_character_is_in() -> None:
    assert word_at([(0, 2), (2, 2), (3, 4)], 5) == [0, 0, -1, 2, -1]


def test_trimming_white_space() -> None:
    assert [trim(" a \r\n", 0, 5), trim("　", 0, 1), trim("ab", 0, 2)] == [(1, 2), (1, 1), (0, 2)]


def test_cutting_at_borders() -> None:
    assert cut_at(iter([3, 1, 3]), 4) == [(0, 1), (1, 3), (3, 4)]
    assert cut_at(iter([]), 2) == [(0, 2)]
    assert cut_at(iter([]), 0) == []
