"""The named-entity task, function by function: rows, labels, decoding, scores, baseline."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from polyhead.registry import (
    DataError,
    EncodeSettings,
    Feature,
    LabelField,
    Output,
    RowError,
    RunError,
    TaskSetup,
    Window,
)

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"
LABELS = ("O", "B-LOC", "I-LOC", "B-人", "I-人")
ROW = {"tokens": ["Angela", "Merkel", "在", "柏", "林"], "ner_tags": ["B-人", "I-人", "O", "B-LOC", "I-LOC"]}
TEXT = "Angela Merkel 在柏林"
TEXT_ROW = {
    "text": TEXT,
    "entities": [{"start": 15, "end": 17, "label": "LOC"}, {"start": 0, "end": 14, "label": "人"}],
}


@pytest.fixture(scope="module")
def task(registry: Any) -> Any:
    return registry.task("ner")


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Any) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def read(task: Any, row: dict[str, Any], **options: Any) -> Any:
    return task.to_example(row, "a", task.options(**options))


def real(task: Any, name: str, split: str) -> list[Any]:
    with gzip.open(SAMPLES / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [task.to_example(json.loads(line), str(at), task.options()) for at, line in enumerate(lines)]


def window(spans: list[tuple[int, int]], tags: list[str], *, sure: float = 5.0, labels: Any = LABELS) -> Window:
    """Return a window in which each token says its tag, between two tokens that speak for no word."""
    logits = np.zeros((len(spans) + 2, len(labels)), dtype=np.float32)
    for at, tag in enumerate(tags, start=1):
        logits[at, labels.index(tag)] = sure
    return Window(Feature(0, {}, {}, [(-1, -1), *spans, (-1, -1)]), {"logits": logits})


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_row_of_tokens(task):
    example = read(task, ROW)
    assert (example.text, example.has_tokens) == (TEXT, True)
    assert [(m.start, m.end, m.label, m.first_word, m.end_word) for m in example.entities] == [
        (0, 13, "人", 0, 2),
        (15, 17, "LOC", 3, 5),
    ]
    assert example.labels == ("人", "LOC")
    assert read(task, {"tokens": ROW["tokens"]}).entities is read(task, {"tokens": ROW["tokens"]}).labels is None
    assert read(task, {"tokens": [], "ner_tags": []}).entities == ()


def test_a_row_of_text_has_the_same_entities(task):
    example = read(task, TEXT_ROW)
    assert example.entities == read(task, ROW).entities
    assert example.words == read(task, ROW).words
    assert not example.has_tokens
    assert read(task, {"text": TEXT}).entities is None
    assert read(task, {"text": TEXT, "entities": []}).entities == ()


def test_tokens_of_a_given_text(task):
    example = read(task, {**ROW, "text": "Angela\tMerkel在\r\n柏林"})
    assert [example.text[m.start : m.end] for m in example.entities] == ["Angela\tMerkel", "柏林"]
    with pytest.raises(RowError, match="token 4, '林', does not stand in the text"):
        read(task, {**ROW, "text": "Angela Merkel在柏森林"})


def test_tags_of_another_scheme(task):
    tags = ["B-人", "L-人", "O", "B-LOC", "L-LOC"]
    assert read(task, {**ROW, "ner_tags": tags}, scheme="BILOU").entities == read(task, ROW).entities
    with pytest.raises(RowError, match="column 'ner_tags': tag 1, 'L-人', does not belong to scheme IOB2"):
        read(task, {**ROW, "ner_tags": tags}, scheme="IOB2")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({}, "expected 'tokens' .* or 'text', found neither"),
        ({"tokens": "a b"}, "column 'tokens': expected a list of texts, found str 'a b'"),
        ({"tokens": ["a", 3]}, "expected a list of texts, found int 3"),
        ({"tokens": ["a"], "ner_tags": [3]}, "whole numbers do not say which entity they mean"),
        ({"tokens": ["a"], "ner_tags": ["O", "O"]}, "2 tags for 1 tokens"),
        ({"tokens": ["a"], "ner_tags": ["?"]}, r"'\?' is no tag"),
        ({"tokens": ["\ud83d"]}, "half of a surrogate pair"),
        ({"text": "a", "ner_tags": ["O"]}, "tags need the tokens"),
        ({"text": "  "}, "the text is empty"),
        ({"text": 5}, "expected a text, found int 5"),
        ({"text": "a", "entities": "b"}, "expected a list of {start, end, label}"),
        ({"text": "a", "entities": [{"start": 0, "end": 2, "label": "X"}]}, "0-2 does not lie in the text, .* 1 "),
        ({"text": "a", "entities": [{"start": 1, "end": 1, "label": "X"}]}, "does not lie"),
        ({"text": "a", "entities": [{"start": "0", "end": 1, "label": "X"}]}, "expected whole numbers"),
        ({"text": "a", "entities": [{"start": 0, "end": 1}]}, "expected a text 'label', found nothing"),
        ({"text": "a", "entities": [{"start": 0, "end": 1, "labels": "X"}]}, "Did you mean 'labels'"),
        ({"text": "a b", "entities": [{"start": 1, "end": 2, "label": "X"}]}, "nothing but white space"),
        ({"text": "ab", "entities": [{"start": 0, "end": 1, "label": "X", "text": "b"}]}, "are 'a', not 'b'"),
        (
            {
                "text": "abc",
                "entities": [{"start": 1, "end": 3, "label": "Y"}, {"start": 0, "end": 2, "label": "X"}],
            },
            "X 0-2 and Y 1-3 overlap",
        ),
    ],
)
def test_rows_that_make_no_sense(task, row, problem):
    with pytest.raises(RowError, match=problem):
        read(task, row)


# ── setup ───────────────────────────────────────────────────────────────────────────────────────────────


def test_preparing_learns_types_and_remembers_entities(task):
    setup = task.prepare([read(task, ROW), read(task, TEXT_ROW)], task.options())
    assert setup.labels == ("O", "B-LOC", "I-LOC", "B-人", "I-人")
    assert setup.facts == {"known_entities": {"Angela Merkel": "人", "柏 林": "LOC"}}
    assert json.loads(json.dumps(setup.facts)) == setup.facts
    bioes = task.options(scheme_inside="BIOES")
    assert task.prepare([read(task, ROW)], bioes).labels[:5] == ("O", "B-LOC", "I-LOC", "E-LOC", "S-LOC")


def test_training_data_without_entities(task):
    with pytest.raises(DataError, match="holds no entity"):
        task.prepare([read(task, {"tokens": ["a"], "ner_tags": ["O"]})], task.options())
    with pytest.raises(RowError, match="column 'ner_tags': example 'a' has none"):
        task.prepare([read(task, {"tokens": ["a"]})], task.options())
    with pytest.raises(RowError, match="column 'entities': example 'a' has none"):
        task.check_example(read(task, {"text": "a"}), TaskSetup(task.options(), LABELS))


def test_an_unknown_type_does_not_fit(task):
    setup = TaskSetup(task.options(), LABELS)
    task.check_example(read(task, ROW), setup)
    with pytest.raises(RowError, match=r"column 'ner_tags': unknown entity type 'LOK'\. Did you mean 'LOC'"):
        task.check_example(read(task, {"tokens": ["a"], "ner_tags": ["B-LOK"]}), setup)


def test_labels_of_a_model_that_others_trained(task):
    for labels in (LABELS, ("O", "I-PER", "B-LOC", "I-LOC"), ("O", "PER"), ("O", "B-X", "I-X", "E-X", "S-X")):
        assert task.setup_from_labels(labels, task.options()).labels == labels
    for labels in (("LABEL_0", "LABEL_1"), ("positive", "negative")):
        with pytest.raises(RunError, match=f"{labels[0]}, {labels[1]}.*are no entity tags.*id2label"):
            task.setup_from_labels(labels, task.options())


# ── features and heads ──────────────────────────────────────────────────────────────────────────────────


def encode(task: Any, tokenizer: Any, row: dict[str, Any], labels: Any = LABELS, **settings: int) -> list[Feature]:
    lengths = {"max_length": 64, "stride": 4, **settings}
    setup = TaskSetup(task.options(), labels)
    return task.encode([read(task, row)], EncodeSettings(tokenizer, lengths["max_length"], lengths["stride"], setup))


def test_the_first_token_of_a_word_bears_its_tag(task, tokenizer):
    row = {"tokens": ["embeddings", "柏", "林"], "ner_tags": ["B-人", "B-LOC", "I-LOC"]}
    (feature,) = encode(task, tokenizer, row)
    assert tokenizer.convert_ids_to_tokens(feature.inputs["input_ids"])[1:5] == ["em", "##bed", "##ding", "##s"]
    first = feature.labels["labels"]
    assert first == [-100, 3, -100, -100, -100, *first[5:]]
    assert [label for label in first if label != -100] == [3, 1, 2]
    assert [span for span in feature.offsets if span != (-1, -1)] == [(0, 10), (11, 12), (12, 13)]


def test_labels_in_the_scheme_of_the_model(task, tokenizer):
    found = {
        labels: [labels[at] for at in encode(task, tokenizer, ROW, labels)[0].labels["labels"] if at != -100]
        for labels in (("O", "I-LOC", "B-人", "I-人"), ("O", "LOC", "人"), ("O", "B-LOC", "L-LOC", "B-人", "L-人"))
    }
    assert list(found.values()) == [
        ["I-人", "I-人", "O", "I-LOC", "I-LOC"],
        ["人", "人", "O", "LOC", "LOC"],
        ["B-人", "L-人", "O", "B-LOC", "L-LOC"],
    ]


def test_texts_without_usable_entities_bear_no_labels(task, tokenizer):
    for row in ({"text": TEXT}, {"tokens": ["a"], "ner_tags": ["B-ORG"]}):
        assert [feature.labels for feature in encode(task, tokenizer, row)] == [{}]


def test_an_entity_inside_a_word_trains_the_whole_word(task, tokenizer):
    row = {"text": "NewYork", "entities": [{"start": 3, "end": 7, "label": "LOC"}]}
    (feature,) = encode(task, tokenizer, row)
    assert [label for label in feature.labels["labels"] if label != -100] == [1]


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder-decoder"])
def test_the_heads(task, registry, family):
    setup = TaskSetup(task.options(causal=False), LABELS)
    spec = registry.head_factory("ner", family)(setup)
    assert (spec.size, spec.labels, spec.outputs) == (5, LABELS, (Output("logits", per="token"),))
    assert spec.auto_class == "AutoModelForTokenClassification"
    assert spec.causal == (family != "decoder")
    assert task.label_fields(setup) == (LabelField("labels", "int", "tokens"),)


def test_the_loss_is_torchs_mean_over_words(task):
    setup = TaskSetup(task.options(), LABELS)
    logits_BTL, labels_BT = torch.randn(2, 4, 5), torch.tensor([[-100, 1, -100, 4], [0, 2, -100, -100]])
    total, targets = task.loss((logits_BTL,), (labels_BT,), setup)
    torch.testing.assert_close(
        total / targets, torch.nn.functional.cross_entropy(logits_BTL.flatten(0, 1), labels_BT.flatten())
    )
    assert targets == task.count_targets((labels_BT,), setup) == 4


# ── decoding ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_prediction_is_on_the_original_text(task):
    example = read(task, ROW)
    found = task.decode(example, [window(list(example.words), ROW["ner_tags"])], TaskSetup(task.options(), LABELS))
    chance = float(np.exp(5) / (np.exp(5) + 4))
    assert json.loads(json.dumps(asdict(found), ensure_ascii=False)) == {
        "id": "a",
        "text": TEXT,
        "entities": [
            {
                "start": 0,
                "end": 13,
                "label": "人",
                "text": "Angela Merkel",
                "score": pytest.approx(chance),
                "tokens": [0, 2],
            },
            {"start": 15, "end": 17, "label": "LOC", "text": "柏林", "score": pytest.approx(chance), "tokens": [3, 5]},
        ],
        "tags": ROW["ner_tags"],
    }


def test_a_prediction_for_a_text_has_no_tokens(task):
    example = read(task, {"text": TEXT})
    found = task.decode(example, [window(list(example.words), ROW["ner_tags"])], TaskSetup(task.options(), LABELS))
    assert [(entity.text, entity.tokens) for entity in found.entities] == [("Angela Merkel", None), ("柏林", None)]
    assert found.tags is None


def test_constrained_decoding_can_be_switched_off(task):
    example = read(task, {"tokens": ["a", "b", "c"]})
    view = window(list(example.words), ["O", "I-LOC", "I-LOC"])
    loose = task.decode(example, [view], TaskSetup(task.options(constrained=False), LABELS))
    assert loose.tags == ("O", "I-LOC", "I-LOC")
    assert [entity.text for entity in loose.entities] == ["b c"]
    strict = task.decode(example, [view], TaskSetup(task.options(), LABELS))
    assert strict.tags == ("O", "B-LOC", "I-LOC")


def test_a_model_of_scheme_iob1_says_entities_without_b(task):
    labels = ("O", "I-LOC", "B-ORG", "I-ORG")
    example = read(task, {"tokens": ["a", "b", "c"]})
    found = task.decode(
        example,
        [window(list(example.words), ["I-LOC", "I-ORG", "B-ORG"], labels=labels)],
        task.setup_from_labels(labels, task.options()),
    )
    assert found.tags == ("B-LOC", "B-ORG", "B-ORG")


def test_words_without_a_token(task):
    example = read(task, {"tokens": ["\u200b", "New", "\u200b", "York", ""]})
    view = window([example.words[1], example.words[3]], ["B-LOC", "I-LOC"])
    found = task.decode(example, [view], TaskSetup(task.options(), LABELS))
    assert found.tags == ("O", "B-LOC", "I-LOC", "I-LOC", "O")
    assert found.entities[0].tokens == (1, 4)


def test_words_that_share_a_token(task):
    example = read(task, {"tokens": ["在", "中", "国", "人"]})
    view = window([(0, 1), (1, 3), (3, 4)], ["O", "B-LOC", "O"])
    found = task.decode(example, [view], TaskSetup(task.options(), LABELS))
    assert found.tags == ("O", "B-LOC", "I-LOC", "O")
    assert found.entities[0].text == "中国"


def test_a_text_without_any_window_or_word(task):
    setup = TaskSetup(task.options(), LABELS)
    assert task.decode(read(task, {"tokens": []}), [], setup).tags == ()
    assert task.decode(read(task, {"tokens": ["\u200b"]}), [window([], [])], setup).tags == ("O",)
    assert task.decode(read(task, {"text": "\u200b!"}), [], setup).tags is None


def test_an_entity_cut_by_a_window_is_found_whole(task, tokenizer):
    """Each window knows only what it sees well: near its cut edges it says nonsense, and is not believed."""
    words = [f"w{number}" for number in range(40)]
    words[14:18] = ["Rio", "de", "la", "Plata"]
    example = read(task, {"tokens": words})
    setup = TaskSetup(task.options(), LABELS)
    features = task.encode([example], EncodeSettings(tokenizer, 32, 12, setup))
    assert len(features) > 2
    truth = dict.fromkeys(example.words, "O")
    truth.update(zip(example.words[14:18], ["B-LOC", "I-LOC", "I-LOC", "I-LOC"], strict=True))
    cut = [feature for feature in features if example.words[15] in feature.offsets]
    assert any(example.words[14] not in feature.offsets or example.words[17] not in feature.offsets for feature in cut)
    windows = []
    for number, feature in enumerate(features):
        logits = np.zeros((len(feature.offsets), len(LABELS)), dtype=np.float32)
        for at, span in enumerate(feature.offsets):
            near_start = number > 0 and at < 6
            near_end = number < len(features) - 1 and at >= len(feature.offsets) - 6
            if span != (-1, -1):
                logits[at, LABELS.index("B-人" if near_start or near_end else truth[span])] = 5.0
        windows.append(Window(feature, {"logits": logits}))
    found = task.decode(example, windows, setup)
    assert [(entity.text, entity.label) for entity in found.entities] == [("Rio de la Plata", "LOC")]


# ── scores, baseline, perturbations ─────────────────────────────────────────────────────────────────────


def test_scores_are_of_characters_where_rows_are_texts(task):
    setup = TaskSetup(task.options(), LABELS)
    inside = read(task, {"text": "NewYork 柏林", "entities": [{"start": 3, "end": 7, "label": "LOC"}]})
    view = window(list(inside.words), ["B-LOC", "B-LOC", "I-LOC"])
    values = task.metrics[0].compute([task.decode(inside, [view], setup)], [inside], setup).values
    assert (values["f1"], values["precision"]) == (0.0, 0.0)
    whole = read(task, TEXT_ROW)
    view = window(list(whole.words), ROW["ner_tags"])
    values = task.metrics[0].compute([task.decode(whole, [view], setup)], [whole], setup).values
    assert set(values.values()) == {1.0}


def test_a_prediction_that_is_cut_off_counts_as_outside(task):
    setup = TaskSetup(task.options(), LABELS)
    example = read(task, ROW)
    full = task.decode(example, [window(list(example.words), ROW["ner_tags"])], setup)
    short = type(full)(full.id, full.text, full.entities, full.tags[:3])
    values = task.metrics[0].compute([short], [example], setup).values
    assert (values["precision"], values["recall"]) == (1.0, 0.5)
    assert task.headline(setup) == "f1"


@pytest.mark.parametrize(("name", "expected"), [("uner_en_ewt", 0.484), ("uner_zh_gsdsimp", 0.180)])
def test_the_baseline_looks_up_the_entities_of_training(task, name, expected):
    setup = task.prepare(real(task, name, "train"), task.options())
    test = real(task, name, "test")
    values = task.metrics[0].compute(task.baseline(test, setup), test, setup).values
    assert values["f1"] == pytest.approx(expected, abs=5e-4)


def test_the_baseline_takes_the_longest_and_the_most_frequent(task):
    rows = [(["New", "York"], ["B-LOC", "I-LOC"]), *[(["York"], [tag]) for tag in ("B-人", "B-LOC", "B-人")]]
    examples = [read(task, {"tokens": tokens, "ner_tags": tags}) for tokens, tags in rows]
    setup = task.prepare(examples, task.options())
    found = task.baseline([read(task, {"tokens": ["York", "New", "York", "x"]}), read(task, {"text": "York"})], setup)
    assert found[0].tags == ("B-人", "B-LOC", "I-LOC", "O")
    assert [(entity.text, entity.label) for entity in found[1].entities] == [("York", "人")]
    foreign = task.setup_from_labels(LABELS, task.options())
    assert task.baseline([read(task, ROW)], foreign)[0].tags == ("O",) * 5


def test_perturbations_leave_every_character_at_its_place(registry, task):
    example = read(
        task, {"text": "İstanbul und STRASSE, 柏林 №5!", "entities": [{"start": 0, "end": 8, "label": "LOC"}]}
    )
    found = registry.perturbations("ner")
    assert set(found) == {"lowercase", "full-width"}
    for perturbation in found.values():
        changed = perturbation.apply(example, random.Random(0))
        assert len(changed.text) == len(example.text)
        assert changed.text != example.text
        assert (changed.words, changed.entities) == (example.words, example.entities)
