"""The characters of an entity are its text, always: any scripts mixed, any tokenizer, windows or none."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from polyhead.registry import EncodeSettings, TaskSetup, Window

LABELS = ("O", "B-A", "I-A", "B-乙", "I-乙")
PIECES = st.sampled_from(
    [
        *("New York", "北京", "在中国", "👨‍👩‍👧", "👍🏽", "🇩🇪", "❤️", "\r\n", "　", " ", "\t", "ＡＢ１２", "，", "。"),
        *("café", "cafe\u0301", "ﬁ", "İ", "ß", "\u200b", "\u200d", "\ufeff", "\u00ad", "हिन्दी", "한국어", "かな", "𠮷"),
        *("don't", "[SEP]", "<s>", "▁", "Ġ", "\u0301", "\x00", "العربية", "a" * 120),
    ]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=6)), min_size=1, max_size=25).map("".join)


@cache
def byte_level() -> Any:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    corpus = ["New York 北京 在中国 👨‍👩‍👧 ＡＢ１２ café"] * 20
    raw.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=350, initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=raw)


@pytest.fixture(scope="module", params=["wordpiece", "bytes"])
def tokenizer(request: Any, tiny_bert: Any) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert) if request.param == "wordpiece" else byte_level()


@pytest.fixture(scope="module")
def task(registry: Any) -> Any:
    return registry.task("ner")


def predict(task: Any, tokenizer: Any, example: Any, max_length: int, seed: int, *, constrained: bool) -> Any:
    """Return what a model that says anything at all is read as."""
    setup = TaskSetup(task.options(constrained=constrained), LABELS)
    draw = np.random.default_rng(seed)
    features = task.encode([example], EncodeSettings(tokenizer, max_length, max_length // 4, setup))
    assert features
    windows = [
        Window(feature, {"logits": draw.normal(size=(len(feature.inputs["input_ids"]), 5)).astype(np.float32)})
        for feature in features
    ]
    return task.decode(example, windows, setup)


def check(example: Any, prediction: Any) -> None:
    assert prediction.text == example.text
    end = 0
    for entity in prediction.entities:
        assert end <= entity.start < entity.end <= len(example.text)
        assert example.text[entity.start : entity.end] == entity.text
        assert entity.text.strip() == entity.text
        assert 0 < entity.score <= 1
        end = entity.end


PROPERTY = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@PROPERTY
@given(TEXTS.filter(str.strip), st.sampled_from([8, 24, 512]), st.integers(0, 99), st.booleans())
def test_entities_of_a_text(task, tokenizer, text, max_length, seed, constrained):
    example = task.to_example({"text": text}, "a", task.options())
    prediction = predict(task, tokenizer, example, max_length, seed, constrained=constrained)
    check(example, prediction)
    assert task.encode([example], EncodeSettings(tokenizer, 8, 2, TaskSetup(task.options(), LABELS)))[0].labels == {}


@PROPERTY
@given(st.lists(st.one_of(PIECES, st.text(max_size=6)), max_size=25), st.sampled_from([8, 512]), st.integers(0, 99))
def test_entities_of_tokens(task, tokenizer, tokens, max_length, seed):
    example = task.to_example({"tokens": tokens}, "a", task.options())
    prediction = predict(task, tokenizer, example, max_length, seed, constrained=True)
    assert len(prediction.tags) == len(tokens)
    for entity in prediction.entities:
        assert example.text[entity.start : entity.end] == entity.text
        first, end = entity.tokens
        assert (example.words[first][0], example.words[end - 1][1]) == (entity.start, entity.end)
        assert prediction.tags[first:end] == (f"B-{entity.label}", *[f"I-{entity.label}"] * (end - first - 1))
    assert sum(tag.startswith("B-") for tag in prediction.tags) == len(prediction.entities)


@PROPERTY
@given(TEXTS.filter(str.strip), st.data())
def test_what_a_perfect_model_says_is_the_reference(task, tokenizer, text, data):
    """Labels that were encoded, read back as if a model had given them, are the entities that were marked."""
    bare = task.to_example({"text": text}, "a", task.options())
    setup = TaskSetup(task.options(), LABELS)
    reading = EncodeSettings(tokenizer, 16, 4, setup)
    units = sorted({span for f in task.encode([bare], reading) for span in f.offsets if span != (-1, -1)})
    if not units:
        return
    first = data.draw(st.integers(0, len(units) - 1))
    last = data.draw(st.integers(first, min(first + 3, len(units) - 1)))
    marked = {"start": units[first][0], "end": units[last][1], "label": "乙"}
    example = task.to_example({"text": text, "entities": [marked]}, "a", task.options())
    windows = [
        Window(feature, {"logits": np.eye(5)[[max(label, 0) for label in feature.labels["labels"]]] * 9})
        for feature in task.encode([example], reading)
    ]
    found = task.decode(example, windows, setup)
    assert [(e.start, e.end, e.label) for e in found.entities] == [(marked["start"], marked["end"], "乙")]
    assert task.metrics[0].compute([found], [example], setup).values["f1"] == 1.0
