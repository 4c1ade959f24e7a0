"""``polyhead tokenizer`` and ``polyhead pretrain``: from plain texts to a backbone of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TEXTS = [f"a film about the year {number}, and 电影 {number % 7} 很好看" for number in range(50)]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in TEXTS), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def tokenizer(texts: Path, polyhead: Any) -> Path:
    folder = texts.parent / "tokenizer"
    answer = polyhead("tokenizer", "train", texts, "--output", folder, "--type", "wordpiece", "--size", "200", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert answer.json["type"] == "wordpiece"
    assert answer.json["folder"] == str(folder)
    assert answer.json["tokens"] <= 200
    return folder


def test_a_tokenizer_shows_its_tokens_and_its_coverage(polyhead, tokenizer, texts):
    answer = polyhead("tokenizer", "show", tokenizer, "--text", "film 电影", "--text", "龘", "--file", texts, "--json")
    assert answer.json["texts"] == {
        "film 电影": ["[CLS]", "film", "电", "影", "[SEP]"],
        "龘": ["[CLS]", "[UNK]", "[SEP]"],
    }
    (coverage,) = answer.json["coverage"].values()
    assert (coverage["texts"], coverage["unknown_share"]) == (50, 0.0)
    for_people = polyhead("tokenizer", "show", "minilm", "--text", "film 电影", "--file", texts)
    assert "30,522 tokens; special: [UNK], [SEP], [PAD], [CLS], [MASK]" in for_people.out
    assert "[CLS] film [UNK] [UNK] [SEP]" in for_people.out
    assert "tokens a character" in for_people.out


def test_from_texts_to_a_backbone_of_ones_own(polyhead, tokenizer, texts, reviews, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = "hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 64"
    pretrain = [
        *("pretrain", "pretrain-further", f"data.train={texts}", f"backbone.tokenizer={tokenizer}"),
        *(f"backbone.architecture={{model_type: bert, {sizes}}}", "training.max_steps=2", "data.max_length=32"),
        *("data.validation_fraction=0.2", "output=base", "training.log_to=[]"),
    ]
    answer = polyhead(*pretrain)
    assert answer.code == 0, answer.err
    assert "next: polyhead finetune TASK backbone=" in answer.err
    assert "tokens/s" in answer.err
    again = polyhead(*pretrain, "--resume", "--json")
    assert (again.code, again.json["status"], again.json["steps"]) == (0, "completed", 2)
    settings = (tmp_path / "base" / "config.yaml").read_text(encoding="utf-8")
    assert f"tokenizer: {tokenizer}" in settings
    answer = polyhead(
        *("finetune", "sentiment", f"data.train={reviews / 'train.jsonl'}", "backbone=base", "output=sentiment"),
        *("training.max_steps=1", "--json"),
    )
    assert answer.code == 0, answer.err
    assert polyhead("predict", "sentiment", "--text", "很好看 film").json["label"] in ("positive", "negative")


def test_another_task_is_told_which_command_it_needs(polyhead, reviews, tmp_path):
    answer = polyhead("pretrain", "sentiment", f"data.train={reviews / 'train.jsonl'}", f"output={tmp_path / 'run'}")
    assert answer.code == 2
    assert answer.err.startswith("error: task 'sentiment' is no objective of pretraining (causal-lm, ")
    assert answer.err.endswith("train on it with: polyhead finetune sentiment\n")


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["pretrain", "masked-lm"], "data.train is missing: nothing to train on"),
        (
            ["pretrain", "masked-lm", "data.train=TEXTS", "backbone.architecture={model_type: brt}"],
            "knows no architecture 'brt'. Did you mean 'bert'?",
        ),
        (
            ["pretrain", "masked-lm", "data.train=TEXTS", "backbone.tokenizer=nowhere"],
            "backbone.tokenizer: FOLDER/nowhere holds no tokenizer.json",
        ),
        (
            ["finetune", "sentiment", "data.train=TEXTS", "data.stream=true"],
            "data.stream: task 'sentiment' needs all its examples at once",
        ),
        (
            ["tokenizer", "train", "TEXTS", "--output", "x", "--type", "bpe", "--size", "100"],
            "--size: 100 tokens are too few for bpe: at least 260",
        ),
        (
            ["tokenizer", "train", "TEXTS", "--output", "x", "--type", "wordpiece", "--size", "100", "--fields", "txt"],
            "has none of the fields txt. Did you mean 'text'?",
        ),
        (
            ["tokenizer", "train", "nowhere.txt", "--output", "x", "--type", "wordpiece", "--size", "100"],
            "nowhere.txt: there is no such file.",
        ),
        (["tokenizer", "show", "FOLDER"], "FOLDER holds no tokenizer_config.json"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(polyhead, texts, tmp_path, monkeypatch, command, problem):
    monkeypatch.chdir(tmp_path)
    places = {"TEXTS": str(texts), "FOLDER": str(tmp_path)}

    def placed(word: str) -> str:
        for name, place in places.items():
            word = word.replace(name, place)
        return word

    answer = polyhead(*map(placed, command))
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1), answer.err
    assert placed(problem) in answer.err
    assert list(tmp_path.iterdir()) == []
