"""Languages: names, scripts, and their tokens in multilingual tokenizers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from polyhead.registry import DataError
from polyhead.registry.toolkit.languages import east_asian_language, likeliest_language, name_of, tokenizer_code
from polyhead.registry.toolkit.prompt_templates import check_template, frame_of


@dataclass
class Tokens:
    known: tuple[str, ...]
    unk_token_id: int = 3

    def convert_tokens_to_ids(self, token: str) -> int:
        return 100 + self.known.index(token) if token in self.known else 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("这部电影很好看", "zh"),
        ("我用 BERT 和 transformers 做分类，效果很好，比以前快多了", "zh"),
        ("この映画は面白い", "ja"),
        ("영화가 재미있어요", "ko"),
        ("a film called 卧虎藏龙 (Crouching Tiger, Hidden Dragon)", None),
        ("хороший фильм", None),
        ("123 !?", None),
    ],
)
def test_the_script_tells_east_asian_languages(text, expected):
    assert east_asian_language(text) == expected


def test_the_likeliest_of_some_languages():
    assert likeliest_language("你好", ["en", "zh"]) == "zh"
    assert likeliest_language("hello", ["zh", "de", "en"]) == "de"
    assert likeliest_language("你好", ["de", "en"]) == "de"
    assert likeliest_language("你好", ["en", "zh-TW"]) == "zh-TW"


def test_names():
    assert [name_of(code) for code in ("zh", "zh-TW", "EN_gb", "tlh", "")] == [
        *("Chinese", "Chinese", "English", "tlh", "")
    ]


@pytest.mark.parametrize(
    ("tokens", "language", "codes", "expected"),
    [
        (("en_XX", "zh_CN"), "zh", {}, "zh_CN"),
        (("en_XX", "zh_CN"), "en", {}, "en_XX"),
        (("ro_RO",), "ro", {}, "ro_RO"),
        (("eng_Latn", "zho_Hans", "zho_Hant"), "zh", {}, "zho_Hans"),
        (("eng_Latn", "zho_Hans", "zho_Hant"), "zh", {"zh": "zho_Hant"}, "zho_Hant"),
        (("zho_Hant",), "zho_Hant", {}, "zho_Hant"),
    ],
)
def test_tokens_of_languages(tokens, language, codes, expected):
    assert tokenizer_code(Tokens(tokens), language, codes) == expected


def test_a_language_without_a_token_says_what_to_name():
    with pytest.raises(DataError, match=r"no language 'tlh'; name its token: options\.language_codes\.tlh=\.\.\."):
        tokenizer_code(Tokens(("en_XX",)), "tlh", {})
    with pytest.raises(DataError, match="no language 'zh_TW'"):
        tokenizer_code(Tokens(("zh_CN",)), "zh", {"zh": "zh_TW"})


def test_templates_are_split_at_their_source_and_the_blank_goes_to_the_completion():
    template = "{language}: {source}\nAnswer: {target}"
    assert frame_of(template, "source", {"language": "中文"}, "target") == ("中文: ", "\nAnswer:", " ")
    assert frame_of("{source} =", "source", {}, "target") == ("", " =", "")
    assert frame_of("{source}\nIn JSON {like this}:\n", "source", {}, "target") == ("", "\nIn JSON {like this}:\n", "")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("no place", "template must hold {source} once, not 0 times"),
        ("{source}{source}", "template must hold {source} once, not 2 times"),
        ("{source} {langauge}", r"template: unknown field {langauge}. Available: {source}, {language}\."),
    ],
)
def test_templates_that_make_no_sense_are_refused(template, said):
    with pytest.raises(ValueError, match=said):
        check_template("template", template, source="source", fields=("language",))
