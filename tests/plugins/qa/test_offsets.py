"""Wherever an answer is found, the original text there is the answer: any script, any tokenizer."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pytest
import tokenizers
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyhead.registry import EncodeSettings, TaskSetup, Window
from polyhead.registry.toolkit.question_answering import QuestionExample

PIECES = (
    *("the answer", "Suiye", "U.S.A.", "  ", "\r\n", "\n", "\t", "\u3000", " ", ".", "?"),
    *("李白", "碎叶城", "，", "。", "《", "》", "ＡＢＣ１２３", "ｶﾀｶﾅ", "ひらがな", "한국어", "пример", "مثال"),
    *(
        "😀",
        "👩\u200d🔬",
        "👍🏽",
        "🇨🇳",
        "☎\ufe0f",
        "e\u0301",
        "n\u0303a",
        "é",
        "\u0e01\u0e33",
        "क्षि",
        "𠀀",
        "\u200b",
        "\x00",
    ),
)
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=24).map("".join).filter(str.strip)


@pytest.fixture(scope="module")
def byte_level() -> Any:
    """Return a byte-level BPE tokenizer, trained on some of these texts: characters fall apart into bytes."""
    bpe = tokenizers.ByteLevelBPETokenizer()
    bpe.train_from_iterator(["the answer 李白 Suiye ，。"] * 2, vocab_size=300, special_tokens=["<pad>"])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, pad_token="<pad>")


@pytest.fixture(scope="module")
def wordpiece(tiny_bert: Any) -> Any:
    return transformers.AutoTokenizer.from_pretrained(tiny_bert)


@pytest.fixture(scope="module")
def task(registry: Any) -> Any:
    return registry.task("qa")


@pytest.fixture(scope="module", params=["byte-level", "wordpiece"])
def encoding(request: Any, task: Any, byte_level: Any, wordpiece: Any) -> EncodeSettings:
    setup = TaskSetup(task.options(n_best=20), facts={"no_answer": True})
    if request.param == "byte-level":
        return EncodeSettings(byte_level, 96, 24, setup, family="decoder")
    return EncodeSettings(wordpiece, 40, 10, setup)


def continues(text: str, position: int) -> bool:
    """Whether a reader takes the character at a position and the one before for one."""
    mark = unicodedata.category(text[position]).startswith("M") or text[position] == "\u200d"
    return not text[position - 1].isspace() and (mark or text[position - 1] == "\u200d")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contexts=st.lists(TEXTS, min_size=1, max_size=3), seed=st.integers(0, 2**32 - 1))
def test_the_text_at_an_answers_place_is_the_answer(task, encoding, contexts, seed):
    asked = QuestionExample("a", "谁 is it?", tuple(contexts))
    features = task.encode([asked], encoding)
    draw = np.random.default_rng(seed)
    windows = [
        Window(f, {n: draw.normal(size=len(f.inputs["input_ids"])) for n in ("start_logits", "end_logits")})
        for f in features
    ]
    found = task.decode(asked, windows, encoding.setup)
    for span in found.n_best:
        context = contexts[span.paragraph]
        assert context[span.start : span.end] == span.text == span.text.strip() != ""
        assert span.start == 0 or not continues(context, span.start)
        assert span.end == len(context) or not continues(context, span.end)
    assert len({(span.paragraph, span.start, span.end) for span in found.n_best}) == len(found.n_best)
    assert sum(span.score for span in found.n_best) < 1
    if found.start is not None:
        assert found.answer == contexts[found.paragraph][found.start : found.end] == found.n_best[0].text
    else:
        assert found.answer == ""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(context=TEXTS, data=st.data())
def test_training_points_to_tokens_that_hold_the_answer(task, encoding, context, data):
    start = data.draw(st.integers(0, len(context) - 1))
    text = context[start : data.draw(st.integers(start + 1, len(context)))]
    if not text.strip():
        return
    row = {"question": "谁?", "context": context, "answers": {"text": [text], "answer_start": [start]}}
    features = task.encode([task.to_example(row, "a", task.options())], encoding)
    for feature in features:
        first, last = (feature.labels[name] for name in ("start", "end"))
        if first == -100 or feature.offsets[first][0] < 0:
            assert last == first
            continue
        assert feature.labels["allowed"][first] == feature.labels["allowed"][last] == 1
        left, right = feature.offsets[first][0], feature.offsets[last][1]
        inside = [(a, b) for a, b in feature.offsets if a >= 0 and a < start + len(text) and b > start]
        assert (left, right) == (inside[0][0], inside[-1][1])
        lost = context[start:left] + context[right : start + len(text)]  # what the tokenizer has no token for
        assert all(c.isspace() or unicodedata.category(c)[0] in "CM" for c in lost)
