"""Sources and targets become features: for decoders and encoder-decoders, with templates, chats and windows."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import pytest
import tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from polyhead.registry import DataError, EncodeSettings, TaskSetup
from polyhead.registry.toolkit.source_windows import plain_ids
from polyhead.registry.toolkit.text_to_text import IGNORED, Pair, encode_pairs, encode_prompts_of

LONG = "The first film is long. It is dull! Is the second better? Dr. Smith says so. He likes it. " * 3
CHINESE = "这部电影很好看，我非常喜欢。演员的表演十分精彩！画面很美；音乐也动人……你看过吗？值得再看一遍👩‍👩‍👧。" * 3
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def wordpiece(tiny_bert: Any) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


@pytest.fixture(scope="module")
def byte_level() -> Any:
    """Return a byte-level BPE with few merges: a Chinese character is up to three tokens."""
    found = tokenizers.Tokenizer(tokenizers.models.BPE())
    found.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    found.train_from_iterator([LONG], trainer)
    specials = {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    return PreTrainedTokenizerFast(tokenizer_object=found, eos_token="<|endoftext|>", **specials)


@pytest.fixture
def chatty(byte_level: Any) -> Any:
    byte_level.chat_template = CHATML
    yield byte_level
    byte_level.chat_template = None


def settings(tokenizer: Any, family: Any = "encoder-decoder", **changes: Any) -> EncodeSettings:
    start = tokenizer.cls_token_id if family == "encoder-decoder" else None
    given = EncodeSettings(tokenizer, 64, 8, TaskSetup(None), family, start)
    return replace(given, **changes)


# ── whole sources ───────────────────────────────────────────────────────────────────────────────────────


def test_an_encoder_decoder_gets_source_and_target_apart(wordpiece):
    pair = Pair("a warm film", "一 film", before="say: ", after=" ok")
    (feature,) = encode_pairs([pair], settings(wordpiece))
    target = [*plain_ids(wordpiece, "一 film"), wordpiece.sep_token_id]
    expected = {**wordpiece("say: a warm film ok"), "decoder_input_ids": [wordpiece.cls_token_id, *target[:-1]]}
    assert dict(feature.inputs) == expected
    assert (feature.example, dict(feature.labels)) == (0, {"labels": target})


def test_what_the_tokenizer_begins_a_target_with_is_kept_unless_the_decoder_starts_with_it(wordpiece):
    given = settings(wordpiece, decoder_start=wordpiece.sep_token_id)  # BART's way
    (feature,) = encode_pairs([Pair("a", "film")], given)
    target = wordpiece("film")["input_ids"]
    assert feature.labels["labels"] == target
    assert feature.inputs["decoder_input_ids"] == [wordpiece.sep_token_id, *target[:-1]]


def test_given_first_tokens_replace_the_tokenizers_own(wordpiece):
    film = plain_ids(wordpiece, "film")
    pairs = [Pair("a", "film", target_prefix_ids=(77,)), Pair("b")]
    (feature,) = encode_pairs(pairs, settings(wordpiece, decoder_start=5))
    assert feature.labels["labels"] == [77, *film, wordpiece.sep_token_id]
    assert feature.inputs["decoder_input_ids"] == [5, 77, *film]
    prompts = encode_prompts_of(pairs, settings(wordpiece, decoder_start=5), max_new_tokens=8)
    assert [prompt.inputs["decoder_input_ids"] for prompt in prompts] == [[5, 77], [5]]
    (already,) = encode_pairs(pairs, settings(wordpiece, decoder_start=77))  # mBART starts with the language
    assert already.inputs["decoder_input_ids"] == [77, *film]


def test_a_decoder_learns_the_completion_only_and_its_prompt_is_that_of_prediction(byte_level):
    pair = Pair("It is dull!", "好 film", before="Say: ", after="\nSo:", lead=" ")
    (feature,) = encode_pairs([pair], settings(byte_level, "decoder"))
    (prompt,) = encode_prompts_of([pair], settings(byte_level, "decoder"), max_new_tokens=8)
    ids, length = feature.inputs["input_ids"], len(prompt.inputs["input_ids"])
    assert byte_level.decode(ids) == "Say: It is dull!\nSo: 好 film<|endoftext|>"
    assert ids[:length] == prompt.inputs["input_ids"] == plain_ids(byte_level, "Say: It is dull!\nSo:")
    assert feature.inputs["position_ids"] == list(range(len(ids)))
    assert feature.inputs["attention_mask"] == [1] * len(ids)
    labels = feature.labels["labels"]
    assert labels == [*[IGNORED] * (length - 1), *ids[length:], IGNORED]
    assert byte_level.decode(labels[length - 1 : -1]) == " 好 film<|endoftext|>"


def test_a_decoder_whose_tokenizer_has_a_beginning_gets_it_once(wordpiece):
    (feature,) = encode_pairs([Pair("a", "film")], settings(wordpiece, "decoder"))
    assert feature.inputs["input_ids"] == wordpiece("a film")["input_ids"]


def test_what_has_no_target_gives_no_feature_and_prediction_gives_none(byte_level):
    pairs = [Pair("a"), Pair("b", "c")]
    assert [feature.example for feature in encode_pairs(pairs, settings(byte_level, "decoder"))] == [1]
    assert encode_pairs(pairs, settings(byte_level, "decoder", predicting=True)) == []
    assert encode_pairs([], settings(byte_level, "decoder")) == []


# ── chats ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("system", ["", "Be brief."])
def test_a_chat_is_rendered_as_the_template_says_and_ends_with_its_turn(chatty, system):
    pair = Pair("It is dull!", "好 film", before="Translate: ", after="\nNow.", lead=" ")
    given = settings(chatty, "decoder")
    messages = [{"role": "user", "content": "Translate: It is dull!\nNow."}]
    messages = [{"role": "system", "content": system}, *messages] if system else messages
    (prompt,) = encode_prompts_of([pair], given, max_new_tokens=8, system=system)
    expected = chatty.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert prompt.inputs["input_ids"] == expected
    (feature,) = encode_pairs([pair], given, system=system)
    rest = feature.inputs["input_ids"][len(expected) :]
    assert feature.inputs["input_ids"][: len(expected)] == expected
    assert chatty.decode(rest) == "好 film<|im_end|><|endoftext|>"
    start, end = min(s for s in prompt.offsets if s != (0, 0)), max(prompt.offsets)
    assert pair.source[start[0] : end[1]] == pair.source


def test_a_template_can_be_left_aside(chatty):
    (prompt,) = encode_prompts_of([Pair("a")], settings(chatty, "decoder"), max_new_tokens=8, chat=False)
    assert prompt.inputs["input_ids"] == plain_ids(chatty, "a")


def test_a_rendered_chat_is_taken_as_it_is(chatty):
    rendered = Pair("<|im_start|>user\nhi<|im_end|>\n", rendered=True)
    (prompt,) = encode_prompts_of([rendered], settings(chatty, "decoder"), max_new_tokens=8)
    assert prompt.inputs["input_ids"] == plain_ids(chatty, rendered.source)


def test_a_chat_where_there_is_none_is_refused(byte_level, wordpiece):
    for given, said in (
        (settings(byte_level, "decoder"), "no chat template"),
        (settings(wordpiece), "reads as an encoder-decoder"),
    ):
        with pytest.raises(DataError, match=said):
            encode_pairs([Pair("a", "b")], given, chat=True)


def test_a_template_that_refuses_a_system_message_says_so(byte_level):
    byte_level.chat_template = "{{ raise_exception('no system here') }}"
    try:
        with pytest.raises(DataError, match="refuses messages of system, user: no system here"):
            encode_pairs([Pair("a", "b")], settings(byte_level, "decoder"), system="Be brief.")
    finally:
        byte_level.chat_template = None


# ── windows ─────────────────────────────────────────────────────────────────────────────────────────────


def parts(features: Any, source: str) -> list[str]:
    """Return the text that each window covers, by its offsets."""
    found = []
    for feature in features:
        spans = [span for span in feature.offsets if span != (0, 0)]
        found.append(source[spans[0][0] : max(end for _, end in spans)])
    return found


@pytest.mark.parametrize("family", ["decoder", "encoder-decoder"])
@pytest.mark.parametrize("name", ["wordpiece", "byte_level"])
@pytest.mark.parametrize("source", [LONG, CHINESE])
@pytest.mark.parametrize("length", [24, 33, 64])
def test_windows_hold_the_whole_source_and_none_is_too_long(request, family, name, source, length):
    tokenizer = request.getfixturevalue(name)
    given = settings(tokenizer, family, max_length=length)
    features = encode_prompts_of([Pair("x"), Pair(source, before="T: ", after=" =")], given, max_new_tokens=6)
    assert [feature.example for feature in features] == [0, *[1] * (len(features) - 1)]
    limit = length - 6 if family == "decoder" else length
    assert max(len(feature.inputs["input_ids"]) for feature in features) <= limit
    assert {len(feature.offsets) == len(feature.inputs["input_ids"]) for feature in features} == {True}
    found = parts(features[1:], source)
    assert len(found) > 1
    assert "".join(found).replace(" ", "") == source.replace(" ", "")
    if length == 64:  # in less, the joined emoji of 18 bytes does not fit beside the template
        assert not any(part.startswith(("\u200d", "\ufe0f")) or part.endswith("\u200d") for part in found)
    for feature, part in zip(features[1:], found, strict=True):
        around = {tokenizer.cls_token_id, tokenizer.sep_token_id}
        ids = [token for token in feature.inputs["input_ids"] if token not in around]
        assert ids == plain_ids(tokenizer, f"T: {part} =")


@pytest.mark.parametrize(("source", "ends"), [(LONG, ".!?"), (CHINESE, "。！；…？")])
def test_windows_end_with_sentences_where_these_fit(wordpiece, source, ends):
    features = encode_prompts_of([Pair(source)], settings(wordpiece, max_length=40), max_new_tokens=6)
    found = parts(features, source)
    assert len(found) > 1
    assert {part[-1] in ends for part in found} == {True}
    assert not any(part.endswith("Dr.") for part in found)


def test_a_pair_too_long_is_learned_by_its_first_window_and_a_warning_says_so(byte_level):
    given = settings(byte_level, "decoder")
    pairs = [Pair(LONG, "dull", id="a"), Pair("short", "x"), Pair(CHINESE, "好", id="b")]
    with pytest.warns(UserWarning, match="2 of 3 sources are longer than fits into 64 tokens") as caught:
        features = encode_pairs(pairs, given)
    assert len(caught) == 1
    assert [feature.example for feature in features] == [0, 1, 2]
    text = byte_level.decode(features[0].inputs["input_ids"])
    assert len(features[0].inputs["input_ids"]) <= 64
    assert LONG.startswith(text.removesuffix("dull<|endoftext|>"))
    assert text.endswith(("?dull<|endoftext|>", ".dull<|endoftext|>", "!dull<|endoftext|>"))


def test_what_fits_does_not_warn(byte_level):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_pairs([Pair("It is dull.", "dull")], settings(byte_level, "decoder"))


@pytest.mark.parametrize("family", ["decoder", "encoder-decoder"])
def test_a_target_without_room_names_the_example(wordpiece, family):
    with pytest.raises(DataError, match=r"example 'row 3': its target has \d+ tokens.*raise data.max_length"):
        encode_pairs([Pair("a", LONG, id="row 3")], settings(wordpiece, family))


def test_a_prompt_without_room_says_what_to_raise(wordpiece):
    with pytest.raises(DataError, match=r"options\.max_new_tokens=64 leaves no room"):
        encode_prompts_of([Pair("a")], settings(wordpiece, "decoder"), max_new_tokens=64)
    with pytest.raises(DataError, match="example 'row 3': what stands around its source leaves no room"):
        encode_prompts_of([Pair("a", before=LONG, id="row 3")], settings(wordpiece), max_new_tokens=4)


# ── languages ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Multilingual:
    """A tokenizer with a source language, as those of mBART and NLLB have one: it begins every text."""

    inner: Any
    src_lang: str = "en_XX"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, text: Any = None, **settings: Any) -> Any:
        found = self.inner(text, **settings)
        if not settings.get("add_special_tokens", True):
            return found
        rows = [found["input_ids"]] if isinstance(text, str) else found["input_ids"]
        for row in rows:
            row[0] = {"en_XX": 1001, "zh_CN": 1002}[self.src_lang]
        return found


def test_each_source_is_read_in_its_language_and_the_tokenizer_is_left_as_it_was(wordpiece):
    tokenizer = Multilingual(wordpiece)
    pairs = [Pair("a", source_code="zh_CN"), Pair("b", source_code="en_XX"), Pair(LONG, source_code="zh_CN")]
    features = encode_prompts_of(pairs, settings(tokenizer), max_new_tokens=4)
    assert [feature.inputs["input_ids"][0] for feature in features] == [1002, 1001, *[1002] * (len(features) - 2)]
    assert tokenizer.src_lang == "en_XX"
