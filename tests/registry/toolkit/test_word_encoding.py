"""Words align to tokens by offsets, whatever the tokenizer; windows of a long text agree on every word."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from polyhead.registry import EncodeSettings, TaskSetup
from polyhead.registry.toolkit.spans import join_tokens, split_words
from polyhead.registry.toolkit.word_encoding import IGNORED, NO_WORD, encode_words, units_of

CORPUS = ["hello world York don't 在中国 在中国 北京 naïve ​ New New York (NASA)"] * 20
TEXTS = ["New York, 在中国北京!", "", "👨‍👩‍👧 don't  naïve ﬁne\r\n龘", "ＡＢＣ１２　Ünïcödé"]


def byte_level(*, trim: bool) -> Any:
    """Return a tokenizer as GPT-2's (``trim``) or Llama 3's: Chinese words become one token, rare ones several."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False))
    raw.post_processor = processors.ByteLevel(trim_offsets=trim)
    return PreTrainedTokenizerFast(tokenizer_object=raw)


def sentence_piece() -> Any:
    """Return a tokenizer as T5's or XLM-R's: a lone ▁ before Chinese, and a special token at the end."""
    raw = Tokenizer(models.Unigram([("<unk>", 0.0), ("</s>", 0.0), ("▁", -2.0), *_pieces()], unk_id=0))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", eos_token="</s>")


def _pieces() -> list[tuple[str, float]]:
    return [(piece, -3.0) for piece in ("中国", "北京", "▁New", "▁Yo", "rk", "▁is", "在", ",", "国")]


@pytest.fixture(scope="module")
def tokenizers(tiny_bert: Any) -> dict[str, Any]:
    return {
        "wordpiece": AutoTokenizer.from_pretrained(tiny_bert),
        "bytes": byte_level(trim=False),
        "bytes-trimmed": byte_level(trim=True),
        "pieces": sentence_piece(),
    }


def encode(tokenizer: Any, text: str, words: Any = None, max_length: int = 64, stride: int = 0) -> Any:
    words = split_words(text) if words is None else words
    settings = EncodeSettings(tokenizer, max_length, stride, TaskSetup(None))
    (encoding,) = encode_words([text], [words], settings)
    return words, encoding


def shown(tokenizer: Any, text: str, words: Any = None) -> list[tuple[str, str]]:
    """Return for each unit its characters and its token."""
    words, encoding = encode(tokenizer, text, words)
    (feature,) = encoding.features(0, words, list(range(len(encoding.units))))
    tokens = tokenizer.convert_ids_to_tokens(feature.inputs["input_ids"])
    labelled = [at for at, label in enumerate(feature.labels["labels"]) if label != IGNORED]
    assert labelled == [at for at, span in enumerate(feature.offsets) if span != NO_WORD]
    assert [feature.labels["labels"][at] for at in labelled] == list(range(len(encoding.units)))
    return [(text[slice(*feature.offsets[at])], tokens[at]) for at in labelled]


def test_wordpiece_labels_the_first_piece(tokenizers: Any) -> None:
    assert shown(tokenizers["wordpiece"], "Ünïcödé, 北京 embeddings") == [
        ("Ünïcödé", "unicode"),
        (",", ","),
        ("北", "北"),
        ("京", "京"),
        ("embeddings", "em"),
    ]


@pytest.mark.parametrize("name", ["bytes", "bytes-trimmed"])
def test_byte_level_tokens_with_a_leading_space_and_characters_of_several_tokens(tokenizers: Any, name: str) -> None:
    found = shown(tokenizers[name], "New York 龘龘👍🏽 x")
    assert [text for text, _ in found] == ["New", "York", "龘", "龘", "👍🏽", "x"]
    assert found[1][1] == "ĠYork"


@pytest.mark.parametrize("name", ["bytes", "bytes-trimmed"])
def test_words_that_share_a_token_are_one_unit(tokenizers: Any, name: str) -> None:
    assert [text for text, _ in shown(tokenizers[name], "hello 在中国京")] == ["hello", "在中国", "京"]


def test_a_lone_sentence_piece_space_speaks_for_no_word(tokenizers: Any) -> None:
    assert shown(tokenizers["pieces"], "中国 New York") == [("中国", "中国"), ("New", "▁New"), ("York", "▁Yo")]


def test_a_word_begins_at_its_own_token_where_it_has_one() -> None:
    words = [(0, 2), (2, 5)]  # do, n't
    assert [(unit.token, unit.first_word) for unit in units_of(words, [(0, 3), (3, 4), (4, 5)], 5)] == [(0, 0), (1, 1)]


def test_words_without_any_token_belong_to_no_unit(tokenizers: Any) -> None:
    text, words = join_tokens(["New", "\u200b", "", "\u200d", "York", " "])
    assert [word for word, _ in shown(tokenizers["wordpiece"], text, words)] == ["New", "York"]
    assert shown(tokenizers["wordpiece"], "\ufeff") == []


@pytest.mark.parametrize("name", ["wordpiece", "bytes", "bytes-trimmed", "pieces"])
@pytest.mark.parametrize("text", TEXTS)
def test_units_are_whole_words_in_order(tokenizers: Any, name: str, text: str) -> None:
    words, encoding = encode(tokenizers[name], text)
    seen = [word for unit in encoding.units for word in range(unit.first_word, unit.end_word)]
    assert seen == sorted(set(seen))
    assert set(seen) <= set(range(len(words)))
    assert [unit.token for unit in encoding.units] == sorted({unit.token for unit in encoding.units})
    assert all(window["input_ids"] for window in encoding.windows)


@pytest.mark.parametrize("name", ["wordpiece", "bytes", "pieces"])
@pytest.mark.parametrize("stride", [0, 3, 50])
def test_windows_hold_every_unit_at_the_same_token(tokenizers: Any, name: str, stride: int) -> None:
    text = " ".join(TEXTS * 3)
    words, whole = encode(tokenizers[name], text, max_length=1000)
    _, cut = encode(tokenizers[name], text, max_length=12, stride=stride)
    assert (len(whole.windows), len(cut.windows) > 3) == (1, True)
    assert cut.units == whole.units
    ids = {unit: whole.windows[0]["input_ids"][at] for at, unit in whole.places[0].items()}
    seen: set[int] = set()
    for window, place in zip(cut.windows, cut.places, strict=True):
        assert len(window["input_ids"]) <= 12
        assert all(window["input_ids"][at] == ids[unit] for at, unit in place.items())
        seen.update(place.values())
    assert seen == set(range(len(whole.units)))
    assert len(words) > 20


def test_a_text_without_tokens_is_read_as_one_that_says_nothing(tokenizers: Any) -> None:
    _, encoding = encode(tokenizers["bytes"], "")
    assert [dict(window)["input_ids"] for window in encoding.windows] == [[0]]
    assert encoding.units == ()
