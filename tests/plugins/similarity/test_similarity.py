"""The similarity task, function by function: rows, what is learned, features, losses, predictions, search."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from polyhead.registry import (
    BackboneError,
    DataError,
    EncodeSettings,
    Feature,
    ModelFacts,
    RowError,
    RunError,
    TaskSetup,
    Window,
)

LONG = "猫坐在垫子上, the cat sat on the mat. " * 6


@pytest.fixture(scope="module")
def task(registry: Any) -> Any:
    return registry.task("similarity")


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def read(task: Any, rows: list[dict[str, Any]], **options: Any) -> list[Any]:
    return [task.to_example(row, str(number), task.options(**options)) for number, row in enumerate(rows)]


SCORED = [
    {"sentence1": "a cat", "sentence2": "the cat", "score": 4.0},
    {"sentence1": "一只猫", "sentence2": "一条狗", "score": "1.5"},
    {"sentence1": "x", "sentence2": "y", "score": 0},
]
LABELLED = [
    {"sentence1": "a", "sentence2": "b", "label": "paraphrase"},
    {"sentence1": "猫", "sentence2": "狗", "label": "not_paraphrase"},
]
POSITIVES = [{"sentence1": "how are you", "sentence2": "how do you do"}, {"anchor": "你好", "positive": "您好"}]
TRIPLETS = [
    {"anchor": "a", "positive": "b", "negative": "c"},
    {"anchor": "猫", "positive": "小猫", "negatives": ["狗", "车"]},
]


def prepared(task: Any, rows: list[dict[str, Any]], **options: Any) -> tuple[list[Any], TaskSetup]:
    examples = read(task, rows, **options)
    return examples, task.prepare(examples, task.options(**options))


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_of_every_kind(task):
    examples = read(task, [*SCORED[:2], LABELLED[0], *POSITIVES, *TRIPLETS, {"text": "单独"}])
    assert [(example.texts, example.score, example.label, example.kind) for example in examples] == [
        (("a cat", "the cat"), 4.0, None, "scores"),
        (("一只猫", "一条狗"), 1.5, None, "scores"),
        (("a", "b"), None, "paraphrase", "labels"),
        (("how are you", "how do you do"), None, None, "positives"),
        (("你好", "您好"), None, None, "positives"),
        (("a", "b", "c"), None, None, "triplets"),
        (("猫", "小猫", "狗", "车"), None, None, "triplets"),
        (("单独",), None, None, None),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "expected sentence1 and sentence2"),
        ({"sentence1": "a"}, "column 'sentence2': expected a text, found nothing"),
        ({"anchor": "a"}, "column 'positive'"),
        ({"sentence1": "a", "sentence2": "b", "score": "high"}, "column 'score': expected a number, found 'high'"),
        ({"sentence1": "a", "sentence2": "b", "score": float("nan")}, "column 'score'"),
        ({"sentence1": "a", "sentence2": "b", "score": True}, "column 'score'"),
        ({"sentence1": "a", "sentence2": "b", "label": 3.8}, "data.columns.score=label"),
        ({"anchor": "a", "positive": "b", "negatives": {"c": 1}}, "column 'negatives': expected a list"),
        ({"anchor": "a", "positive": "b", "negatives": ["c", 3]}, "column 'negatives': expected a text"),
        ({"text": " "}, "column 'text': the text is empty"),
    ],
)
def test_rows_that_make_no_sense(task, row, message):
    with pytest.raises(RowError, match=message):
        task.to_example(row, "x", task.options())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "temperature must be above 0"),
        ({"margin": -1}, "margin must be above 0"),
        ({"group": 1}, "group must be 2 or more"),
        ({"scale": (5, 0)}, "scale must be a lower and a higher number"),
        ({"loss": "squared-error"}, "loss of a bi-encoder must be auto or cosine"),
        ({"loss": "cosent", "architecture": "cross-encoder"}, "loss of a cross-encoder must be auto or binary"),
    ],
)
def test_options_that_make_no_sense(task, options, message):
    with pytest.raises(ValueError, match=message):
        task.options(**options)


# ── what is learned ─────────────────────────────────────────────────────────────────────────────────────


def test_the_kind_of_rows_decides_loss_and_headline(task):
    found = []
    for rows in (SCORED, LABELLED, POSITIVES, TRIPLETS, [*TRIPLETS, *POSITIVES]):
        _, setup = prepared(task, rows)
        found.append((setup.facts["kind"], task.headline(setup), task.together(setup), len(task.label_fields(setup))))
    assert found == [
        ("scores", "spearman", 32, 3),
        ("labels", "average_precision", 32, 3),
        ("positives", "mrr", 32, 2),
        ("triplets", "triplet_accuracy", 32, 2),
        ("triplets", "triplet_accuracy", 32, 2),
    ]
    assert task.together(prepared(task, SCORED, loss="cosine")[1]) == 1
    assert task.together(prepared(task, SCORED, architecture="cross-encoder")[1]) == 1


def test_scale_and_labels_are_learned(task):
    assert prepared(task, SCORED)[1].facts["scale"] == [0.0, 4.0]
    assert prepared(task, SCORED, scale=(0, 5))[1].facts["scale"] == [0, 5]
    assert prepared(task, LABELLED)[1].labels == ("not_paraphrase", "paraphrase")
    assert prepared(task, LABELLED, positive_label="not_paraphrase")[1].labels == ("paraphrase", "not_paraphrase")
    for rows in (SCORED, LABELLED, TRIPLETS):
        setup = prepared(task, rows)[1]
        assert json.loads(json.dumps(setup.facts)) == setup.facts


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([*SCORED, LABELLED[0]], {}, "found 1 with labels, 3 with scores"),
        ([*SCORED, {"text": "x"}], {}, "1 of 4 training rows hold a single text"),
        ([SCORED[0], SCORED[0]], {}, "all 2 scores of the training data are 4"),
        (POSITIVES, {"loss": "cosent"}, "options.loss=cosent does not fit training rows with positives"),
        (SCORED, {"loss": "triplet"}, "expected auto, cosent, cosine"),
        (POSITIVES, {"architecture": "cross-encoder"}, "cannot learn from positive pairs alone"),
        ([{**LABELLED[0], "label": "甲"}, LABELLED[1]], {}, "is the positive one"),
    ],
)
def test_training_data_that_make_no_sense(task, rows, options, message):
    with pytest.raises(DataError, match=message):
        prepared(task, rows, **options)


def test_examples_that_cannot_be_scored(task):
    scores, labels = prepared(task, SCORED, scale=(0, 5))[1], prepared(task, LABELLED)[1]
    for setup, row, message in (
        (scores, {"text": "a"}, "a single text"),
        (scores, POSITIVES[0], "column 'score': is missing"),
        (scores, {**SCORED[0], "score": 5.5}, r"5.5 lies outside options.scale=\[0, 5\]"),
        (labels, {**LABELLED[0], "label": "paraphase"}, "unknown label 'paraphase'.*'paraphrase'"),
    ):
        with pytest.raises(RowError, match=message):
            task.check_example(read(task, [row])[0], setup)
    task.check_example(read(task, SCORED)[0], prepared(task, TRIPLETS)[1])  # another kind may be scored all the same


def test_models_of_others(task):
    options = task.options()
    assert task.setup_from_labels((), options) == TaskSetup(options)
    assert task.setup_from_labels(("LABEL_0",), options).options.architecture == "cross-encoder"
    two = task.setup_from_labels(("equivalent", "not_equivalent"), options)
    assert two.facts == {"head_labels": ["equivalent", "not_equivalent"], "positive": 0}
    assert task.heads["encoder"](two).size == 2
    assert task.setup_from_labels(("a", "b", "c"), options) == TaskSetup(options)


# ── folders of sentence-transformers ────────────────────────────────────────────────────────────────────


def test_a_folder_says_how_it_pools(task, tmp_path):
    setup = TaskSetup(task.options(pooling="last", normalize=False))
    assert task.setup_from_folder(tmp_path, setup) is setup
    written = TaskSetup(task.options(pooling="cls"), facts={"lowercase": True, "prompt": "Q: ", "max_length": 64})
    for path, text in task.extra_files(written, ModelFacts("encoder", 32, 128, "bert")).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    found = task.setup_from_folder(tmp_path, setup)
    assert (found.options.pooling, found.options.normalize, dict(found.facts)) == ("cls", True, dict(written.facts))
    (tmp_path / "modules.json").write_text('[{"type": "x.Dense", "path": ""}]')
    with pytest.raises(BackboneError, match="module 'Dense'"):
        task.setup_from_folder(tmp_path, setup)


def test_folders_that_sentence_transformers_would_read_otherwise(task):
    setup, cross = TaskSetup(task.options()), TaskSetup(task.options(architecture="cross-encoder"))
    assert task.extra_files(setup, ModelFacts("encoder-decoder", 32, 128, "bart")) == {}
    assert "modules.json" in task.extra_files(setup, ModelFacts("encoder-decoder", 32, 128, "mt5"))
    assert "modules.json" in task.extra_files(setup, ModelFacts("decoder", 32, 128, "llama"))
    assert task.extra_files(cross, ModelFacts("encoder", 32, 128, "bert")) == {}


def test_case_prompt_and_window_of_a_folder_are_kept(task, tokenizer):
    facts = {"lowercase": True, "prompt": "Q: ", "max_length": 12}
    (example,) = read(task, [{"text": "ABC " * 10}])
    features = task.encode([example], EncodeSettings(tokenizer, 128, 2, TaskSetup(task.options(), facts=facts)))
    assert max(len(feature.inputs["input_ids"]) for feature in features) == 12
    assert tokenizer.decode(features[0].inputs["input_ids"]).startswith("[CLS] q : abc abc")


# ── features and losses ─────────────────────────────────────────────────────────────────────────────────


def test_each_text_is_a_feature_of_its_own(task, tokenizer):
    examples, setup = prepared(task, [SCORED[0], {**SCORED[1], "sentence2": LONG}, SCORED[2]])
    features = task.encode(examples, EncodeSettings(tokenizer, 32, 8, setup))
    places = [(f.example, f.labels["text"], f.labels["window"]) for f in features]
    windows = sum(place[:2] == (1, 1) for place in places)
    assert windows > 2
    assert places == [(0, 0, 0), (0, 1, 0), (1, 0, 0), *((1, 1, n) for n in range(windows)), (2, 0, 0), (2, 1, 0)]
    assert [f.labels["target"] for f in features if f.labels["text"] == 0] == [1.0, 1.5 / 4, 0.0]
    assert dict(features[0].inputs) == dict(tokenizer("a cat"))


def test_who_bears_labels(task, tokenizer):
    def labelled(rows: list[dict[str, Any]], others: list[dict[str, Any]], **options: Any) -> list[bool]:
        setup = prepared(task, rows, **options)[1]
        return [
            all(feature.labels for feature in task.encode([example], EncodeSettings(tokenizer, 32, 8, setup)))
            for example in read(task, others, **options)
        ]

    every = [SCORED[0], LABELLED[0], POSITIVES[0], TRIPLETS[0]]
    assert labelled(SCORED, [*every, {"text": "a"}]) == [True, False, False, False, False]
    assert labelled(LABELLED, every) == [False, True, False, False]
    assert labelled(POSITIVES, every) == [False, False, True, False]
    assert labelled(TRIPLETS, every) == [False, False, True, True]
    assert labelled(TRIPLETS, every, loss="triplet") == [False, False, False, True]
    assert labelled(SCORED, every, architecture="cross-encoder") == [True, False, False, False]
    setup = prepared(task, SCORED)[1]
    settings = EncodeSettings(tokenizer, 32, 8, setup, predicting=True)
    assert not any(feature.labels for feature in task.encode(read(task, SCORED), settings))


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (SCORED, {}),
        (SCORED, {"loss": "cosine"}),
        (LABELLED, {}),
        (POSITIVES, {}),
        (TRIPLETS, {"group": 2}),
        (TRIPLETS, {"loss": "triplet"}),
        (SCORED, {"architecture": "cross-encoder"}),
        (LABELLED, {"architecture": "cross-encoder", "loss": "squared-error"}),
        (TRIPLETS, {"architecture": "cross-encoder"}),
    ],
)
def test_the_loss_counts_what_count_targets_says(task, tokenizer, rows, options):
    examples, setup = prepared(task, rows, **options)
    features = task.encode(examples, EncodeSettings(tokenizer, 32, 8, setup))
    labels = tuple(
        torch.tensor(
            [feature.labels[field.name] for feature in features],
            dtype=torch.float32 if field.dtype == "float" else torch.int64,
        )
        for field in task.label_fields(setup)
    )
    if setup.options.architecture == "cross-encoder":
        outputs = (torch.randn(len(features), 1, requires_grad=True),)
    else:
        outputs = (torch.randn(len(features), 8, requires_grad=True), torch.full((len(features), 1), 4.0))
    total, targets = task.loss(outputs, labels, setup)
    assert float(targets) == float(task.count_targets(labels, setup)) > 0
    (gradient,) = torch.autograd.grad(total, outputs[0])
    assert torch.isfinite(total)
    assert gradient.abs().sum() > 0


def test_the_loss_of_a_cross_encoder_is_torchs(task, tokenizer):
    examples, setup = prepared(task, SCORED, architecture="cross-encoder")
    features = task.encode(examples, EncodeSettings(tokenizer, 32, 8, setup))
    logits_BL, target_B = torch.randn(3, 1), torch.tensor([feature.labels["target"] for feature in features])
    assert target_B.tolist() == [1.0, 0.375, 0.0]
    total, targets = task.loss((logits_BL,), (target_B,), setup)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits_BL[:, 0], target_B)
    torch.testing.assert_close(total / targets, expected)
    setup = replace(setup, facts={**setup.facts, "loss": "squared-error"})
    total, targets = task.loss((logits_BL,), (target_B,), setup)
    torch.testing.assert_close(total / targets, torch.nn.functional.mse_loss(logits_BL[:, 0].sigmoid(), target_B))


# ── predictions ─────────────────────────────────────────────────────────────────────────────────────────


def vector_window(vector: list[float], weight: float = 4.0, *, begins: bool = True) -> Window:
    mark = 0 if begins else 1
    outputs = {"embedding": np.array(vector, dtype=np.float32), "weight": np.array([weight], dtype=np.float32)}
    return Window(Feature(0, {"input_ids": [1]}, {}, [(mark, mark)]), outputs)


def logit_window(*logits: float, begins: bool = True) -> Window:
    mark = 0 if begins else 1
    return Window(Feature(0, {"input_ids": [1]}, {}, [(mark, mark)]), {"logits": np.array(logits)})


def test_a_pair_gets_its_cosine_score_and_label(task):
    windows = [vector_window([3.0, 0.0]), vector_window([1.0, 1.0])]
    (scored, *_), setup = prepared(task, SCORED)
    cosine = pytest.approx(0.5**0.5)
    assert asdict(task.decode(scored, windows, setup)) == {
        "id": "0",
        "similarity": cosine,
        "score": pytest.approx(4 * 0.5**0.5),
    }
    line = replace(setup, facts={**setup.facts, "line": [2.0, 1.0]})
    assert task.decode(scored, windows, line).score == pytest.approx(1 + 2 * 0.5**0.5)
    (labelled,), setup = read(task, LABELLED[:1]), prepared(task, LABELLED)[1]
    assert asdict(task.decode(labelled, windows, setup)) == {"id": "0", "similarity": cosine}
    for threshold, label in ((0.7, "paraphrase"), (0.8, "not_paraphrase")):
        found = task.decode(labelled, windows, replace(setup, facts={**setup.facts, "threshold": threshold}))
        assert asdict(found) == {"id": "0", "similarity": cosine, "label": label}


def test_the_score_stays_on_its_scale(task):
    (example,), setup = read(task, SCORED[:1]), prepared(task, SCORED)[1]
    opposite = [vector_window([1.0, 0.0]), vector_window([-1.0, 0.0])]
    assert (task.decode(example, opposite, setup).similarity, task.decode(example, opposite, setup).score) == (-1, 0)


def test_windows_weigh_as_their_tokens(task):
    (example,) = read(task, [{"text": LONG}])
    windows = [vector_window([1.0, 0.0], 6.0), vector_window([0.0, 1.0], 2.0, begins=False)]
    plain = TaskSetup(task.options(normalize=False))
    assert task.decode(example, windows, plain).embedding == (0.75, 0.25)
    assert task.decode(example, windows, TaskSetup(task.options())).embedding == pytest.approx(
        (0.75 / 0.625**0.5, 0.25 / 0.625**0.5)
    )
    largest = TaskSetup(task.options(normalize=False, pooling="max"))
    assert task.decode(example, windows, largest).embedding == (1.0, 1.0)


def test_decoding_merges_as_the_loss_does(task, tokenizer):
    examples, setup = prepared(task, [{**SCORED[0], "sentence1": LONG}, SCORED[1]], loss="cosine")
    features = task.encode(examples, EncodeSettings(tokenizer, 16, 4, setup))
    vectors = torch.randn(len(features), 6, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([[float(len(feature.inputs["input_ids"]))] for feature in features])
    outputs = [{"embedding": v.numpy(), "weight": w.numpy()} for v, w in zip(vectors, weights, strict=True)]
    windows = [Window(feature, output) for feature, output in zip(features, outputs, strict=True)]
    cosines = [
        task.decode(example, [w for w in windows if w.feature.example == number], setup).similarity
        for number, example in enumerate(examples)
    ]
    labels = tuple(
        torch.tensor([f.labels[name] for f in features], dtype=torch.float32 if name == "target" else torch.int64)
        for name in ("text", "window", "target")
    )
    total, _ = task.loss((vectors, weights), labels, setup)
    assert float(total) == pytest.approx((cosines[0] - 1) ** 2 + cosines[1] ** 2, rel=1e-4)


def test_triplets_and_cross_encoders(task):
    (triplet,), setup = read(task, TRIPLETS[1:]), prepared(task, TRIPLETS)[1]
    windows = [vector_window(v) for v in ([1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-2.0, 0.0])]
    assert asdict(task.decode(triplet, windows, setup)) == {"id": "0", "similarities": (1.0, 0.0, -1.0)}
    cross = prepared(task, TRIPLETS, architecture="cross-encoder")[1]
    logits = [logit_window(2.0), logit_window(0.0, begins=False), logit_window(-1e9), logit_window(0.0)]
    assert task.decode(triplet, logits, cross).similarities == pytest.approx((1 / (1 + np.exp(-1)), 0.0, 0.5))


def test_a_head_with_two_labels_gives_their_log_odds(task):
    (example,) = read(task, POSITIVES[:1])
    setup = task.setup_from_labels(("equivalent", "not_equivalent"), task.options())
    assert task.decode(example, [logit_window(1.0, -1.0)], setup).similarity == pytest.approx(1 / (1 + np.exp(-2)))


def test_a_cross_encoder_makes_no_vector_of_one_text(task, tokenizer):
    setup = prepared(task, SCORED, architecture="cross-encoder")[1]
    with pytest.raises(RunError, match="example '0': a cross-encoder reads two texts at once"):
        task.encode(read(task, [{"text": "a"}]), EncodeSettings(tokenizer, 32, 8, setup))


def test_predictions_are_json_and_travel_between_processes(task):
    setup = TaskSetup(task.options())
    pair = task.decode(read(task, POSITIVES)[0], [vector_window([1.0, 0.0]), vector_window([1.0, 2.0])], setup)
    single = task.decode(read(task, [{"text": "一"}])[0], [vector_window([1.0, 0.0])], setup)
    assert json.loads(json.dumps(asdict(single))) == {"id": "0", "embedding": [1.0, 0.0]}
    assert list(json.loads(json.dumps(asdict(pair)))) == ["id", "similarity"]
    copies = pickle.loads(pickle.dumps((pair, single)))
    assert copies[1].text == "一"
    assert copies[0].vectors[0].tolist() == [1.0, 0.0]


def embedded(task: Any, rows: list[tuple[str, list[float]]]) -> list[Any]:
    setup = TaskSetup(task.options())
    examples = [task.to_example({"text": text}, text, setup.options) for text, _ in rows]
    return [task.decode(e, [vector_window(v)], setup) for e, (_, v) in zip(examples, rows, strict=True)]


def test_search_gives_the_nearest_texts(task):
    corpus = embedded(task, [("north", [0.0, 2.0]), ("东", [5.0, 0.0]), ("north-east", [1.0, 1.0]), ("south", [0, -1])])
    queries = embedded(task, [("up", [0.1, 1.0]), ("右", [1.0, 0.2])])
    found = task.search(queries, corpus, 2)
    assert [[entry.text for entry in query.nearest] for query in found] == [
        ["north", "north-east"],
        ["东", "north-east"],
    ]
    first = json.loads(json.dumps(asdict(found[0])))
    assert (first["id"], set(first["nearest"][0])) == ("up", {"id", "text", "score"})
    assert first["nearest"][0]["score"] == pytest.approx(1 / 1.01**0.5)
    assert len(task.search(queries, corpus, 9)[0].nearest) == 4


def test_only_single_texts_are_searched(task):
    pair = task.decode(
        read(task, POSITIVES)[0], [vector_window([1.0]), vector_window([1.0])], TaskSetup(task.options())
    )
    texts = embedded(task, [("a", [1.0])])
    with pytest.raises(RunError, match="'0' of the corpus is a pair"):
        task.search(texts, [pair], 1)
    with pytest.raises(RunError, match="of the queries is a pair"):
        task.search([pair], texts, 1)
    with pytest.raises(RunError, match="nothing to search"):
        task.search(texts, [], 1)


def test_perturbations_change_every_text(registry, task):
    import random

    found = registry.perturbations("similarity")
    assert set(found) == {"typos", "lowercase", "no-punctuation", "full-width"}
    (example,) = read(task, [{**SCORED[0], "sentence1": "A cat.", "sentence2": "THE 猫。"}])
    changed = {name: entry.apply(example, random.Random(0)) for name, entry in found.items()}
    assert changed["lowercase"].texts == ("a cat.", "the 猫。")
    assert changed["no-punctuation"].texts == ("A cat", "THE 猫")
    assert changed["full-width"].texts == ("Ａ ｃａｔ．", "ＴＨＥ 猫。")
    assert changed["typos"].texts != example.texts
    assert all(entry.score == 4.0 for entry in changed.values())
