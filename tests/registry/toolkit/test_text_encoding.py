"""Texts become windows: short ones whole, long ones in overlapping parts that lose nothing."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoTokenizer

from polyhead.registry import DataError, EncodeSettings, TaskSetup, TextExample
from polyhead.registry.toolkit.text_encoding import encode_texts, mixed_pairs

LONG = " ".join(f"word{number}" for number in range(40))
CHINESE = "这部电影很好看,我非常喜欢,演员的表演十分精彩,画面很美,音乐也动人,值得再看一遍。"


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Any) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def encode(tokenizer: Any, *examples: TextExample, max_length: int = 16, stride: int = 4) -> Any:
    settings = EncodeSettings(tokenizer, max_length, stride, TaskSetup(None))
    return encode_texts(examples, settings, lambda example: {"labels": len(example.text)} if example.labels else {})


def inside(tokenizer: Any, ids: list[int]) -> list[int]:
    """Return the ids of a window of a single text less the special ones at its ends."""
    assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    return list(ids[1:-1])


def whole(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def put_together(windows: list[list[int]], stride: int) -> list[int]:
    return [*windows[0], *(token for window in windows[1:] for token in window[stride:])]


def test_a_short_text_is_one_feature_as_the_tokenizer_gives_it(tokenizer):
    (feature,) = encode(tokenizer, TextExample("a", "a warm film", labels=("x",)))
    assert dict(feature.inputs) == dict(tokenizer("a warm film"))
    assert (feature.example, feature.labels) == (0, {"labels": 11})


def test_a_text_that_just_fits_is_one_feature(tokenizer):
    text = "film " * 14
    assert len(encode(tokenizer, TextExample("a", text))) == 1
    assert len(encode(tokenizer, TextExample("a", text + "film"))) == 2


@pytest.mark.parametrize("text", [LONG, CHINESE])
@pytest.mark.parametrize("stride", [0, 4, 13])
def test_windows_overlap_and_lose_nothing(tokenizer, text, stride):
    features = encode(tokenizer, TextExample("a", text, labels=("x",)), stride=stride)
    windows = [inside(tokenizer, feature.inputs["input_ids"]) for feature in features]
    assert all(len(window) <= 14 for window in windows)
    assert [len(window) for window in windows[:-1]] == [14] * (len(windows) - 1)
    assert put_together(windows, stride) == whole(tokenizer, text)
    assert {feature.example for feature in features} == {0}
    assert [feature.labels for feature in features] == [{"labels": len(text)}] * len(features)


def test_a_stride_as_wide_as_the_window_still_moves_on(tokenizer):
    features = encode(tokenizer, TextExample("a", LONG), stride=15)
    windows = [inside(tokenizer, feature.inputs["input_ids"]) for feature in features]
    assert put_together(windows, 13) == whole(tokenizer, LONG)


def test_singles_and_pairs_keep_their_order(tokenizer):
    examples = [
        TextExample("a", "one"),
        TextExample("b", "two", "three"),
        TextExample("c", LONG),
        TextExample("d", "四", "五"),
        TextExample("e", "six"),
    ]
    features = encode(tokenizer, *examples)
    assert [feature.example for feature in features if feature.example != 2] == [0, 1, 3, 4]
    assert len([feature for feature in features if feature.example == 2]) > 2
    assert dict(features[1].inputs) == dict(tokenizer("two", "three"))


@pytest.mark.parametrize("first_is_long", [True, False])
def test_of_a_long_pair_the_longer_text_is_cut_and_the_other_repeated(tokenizer, first_is_long):
    short = "is it good?"
    texts = (LONG, short) if first_is_long else (short, LONG)
    features = encode(tokenizer, TextExample("a", *texts), max_length=20, stride=3)
    sides = []
    for feature in features:
        ids, kinds = feature.inputs["input_ids"], feature.inputs["token_type_ids"]
        assert len(ids) <= 20
        first = [token for token, kind in zip(ids, kinds, strict=True) if kind == 0][1:-1]
        second = [token for token, kind in zip(ids, kinds, strict=True) if kind == 1][:-1]
        sides.append((first, second) if first_is_long else (second, first))
    assert [repeated for _, repeated in sides] == [whole(tokenizer, short)] * len(sides)
    assert put_together([cut for cut, _ in sides], 3) == whole(tokenizer, LONG)


def test_a_pair_whose_shorter_text_fills_the_window_is_refused(tokenizer):
    with pytest.raises(DataError) as caught:
        encode(tokenizer, TextExample("row 7", LONG, LONG))
    assert str(caught.value) == (
        "example 'row 7': neither text of the pair leaves room for the other in a window of 16 tokens; "
        "raise data.max_length or shorten the texts"
    )


def test_nothing_gives_nothing(tokenizer):
    assert encode(tokenizer) == []


def test_where_the_tokenizer_sets_nothing_between_two_texts_a_line_break_does():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.train_from_iterator(
        ["好"], trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    )
    like_gpt2 = PreTrainedTokenizerFast(tokenizer_object=inner)
    features = encode(like_gpt2, TextExample("a", "好 one", "two"), TextExample("b", "好 one"), max_length=32)
    assert features[0].inputs["input_ids"] == like_gpt2("好 one\ntwo")["input_ids"]
    assert features[1].inputs["input_ids"] == like_gpt2("好 one")["input_ids"]
    parts = encode(like_gpt2, TextExample("a", "one two three four", "five"), max_length=12, stride=2)
    repeated = like_gpt2("\nfive")["input_ids"]
    assert [part.inputs["input_ids"][-5:] for part in parts] == [repeated] * len(parts)
    assert len(parts) > 1


def test_mixed_singles_and_pairs_get_equally_many_end_tokens_on_an_encoder_decoder(tokenizer):
    examples = [TextExample("a", "one", "two"), TextExample("b", LONG), TextExample("c", "五")]
    facts = mixed_pairs(examples)
    assert (facts, mixed_pairs(examples[1:]), mixed_pairs(examples[:1])) == ({"mixed_pairs": True}, {}, {})
    for family, given, ends in (
        ("encoder-decoder", facts, {2}),
        ("encoder-decoder", {}, {1, 2}),
        ("encoder", facts, {1, 2}),
    ):
        settings = EncodeSettings(tokenizer, 16, 4, TaskSetup(None, facts=given), family)
        features = encode_texts(examples, settings, lambda _: {})
        assert {feature.inputs["input_ids"].count(tokenizer.sep_token_id) for feature in features} == ends
        assert max(len(feature.inputs["input_ids"]) for feature in features) <= 16
