"""Windows of documents: every token in one of them, words whole, and what stands around a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers

from polyhead.registry import DataError, EncodeSettings, TaskSetup
from polyhead.registry.toolkit.text_windows import Frame, PairFrame, model_inputs, text_windows
from polyhead.registry.toolkit.word_boundaries import WordCutter

TEXT = "Unbelievably good. 上海很大！我喜欢上海。 Unbelievably unbelievably good?"


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(tiny_bert)


def settings(tokenizer: Any, length: int, start: int | None = None) -> EncodeSettings:
    return EncodeSettings(tokenizer, length, length // 4, TaskSetup(None), decoder_start=start)


@pytest.mark.parametrize("length", [7, 8, 11, 100])
def test_no_token_is_lost_and_no_word_is_cut(length, tokenizer):
    cutter = WordCutter([("上海", -1.0), ("喜欢", -1.0)])
    windows = list(text_windows([TEXT, "", "short"], settings(tokenizer, length), cutter, around=2))
    assert [token for window in windows for token in window.ids] == [
        *tokenizer(TEXT, add_special_tokens=False)["input_ids"],
        *tokenizer("short", add_special_tokens=False)["input_ids"],
    ]
    assert {window.example for window in windows} == {0, 2}
    for window in windows:
        assert len(window.ids) == len(window.words) == len(window.sentences) <= length - 2
        assert window.words[0] == window.sentences[0] == 0
        assert not tokenizer.convert_ids_to_tokens(window.ids[0]).startswith("##")
        text = tokenizer.decode(window.ids)
        assert not text.startswith("海")


def test_sentences_are_counted(tokenizer):
    (window,) = text_windows([TEXT], settings(tokenizer, 100), None, around=2)
    assert sorted(set(window.sentences)) == [0, 1, 2, 3]
    assert window.words == list(range(len(window.ids)))


def test_a_word_longer_than_a_window_is_cut(tokenizer):
    windows = list(text_windows(["unbelievably"], settings(tokenizer, 5), WordCutter([]), around=2))
    assert [len(window.ids) for window in windows] == [3, 2]


def test_a_window_without_room_is_refused(tokenizer):
    with pytest.raises(DataError, match="leaves no room for text; 3 is the least"):
        list(text_windows(["a"], settings(tokenizer, 2), None, around=2))


def test_what_stands_around_a_text(tokenizer):
    frame = Frame.of(tokenizer)
    assert (frame.before, frame.after, len(frame)) == ((101,), (102,), 2)
    assert frame.around([5, 6]) == [101, 5, 6, 102]
    assert frame.around([5, 6], -1) == [-1, 5, 6, -1]
    assert model_inputs([4, 5], tokenizer) == {
        "input_ids": [4, 5],
        "token_type_ids": [0, 0],
        "attention_mask": [1, 1],
    }


@pytest.mark.parametrize(("start", "opening"), [(101, []), (0, [101])])
def test_a_pair_reads_one_text_and_writes_another(start, opening, tokenizer):
    frame = PairFrame.of(settings(tokenizer, 9, start))
    feature = frame.feature(3, [5, 6], [7, 8, 9], tokenizer)
    assert feature.example == 3
    assert feature.inputs["input_ids"] == [101, 5, 6, 102]
    assert feature.labels["labels"] == [*opening, 7, 8, 9, 102]
    assert feature.inputs["decoder_input_ids"] == [start, *opening, 7, 8, 9]
    assert len(feature.inputs["decoder_input_ids"]) == frame.written_length(3)
