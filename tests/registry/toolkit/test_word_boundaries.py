"""Words: in English by blanks and marks, in Chinese by a list, learned or read; with tokenizers of all kinds."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers
from hypothesis import given
from hypothesis import strategies as some

from polyhead.registry import DataError
from polyhead.registry.toolkit.word_boundaries import WordCutter, learn_words, read_words, words_of_tokens

LIST = [("上海", -2.0), ("上", -4.0), ("海", -4.0), ("电影", -2.0), ("我", -2.0), ("看", -2.0), ("在", -2.0)]
TEXT = "我在上海看电影《Playing cards》, 3.5分!"


def cut(text: str, cutter: WordCutter) -> list[str]:
    starts = [at for at, begins in enumerate(cutter.starts(text)) if begins and not text[at].isspace()]
    return [text[start:end].strip() for start, end in pairwise([*starts, len(text)])]


def test_words_of_a_mixed_text():
    words = ["我", "在", "上海", "看", "电影", "《", "Playing", "cards", "》", ",", "3", ".", "5", "分", "!"]
    assert cut(TEXT, WordCutter(LIST)) == words
    assert cut(TEXT, WordCutter([])) == [part for word in words for part in ([*word] if word[0] >= "一" else [word])]


@given(some.text(alphabet="上海电影 ab.,，\n分", max_size=30))
def test_words_and_blanks_make_up_the_text(text):
    cutter = WordCutter(LIST)
    assert "".join(cut(text, cutter)) == "".join(text.split())
    assert all(cutter.starts(text)[at] for at, sign in enumerate(text) if sign.isspace())


def test_characters_that_the_list_does_not_know_are_words_of_their_own():
    assert cut("龘龘上海", WordCutter(LIST)) == ["龘", "龘", "上海"]


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────────────


def byte_level() -> Any:
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=290, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    inner.train_from_iterator(["Play the cards", "playing"] * 3, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner)


def sentence_piece() -> Any:
    pieces = [
        "<unk>",
        "▁",
        "▁我在",
        "上",
        "海",
        "看",
        "电影",
        "《",
        "P",
        "lay",
        "ing",
        "▁card",
        "s",
        "》",
        ",",
        "▁3",
        ".5",
    ]
    inner = tokenizers.Tokenizer(tokenizers.models.Unigram([(p, -1.0) for p in [*pieces, "分", "!", "▁P"]], unk_id=0))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner)


@pytest.fixture(scope="module")
def word_piece(tiny_bert: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(tiny_bert)


def words_by(tokenizer: Any, text: str) -> list[list[str]]:
    """Return the tokens of each word."""
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    numbers = words_of_tokens(text, found["offset_mapping"], WordCutter(LIST)).tolist()
    assert numbers == sorted(numbers)
    tokens = tokenizer.convert_ids_to_tokens(found["input_ids"])
    return [[token for token, n in zip(tokens, numbers, strict=True) if n == word] for word in range(numbers[-1] + 1)]


def test_pieces_of_a_word_go_together_and_so_do_the_characters_of_a_chinese_one(word_piece):
    found = words_by(word_piece, "在上海 unbelievably good.")
    assert [len(word) for word in found] == [1, 2, 5, 1, 1]
    assert found[1] == ["上", "海"]
    assert "".join(found[2]).replace("##", "") == "unbelievably"


def test_bytes_of_a_word_go_together():
    found = words_by(byte_level(), TEXT)
    decoder = tokenizers.decoders.ByteLevel()
    assert [decoder.decode(word).strip() for word in found] == cut(TEXT, WordCutter(LIST))


def test_pieces_with_blanks_before_them_begin_words():
    assert words_by(sentence_piece(), "我在上海看电影 Playing cards") == [
        ["▁我在"],  # one token that holds two words
        ["上", "海"],
        ["看"],
        ["电影"],
        ["▁P", "lay", "ing"],
        ["▁card", "s"],
    ]


def test_a_text_without_tokens_has_no_words():
    assert words_of_tokens("", [], WordCutter([])).tolist() == []


# ── the list ────────────────────────────────────────────────────────────────────────────────────────────


def test_words_are_learned_from_texts():
    people, places = ["老师", "朋友", "学生", "医生"], ["上海", "北京", "广州", "天津"]
    verbs = ["住在", "喜欢", "离开", "去过"]
    texts = [f"{who}{does}{place}。" for who in people for does in verbs for place in places]
    words = learn_words(texts)
    cutter = WordCutter(words)
    assert cut("朋友喜欢天津", cutter) == ["朋友", "喜欢", "天津"]
    assert learn_words(list(texts)) == words
    assert max(score for _, score in words) < 0


def test_texts_with_blanks_teach_nothing():
    assert learn_words(["the cat sat on the mat"] * 9) == []


def test_a_list_can_be_read(tmp_path: Path):
    path = tmp_path / "words.txt"
    path.write_text("上海 300 ns\n电影\t100\n\n看\n", encoding="utf-8")
    assert [word for word, _ in read_words(path)] == ["上海", "电影", "看"]
    assert cut("看上海电影", WordCutter(read_words(path))) == ["看", "上海", "电影"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("上海 many\n", "line 1: expected a word"), ("\n", "holds no words"), (None, "cannot be read")],
)
def test_what_is_no_list_is_refused(text, message, tmp_path):
    path = tmp_path / "words.txt"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_words(path)
