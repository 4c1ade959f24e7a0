"""Text piece by piece, with a tokenizer whose tokens are bytes: no character is ever broken."""

from __future__ import annotations

from typing import Any

import pytest
import tokenizers
import torch
import transformers

from polyhead.backbone.inference.written_text import Continuation, StopTexts, Streamer, cut, ends

TEXT = "价格：５元🙂，然后\r\nthe end 完"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Return a tokenizer that makes a token of every byte."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    inner = tokenizers.Tokenizer(tokenizers.models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>")


def streamed(tokenizer: Any, prompt: str, text: str, *stop: str) -> list[str]:
    pieces: list[str] = []
    asked = tokenizer(prompt)["input_ids"]
    streamer = Streamer(pieces.append, Continuation(tokenizer, asked), stop)
    streamer.put(torch.tensor([asked]))
    for token in tokenizer(text)["input_ids"]:
        streamer.put(torch.tensor([token]))
    streamer.end()
    return pieces


def test_each_character_comes_once_it_is_whole(tokenizer):
    assert streamed(tokenizer, "这个", TEXT) == list(TEXT)


def test_nothing_of_a_stop_text_is_shown(tokenizer):
    assert streamed(tokenizer, "这个", TEXT, "然后", "never") == list("价格：５元🙂，")
    assert streamed(tokenizer, "a", "x### y## z", "###") == ["x"]
    assert "".join(streamed(tokenizer, "a", "x## y#", "###")) == "x## y#"


def test_bytes_that_make_no_character_are_shown_at_the_end(tokenizer):
    pieces: list[str] = []
    streamer = Streamer(pieces.append, Continuation(tokenizer, []), ())
    streamer.put(torch.tensor([[]]))
    for token in tokenizer("好")["input_ids"][:2]:
        streamer.put(torch.tensor([token]))
        assert pieces == []
    streamer.end()
    assert pieces == ["�"]


def test_a_stop_text_of_several_tokens_a_character_ends_a_row(tokenizer):
    prompt, texts = tokenizer("然后")["input_ids"], ("很好然后", "很好然现")
    rows = torch.tensor([[*prompt, *tokenizer(text)["input_ids"]] for text in texts])
    criterion = StopTexts([Continuation(tokenizer, prompt)] * 2, len(prompt), ["然后"])
    assert criterion(rows, None).tolist() == [True, False]
    assert criterion(rows[:, :-1], None).tolist() == [False, False]


def test_where_a_text_ends(tokenizer):
    continuation, end = Continuation(tokenizer, []), tokenizer.eos_token_id
    tokens = tokenizer("好，完。")["input_ids"]
    assert ends(tokens, continuation, (), (end,)) is None
    assert ends([*tokens, end, end, 5], continuation, (), (end,)) == len(tokens) + 1
    assert ends([*tokens, end], continuation, ("，",), (end,)) == 6
    assert ends([*tokens[:3], end, *tokens], continuation, ("，",), (end,)) == 4
    assert ends([], continuation, ("，",), (end,)) is None
    assert cut("好，完。", ("。", "，")) == "好"


@pytest.mark.parametrize(("prompt", "text"), [("Once", " upon"), ("这部电影很", "好看"), ("a🙂", "🙂b"), ("", "x")])
def test_prompt_and_text_join_as_one_text(tokenizer, prompt, text):
    whole = tokenizer(prompt + text)["input_ids"]
    asked = tokenizer(prompt)["input_ids"]
    assert Continuation(tokenizer, asked).text(whole[len(asked) :]) == text


def test_a_prompt_that_ends_within_a_character_goes_on_as_it_can(tokenizer):
    first, *rest = tokenizer("好x")["input_ids"]
    assert Continuation(tokenizer, [first]).text(rest).endswith("x")
