"""Documents in windows, with a tokenizer whose tokens are bytes: halves part between characters, nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
import tokenizers
import transformers

from polyhead.registry import DataError, EncodeSettings, TaskSetup
from polyhead.registry.toolkit.document_windows import encode_documents, predicted_spans

TEXT = "床前明月光，🙂 疑是地上霜。\r\n举头望明月"


def bytes_tokenizer(**special: str) -> Any:
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    inner = tokenizers.Tokenizer(tokenizers.models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def settings(length: int, **more: Any) -> EncodeSettings:
    tokenizer = more.pop("tokenizer", None) or bytes_tokenizer(eos_token="<end>")
    return EncodeSettings(tokenizer, length, more.pop("stride", 0), TaskSetup(None), **more)


@pytest.mark.parametrize("length", [16, 17, 20, 33, 200])
def test_halves_and_windows_part_between_characters(length):
    found = settings(length, family="encoder-decoder", decoder_start=7)
    features, tokenizer = encode_documents([(3, TEXT)], found), found.tokenizer
    text = ""
    for feature in features:
        read, written = (
            tokenizer.decode(ids, skip_special_tokens=True)
            for ids in (feature.inputs["input_ids"], feature.labels["labels"])
        )
        assert feature.example == 3
        assert "�" not in read + written
        assert read
        assert written
        assert max(len(feature.inputs["input_ids"]), len(feature.labels["labels"])) <= length
        text += read + written
    assert text == TEXT
    ends = [feature.labels["labels"][-1] == tokenizer.eos_token_id for feature in features]
    assert ends == [*(False for _ in features[1:]), True]
    assert "".join(TEXT[start:end] for start, end in predicted_spans(TEXT, features)) == "".join(
        tokenizer.decode(feature.labels["labels"], skip_special_tokens=True) for feature in features
    )


def test_a_decoder_predicts_all_behind_the_first_token():
    found = settings(8, family="decoder", stride=3)
    features = encode_documents([(0, TEXT)], found, end_token=True)
    predicted = [label for feature in features for label in feature.labels["labels"] if label != -100]
    assert predicted == [*found.tokenizer(TEXT)["input_ids"][1:], found.tokenizer.eos_token_id]
    assert predicted_spans(TEXT, features) == [(1, len(TEXT))]  # the first token is a part of 床
    assert predicted_spans(TEXT, []) == []


def test_without_documents_there_are_no_features():
    assert encode_documents([], settings(8, family="decoder")) == []
    assert encode_documents([(0, "a")], settings(8, family="decoder")) == []


def test_an_end_that_the_tokenizer_lacks_is_said():
    with pytest.raises(DataError, match="no token that ends a text"):
        encode_documents([(0, "ab")], settings(8, family="decoder", tokenizer=bytes_tokenizer()), end_token=True)
