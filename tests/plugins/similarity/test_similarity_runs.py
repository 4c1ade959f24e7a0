"""Similarity from end to end: every family, every loss, folders that `sentence-transformers` loads and wrote."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.cross_encoder import CrossEncoder
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

from polyhead.backbone.evaluation.evaluate import Request as EvaluationRequest
from polyhead.backbone.evaluation.evaluate import evaluate
from polyhead.backbone.inference.predict import Request, predict
from polyhead.backbone.model.loading import quiet_transformers
from polyhead.backbone.model.named import locate_minilm
from polyhead.backbone.training.finetune import finetune
from polyhead.configs.schema import RunConfig
from polyhead.registry import Registry, RunError

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"

Make = Callable[..., RunConfig]


def rows_of(sample: str, count: int) -> list[dict[str, Any]]:
    with gzip.open(SAMPLES / sample / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for _, line in zip(range(count), file, strict=False)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def as_kind(rows: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    if kind == "scores":
        return rows
    if kind == "labels":
        return [{**row, "score": None, "label": int(row["score"] > 2.5)} for row in rows]
    texts = [{"anchor": row["sentence1"], "positive": row["sentence2"]} for row in rows]
    if kind == "positives":
        return texts
    return [{**row, "negative": other["positive"]} for row, other in zip(texts, [*texts[1:], texts[0]], strict=True)]


@pytest.fixture
def make(tiny_backbones: dict[str, Path], tmp_path: Path) -> Make:
    """Return what makes the settings of a small run on English and Chinese rows, one of them with a long text."""

    def config_of(backbone: str = "bert", kind: str = "scores", **more: Any) -> RunConfig:
        rows = [*rows_of("stsb_en", 18), *rows_of("stsb_zh", 14)]
        rows[3] = {**rows[3], "sentence2": " ".join([rows[3]["sentence2"]] * 6)}
        train, validation = (write(tmp_path / f"{name}.jsonl", as_kind(rows, kind)) for name in ("train", "valid"))
        options = more.pop("options", {})
        steps, batch = more.pop("max_steps", 8), more.pop("batch_size", 16)
        training = {"max_steps": steps, "learning_rate": 2e-3, "batch_size": batch, "dropout": 0.0}
        return RunConfig.model_validate(
            {
                "task": "similarity",
                "backbone": str(tiny_backbones[backbone]),
                "output": str(tmp_path / more.pop("output", "run")),
                "data": {
                    "train": str(train),
                    "validation": str(validation),
                    "cache": False,
                    "max_length": 48,
                    **more,
                },
                "training": training,
                "options": options,
            }
        )

    return config_of


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "events.jsonl").read_text(encoding="utf-8").splitlines())
    return [line["loss"] for line in lines if line["event"] == "step"]


def predicted(folder: Path, rows: list[dict[str, Any]], registry: Registry, tmp_path: Path, **more: Any) -> list[Any]:
    source, target = write(tmp_path / "asked.jsonl", rows), tmp_path / "answers.jsonl"
    config = RunConfig.model_validate({"task": "similarity", "data": {"cache": False}})
    predict(Request(str(folder), config, (), str(source), str(target), **more), registry)
    return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]


RUNS = [
    *((backbone, "scores", {}) for backbone in ("bert", "llama", "gpt2", "t5", "bart", "marian")),
    ("llama", "scores", {"pooling": "last"}),
    ("bert", "scores", {"loss": "cosine", "pooling": "cls"}),
    ("bert", "labels", {"pooling": "max"}),
    ("t5", "positives", {"group": 8}),
    ("llama", "triplets", {"group": 8}),
    ("bert", "triplets", {"loss": "triplet"}),
    *((backbone, "scores", {"architecture": "cross-encoder"}) for backbone in ("bert", "gpt2", "bart")),
    ("bert", "labels", {"architecture": "cross-encoder", "loss": "squared-error"}),
    ("llama", "triplets", {"architecture": "cross-encoder"}),
]


@pytest.mark.parametrize(("backbone", "kind", "options"), RUNS)
def test_a_run_learns_is_scored_and_predicts(
    backbone: str, kind: str, options: dict[str, Any], make: Make, registry: Registry, tmp_path: Path
) -> None:
    config = make(backbone, kind, options=options)
    result = finetune(config, registry)
    found = losses(tmp_path / "run")
    assert min(found[-2:]) < max(found[:2])
    evaluation = evaluate(EvaluationRequest(str(result.folder), config, "validation"), registry)
    assert evaluation is not None
    assert evaluation.headline in evaluation.values
    asked = as_kind(rows_of("stsb_zh", 3), kind)
    keys = {"scores": "score", "labels": "label", "positives": "similarity", "triplets": "similarities"}
    assert [keys[kind] in row for row in predicted(result.folder, asked, registry, tmp_path)] == [True] * 3


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("scores", {"group": 4}),
        ("scores", {"group": 5}),  # the last group of a batch of 12 is smaller
        ("scores", {"loss": "cosine"}),
        ("triplets", {"group": 5}),
        ("triplets", {"loss": "triplet"}),
        ("positives", {"group": 5}),
        ("scores", {"architecture": "cross-encoder"}),
    ],
)
def test_how_a_batch_is_split_changes_no_loss(
    kind: str, options: dict[str, Any], make: Make, registry: Registry, tmp_path: Path
) -> None:
    found = []
    for name, most in (("large", 100_000), ("small", 48)):
        config = make("bert", kind, options=options, max_steps=4, batch_size=12, output=name, max_tokens=most)
        result = finetune(config, registry)
        evaluation = evaluate(EvaluationRequest(str(result.folder), config, "validation"), registry)
        assert evaluation is not None
        found.append([*losses(tmp_path / name), evaluation.values["loss"]])
    assert found[0] == pytest.approx(found[1], rel=2e-5)


@pytest.mark.parametrize(("backbone", "pooling"), [("bert", "mean"), ("bert", "cls"), ("llama", "last"), ("t5", "max")])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_run_leaves_a_folder_that_sentence_transformers_loads(
    backbone: str, pooling: str, normalize: bool, make: Make, registry: Registry, tmp_path: Path
) -> None:
    result = finetune(make(backbone, max_steps=2, options={"pooling": pooling, "normalize": normalize}), registry)
    texts = [row[name] for row in rows_of("stsb_zh", 8) for name in ("sentence1", "sentence2")]
    texts += [row["sentence1"] for row in rows_of("stsb_en", 8)]
    ours = predicted(result.folder, [{"text": text} for text in texts], registry, tmp_path)
    with quiet_transformers():
        theirs = SentenceTransformer(str(result.folder / "model"), device="cpu").encode(texts, show_progress_bar=False)
    scale = 1.0 if normalize else float(np.abs(theirs).max())
    assert np.abs(np.array([row["embedding"] for row in ours]) - theirs).max() < 1e-6 * scale


def test_a_cross_encoder_is_one_of_sentence_transformers_too(make: Make, registry: Registry, tmp_path: Path) -> None:
    result = finetune(make("bert", max_steps=2, max_length=128, options={"architecture": "cross-encoder"}), registry)
    rows = rows_of("stsb_zh", 8)
    ours = [row["similarity"] for row in predicted(result.folder, rows, registry, tmp_path)]
    with quiet_transformers():
        model = CrossEncoder(str(result.folder / "model"), device="cpu")
        theirs = model.predict([(row["sentence1"], row["sentence2"]) for row in rows], show_progress_bar=False)
    assert ours == pytest.approx(theirs.tolist(), abs=1e-6)


def test_minilm_as_it_is_equals_sentence_transformers(registry: Registry, tmp_path: Path) -> None:
    rows = rows_of("stsb_en", 250)
    config = RunConfig.model_validate({"task": "similarity", "data": {"cache": False}})
    source = write(tmp_path / "test.jsonl", rows)
    ours = evaluate(EvaluationRequest("minilm", config, files=(source,)), registry)
    assert ours is not None
    with quiet_transformers():
        model = SentenceTransformer(str(locate_minilm()), device="cpu")
    first, second, gold = ([row[name] for row in rows] for name in ("sentence1", "sentence2", "score"))
    evaluator = EmbeddingSimilarityEvaluator(first, second, gold, similarity_fn_names=["cosine"], write_csv=False)
    theirs = evaluator(model)
    assert ours.values["spearman"] == pytest.approx(theirs["spearman_cosine"], abs=1e-4)
    assert ours.values["pearson"] == pytest.approx(theirs["pearson_cosine"], abs=1e-4)
    texts = [*first[:40], *second[:40], "好奇的男生在棚子里寻找。"]
    embedded = predicted(Path("minilm"), [{"text": text} for text in texts], registry, tmp_path)
    difference = np.array([row["embedding"] for row in embedded]) - model.encode(texts, show_progress_bar=False)
    assert np.abs(difference).max() < 1e-6


def test_the_nearest_texts_of_a_corpus(registry: Registry, tmp_path: Path) -> None:
    corpus = write(
        tmp_path / "corpus.jsonl",
        [{"text": text} for text in ("A cat sleeps on the sofa.", "Shares fell sharply.", "A man plays the guitar.")],
    )
    asked = [{"text": "a musician", "id": "q1"}, {"text": "the stock market", "id": "q2"}]
    found = predicted(Path("minilm"), asked, registry, tmp_path, corpus=corpus, nearest=2)
    assert [(row["id"], row["nearest"][0]["text"], len(row["nearest"])) for row in found] == [
        ("q1", "A man plays the guitar.", 2),
        ("q2", "Shares fell sharply.", 2),
    ]
    with pytest.raises(RunError, match="is a pair"):
        predicted(Path("minilm"), rows_of("stsb_en", 1), registry, tmp_path, corpus=corpus)


def test_a_long_text_is_the_mean_of_all_its_tokens(make: Make, registry: Registry, tmp_path: Path) -> None:
    config = make("bert", max_steps=1, options={"normalize": False}, stride=0)
    result = finetune(config, registry)
    text = " ".join(row["sentence1"] for row in rows_of("stsb_en", 12))
    (answer,) = predicted(result.folder, [{"text": text}], registry, tmp_path)
    from transformers import AutoModel, AutoTokenizer

    with quiet_transformers():
        model = AutoModel.from_pretrained(result.folder / "model").eval()
        tokenizer = AutoTokenizer.from_pretrained(result.folder / "model")
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    assert len(ids) > 100
    with torch.no_grad():
        states = torch.cat(
            [
                model(input_ids=torch.tensor([[101, *ids[start : start + 46], 102]])).last_hidden_state[0]
                for start in range(0, len(ids), 46)
            ]
        )
    assert answer["embedding"] == pytest.approx(states.mean(0).tolist(), abs=1e-5)
