"""Windows of a question and a paragraph: those of the tokenizer where it knows pairs, else by a template."""

from __future__ import annotations

from typing import Any

import pytest
import tokenizers
import transformers
from transformers import AutoTokenizer

from polyhead.registry import EncodeSettings, TaskSetup
from polyhead.registry.toolkit.question_windows import NO_ANSWER, OUTSIDE, frame_of, tokenise

QUESTION = "哪位诗人 was born in Suiye?"
CONTEXT = "李白（701年—762年），字太白，号青莲居士。 He was born in Suiye 😀，\r\ne\u0301tude, ＡＢＣ. " * 4
TEMPLATE = "{question}\n\n{context}\n\n"


def byte_level(special: str | None) -> Any:
    """Return a byte-level BPE tokenizer, trained here; with RoBERTa's form of pairs or with no form at all."""
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([CONTEXT, QUESTION], vocab_size=320, special_tokens=["<s>", "<pad>", "</s>"])
    if special == "roberta":
        tokenizer._tokenizer.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    elif special == "llama":
        tokenizer._tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            "<s> $A", "<s> $A <s> $B", [("<s>", 0)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


@pytest.fixture(scope="module")
def wordpiece(tiny_bert: Any) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def windows_of(tokenizer: Any, family: Any, max_length: int, stride: int, template: str = TEMPLATE) -> list[Any]:
    settings = EncodeSettings(tokenizer, max_length, stride, TaskSetup(None), family=family)
    question = tokenise(settings, [QUESTION])[QUESTION].ids
    context = tokenise(settings, [CONTEXT, CONTEXT])[CONTEXT]
    return list(frame_of(settings, template).windows(question, context, max_length, stride))


@pytest.mark.parametrize(("max_length", "stride"), [(40, 8), (64, 0), (40, 15), (128, 32), (512, 128)])
@pytest.mark.parametrize("kind", ["wordpiece", "roberta"])
@pytest.mark.parametrize("family", ["encoder", "encoder-decoder"])
def test_pairs_are_cut_as_the_tokenizer_cuts_them(wordpiece, kind, family, max_length, stride):
    tokenizer = wordpiece if kind == "wordpiece" else byte_level(kind)
    max_length += 20 if kind == "roberta" else 0
    expected = tokenizer(
        QUESTION,
        CONTEXT,
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    found = windows_of(tokenizer, family, max_length, stride)
    assert len(found) == len(expected["input_ids"])
    for number, window in enumerate(found):
        for name in tokenizer("a"):
            assert list(window.inputs[name]) == list(expected[name][number])
        sides = expected.sequence_ids(number)
        assert window.offsets[0] == NO_ANSWER
        for offset, side, span in zip(
            window.offsets[1:], sides[1:], expected["offset_mapping"][number][1:], strict=True
        ):
            if side != 1 or span[0] == span[1]:
                assert offset == OUTSIDE
            else:  # the tokenizer leaves the space in front of the first token of a later window, and of that one only
                assert offset[1] == span[1]
                assert CONTEXT[slice(*offset)].strip() == CONTEXT[slice(*span)].strip()


@pytest.mark.parametrize("special", [None, "llama"])
def test_a_decoder_reads_a_template(special):
    tokenizer = byte_level(special)
    lead = [0] if special == "llama" else []

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    found = windows_of(tokenizer, "decoder", 120, 20)
    assert len(found) > 1
    for window in found:
        context = ids(CONTEXT)[window.first : window.stop]
        expected = [*lead, *ids(QUESTION), *ids("\n\n"), *context, *ids("\n\n")]
        assert window.inputs == {"input_ids": expected, "attention_mask": [1] * len(expected)}
        assert len(expected) <= 120
        assert window.offsets[-1] == NO_ANSWER  # the last token has read everything, causal mask or not
        assert window.offsets[window.lead][0] >= 0
        assert window.offsets[window.lead - 1] == OUTSIDE
    assert [window.first for window in found[1:]] == [window.stop - 20 for window in found[:-1]]
    assert found[-1].stop == len(ids(CONTEXT))


def test_without_anything_behind_the_context_the_first_token_stands_for_no_answer():
    window = windows_of(byte_level("llama"), "decoder", 400, 0, "Q: {question}\n{context}")[0]
    assert window.no_answer == 0
    assert window.offsets[0] == NO_ANSWER
    assert window.offsets[-1][1] == len(CONTEXT)


def test_a_decoder_with_special_tokens_of_an_encoder_still_gives_all_inputs(wordpiece):
    window = windows_of(wordpiece, "decoder", 400, 0)[0]
    assert set(window.inputs) == set(wordpiece("a"))
    assert window.inputs["input_ids"][0] == wordpiece.cls_token_id
    assert window.inputs["input_ids"][-1] == wordpiece.sep_token_id
    assert set(window.inputs["token_type_ids"]) == {0}


def test_a_question_that_fills_the_window_leaves_none(wordpiece):
    length = len(wordpiece(QUESTION, "")["input_ids"])
    assert windows_of(wordpiece, "encoder", length, 0) == []
    narrow = windows_of(wordpiece, "encoder", length + 1, 100)  # a stride that leaves no step is cut
    assert [window.stop - window.first for window in narrow] == [1] * len(narrow)


def test_a_context_without_tokens_is_one_window(wordpiece):
    settings = EncodeSettings(wordpiece, 64, 0, TaskSetup(None))
    empty = tokenise(settings, ["\u200b"])["\u200b"]
    assert list(empty.ids) == []
    window = next(frame_of(settings, TEMPLATE).windows([7, 8], empty, 64, 0))
    assert [offset for offset in window.offsets if offset[0] >= 0] == []
