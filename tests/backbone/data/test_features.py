"""Features: what is kept of a task's encoding, and when the cache may answer for it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from polyhead.backbone.data import features as features_module
from polyhead.backbone.data.features import FeatureSet, cache_folder, encode_examples
from polyhead.registry import DataError, EncodeSettings, Feature, LabelField, TaskSetup, TextExample

LABELS = ("negative", "positive", "正面")
EXAMPLES = (
    TextExample("a", "a warm and funny film", labels=("positive",)),
    TextExample("b", "dull " * 40, labels=("negative",)),
    TextExample("c", "这部电影很好看,我非常喜欢。", labels=("正面",)),
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "polyhead" / "features"


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


@pytest.fixture
def task(registry: Any) -> Any:
    """Return the sentiment task, which counts how many examples it has encoded."""
    plain = registry.task("sentiment")
    counted: list[int] = []

    def encode(examples: Sequence[TextExample], settings: EncodeSettings) -> list[Feature]:
        counted.append(len(examples))
        return plain.encode(examples, settings)

    encode.counted = counted
    return dataclasses.replace(plain, encode=encode)


def settings_of(tokenizer: Any, task: Any, **changes: Any) -> EncodeSettings:
    setup = changes.pop("setup", TaskSetup(task.options(), LABELS))
    return EncodeSettings(**{"tokenizer": tokenizer, "max_length": 24, "stride": 6, "setup": setup, **changes})


def plain(features: FeatureSet) -> list[Feature]:
    return [features.feature(index) for index in range(len(features))]


def arrays(features: FeatureSet) -> dict[str, np.ndarray]:
    """Return every array of a set by a name of its own."""
    groups = {"inputs": features.inputs, "labels": features.labels, "spans": {"": features.spans}}
    found = {
        f"{group}/{name}/{part}": getattr(ragged, part)
        for group, columns in groups.items()
        for name, ragged in columns.items()
        for part in ("values", "offsets")
    }
    return {**found, "example_of": features.example_of}


def assert_same(one: FeatureSet, other: FeatureSet) -> None:
    left, right = arrays(one), arrays(other)
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert array.dtype == right[name].dtype
        assert np.array_equal(array, right[name])


# ── what is kept ────────────────────────────────────────────────────────────────────────────────────────


def test_a_set_holds_what_the_task_encoded(task, tokenizer):
    settings = settings_of(tokenizer, task)
    found = encode_examples(task, EXAMPLES, settings, cache=False)
    expected = task.encode(EXAMPLES, settings)
    assert len(found) == len(expected) == 5  # the long text gives three windows
    assert [dict(feature.inputs) for feature in plain(found)] == [dict(feature.inputs) for feature in expected]
    assert [feature.labels for feature in plain(found)] == [{"labels": [label]} for label in (1, 0, 0, 0, 2)]
    assert found.lengths.tolist() == [len(feature.inputs["input_ids"]) for feature in expected]
    assert found.windows_of_examples(3) == [[0], [1, 2, 3], [4]]
    assert found.has_labels


def test_chunks_are_put_together_in_order(task, tokenizer, monkeypatch):
    settings = settings_of(tokenizer, task)
    whole = encode_examples(task, EXAMPLES * 3, settings, cache=False)
    monkeypatch.setattr(features_module, "ENCODE_AT_ONCE", 2)
    task.encode.counted.clear()
    steps: list[int] = []
    assert_same(encode_examples(task, EXAMPLES * 3, settings, cache=False, progress=steps.append), whole)
    assert steps == task.encode.counted == [2, 2, 2, 2, 1]


def test_offsets_come_back_as_spans(task, tokenizer):
    spans = [(0, 1), (2, 6), (0, 0)]

    def encode(examples: Sequence[TextExample], settings: EncodeSettings) -> list[Feature]:
        return [Feature(0, {"input_ids": [1, 2, 3]}, offsets=spans), Feature(1, {"input_ids": [4]})]

    found = encode_examples(
        dataclasses.replace(task, encode=encode), EXAMPLES[:2], settings_of(tokenizer, task), cache=False
    )
    assert [feature.offsets for feature in plain(found)] == [spans, []]


def test_labels_of_every_shape_are_packed(task, tokenizer):
    fields = (LabelField("one"), LabelField("set", "float", "vector"), LabelField("tags", "int", "tokens"))

    def encode(examples: Sequence[TextExample], settings: EncodeSettings) -> list[Feature]:
        return [Feature(0, {"input_ids": [1, 2]}, {"one": 3, "set": [0.5, 1.0], "tags": [7, -100]})]

    shaped = dataclasses.replace(task, encode=encode, label_fields=lambda setup: fields)
    (feature,) = plain(encode_examples(shaped, EXAMPLES[:1], settings_of(tokenizer, task), cache=False))
    assert feature.labels == {"one": [3], "set": [0.5, 1.0], "tags": [7, -100]}


def test_one_example_without_label_leaves_the_set_without(task, tokenizer):
    mixed = (EXAMPLES[0], TextExample("x", "who knows"))
    found = encode_examples(task, mixed, settings_of(tokenizer, task), cache=False)
    assert not found.has_labels
    assert found.labels == {}


# ── the cache ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_hit_equals_the_fresh_features_bit_for_bit(task, tokenizer, cache):
    settings = settings_of(tokenizer, task)
    fresh = encode_examples(task, EXAMPLES, settings, cache=True)
    assert len(list(cache.iterdir())) == 1
    again = encode_examples(task, EXAMPLES, settings, cache=True)
    assert task.encode.counted == [3]
    assert_same(again, fresh)
    assert_same(encode_examples(task, EXAMPLES, settings, cache=False), fresh)


def test_batches_of_fresh_and_cached_features_are_alike(task, tokenizer, cache):
    from polyhead.backbone.training.encoding import collator_for

    settings = settings_of(tokenizer, task)
    fresh, cached = (collator_for(task, settings, EXAMPLES, tuple(tokenizer("a")), cache=True) for _ in range(2))
    assert task.encode.counted == [3]
    one, other = (collator.collate((0, 1, 4), with_labels=True) for collator in (fresh, cached))
    for left, right in zip((*one.inputs, *one.labels), (*other.inputs, *other.labels), strict=True):
        assert left.tolist() == right.tolist()


def test_what_the_tokenizer_did_before_makes_no_difference(task, tokenizer, cache):
    settings = settings_of(tokenizer, task)
    tokenizer(["a"], truncation=True, max_length=5, padding=True)
    encode_examples(task, EXAMPLES[:1], settings, cache=True)
    tokenizer(["a"])
    encode_examples(task, EXAMPLES[:1], settings, cache=True)
    assert task.encode.counted == [1]


def test_without_cache_nothing_is_written(task, tokenizer, cache):
    encode_examples(task, EXAMPLES, settings_of(tokenizer, task), cache=False)
    assert not cache.exists()


@pytest.mark.parametrize(
    "change", ["text", "label", "id", "order", "labels", "options", "window", "stride", "tokenizer", "task"]
)
def test_whatever_changes_the_features_is_encoded_anew(task, tokenizer, cache, tmp_path, change):
    settings = settings_of(tokenizer, task)
    encode_examples(task, EXAMPLES, settings, cache=True)
    examples, other = EXAMPLES, settings
    first = EXAMPLES[0]
    if change == "text":
        examples = (dataclasses.replace(first, text="a warm and funny Film"), *EXAMPLES[1:])
    elif change == "label":
        examples = (dataclasses.replace(first, labels=("negative",)), *EXAMPLES[1:])
    elif change == "id":
        examples = (dataclasses.replace(first, id="z"), *EXAMPLES[1:])
    elif change == "order":
        examples = EXAMPLES[::-1]
    elif change == "labels":
        other = settings_of(tokenizer, task, setup=TaskSetup(task.options(), LABELS[::-1]))
    elif change == "options":
        other = settings_of(tokenizer, task, setup=TaskSetup(task.options(class_weights="balanced"), LABELS))
    elif change == "window":
        other = settings_of(tokenizer, task, max_length=20)
    elif change == "stride":
        other = settings_of(tokenizer, task, stride=4)
    elif change == "tokenizer":
        tokenizer.save_pretrained(tmp_path)
        cased = AutoTokenizer.from_pretrained(tmp_path)
        cased.add_tokens(["funny film"])
        other = settings_of(cased, task)
    else:
        task = dataclasses.replace(task, name="mood")
    encode_examples(task, examples, other, cache=True)
    assert len(task.encode.counted) == 2
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("left", [0, 7, 100, -9])
def test_a_torn_file_is_encoded_anew_and_mended(task, tokenizer, cache, left):
    settings = settings_of(tokenizer, task)
    fresh = encode_examples(task, EXAMPLES, settings, cache=True)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:left])
    assert_same(encode_examples(task, EXAMPLES, settings, cache=True), fresh)
    assert task.encode.counted == [3, 3]
    assert file.read_bytes() == whole


def test_the_oldest_files_go_when_there_are_too_many(task, tokenizer, cache, monkeypatch):
    import os

    encode_examples(task, EXAMPLES[:1], settings_of(tokenizer, task), cache=True)
    (old,) = cache.iterdir()
    os.utime(old, (0, 0))
    monkeypatch.setattr(features_module, "MOST_CACHE_BYTES", old.stat().st_size + 10)
    encode_examples(task, EXAMPLES[:2], settings_of(tokenizer, task), cache=True)
    assert not old.exists()


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "polyhead" / "features"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "polyhead" / "features"


def test_a_cache_that_cannot_be_written_is_one_clear_error(task, tokenizer, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError) as caught:
        encode_examples(task, EXAMPLES, settings_of(tokenizer, task), cache=True)
    assert str(caught.value).startswith(f"{tmp_path / 'file'}/polyhead/features: features cannot be kept there: ")
    assert str(caught.value).endswith("say data.cache=false, or set XDG_CACHE_HOME to a folder of yours")


class Encoder:
    """An object that encodes."""

    def __init__(self, encode: Any) -> None:
        self.encode = encode

    def __call__(self, examples: Sequence[TextExample], settings: EncodeSettings) -> list[Feature]:
        return self.encode(examples, settings)


@pytest.mark.parametrize("wrap", [functools.partial, Encoder])
def test_whatever_can_be_called_can_encode(task, tokenizer, cache, wrap):
    settings = settings_of(tokenizer, task)
    wrapped = dataclasses.replace(task, encode=wrap(task.encode))
    fresh, cached = (encode_examples(wrapped, EXAMPLES, settings, cache=True) for _ in range(2))
    assert task.encode.counted == [3]
    assert_same(fresh, cached)
