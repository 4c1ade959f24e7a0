"""Whole runs on tiny models: the causal mask, paragraphs and Chinese, other people's models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from polyhead.backbone.evaluation.evaluate import Request as EvaluationRequest
from polyhead.backbone.evaluation.evaluate import evaluate
from polyhead.backbone.inference.predict import Request, predict
from polyhead.backbone.model.loading import quiet_transformers
from polyhead.backbone.training.finetune import finetune
from polyhead.configs.schema import RunConfig
from polyhead.registry import Registry

COLOURS = ("red", "blue", "green", "black")
MASKED_ROWS = [
    {
        "question": "which?",
        "context": f"{first} {second} : {word}",
        "answers": {"text": [text], "answer_start": [start]},
    }
    for first in COLOURS
    for second in COLOURS
    if first != second
    for word, text, start in (("first", first, 0), ("second", second, len(first) + 1))
]
"""Only the last word tells which of the first two is the answer: under a causal mask they cannot know."""
CHINESE_ROWS = [
    {"question": "谁？", "contexts": ["天晴。", "张三😀来了。"], "answers": ["张三"]},
    {"question": "谁？", "contexts": ["李四\r\n来了。", "下雨。"], "answers": ["李四"]},
    {"question": "何时？", "contexts": ["天晴。", "下雨。"], "answers": []},
    {"question": "何时？", "contexts": ["三点。", "下雨。"], "answers": ["三点"]},
]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def config_of(backbone: Path, file: Path, output: Path, steps: int, head: str = "default", **options: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "task": "qa",
            "backbone": str(backbone),
            "head": head,
            "output": str(output),
            "data": {"train": str(file), "validation": str(file), "cache": False, "max_length": 32, "stride": 8},
            "training": {"max_steps": steps, "learning_rate": 5e-3, "batch_size": 24, "dropout": 0.0},
            "options": options,
        }
    )


def predicted(folder: Path, config: RunConfig, file: Path, registry: Registry) -> list[dict[str, Any]]:
    target = file.with_suffix(".predictions")
    predict(Request(str(folder), config, (), str(file), str(target)), registry)
    return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["llama", "gpt2"])
def test_without_the_causal_mask_a_start_is_scored_with_all_in_view(
    backbone: str, tiny_backbones: dict[str, Path], registry: Registry, tmp_path: Path
) -> None:
    file = written(tmp_path / "rows.jsonl", MASKED_ROWS)
    exact = {}
    for causal in (True, False):
        config = config_of(tiny_backbones[backbone], file, tmp_path / f"run-{causal}", 60, causal=causal)
        finetune(config, registry)
        scores = evaluate(EvaluationRequest(str(config.output), config, "validation"), registry)
        assert scores is not None
        exact[causal] = scores.values["exact"]
    assert exact[True] <= 60
    assert exact[False] >= 90


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["bert", "marian"])
def test_paragraphs_in_chinese(
    backbone: str, tiny_backbones: dict[str, Path], registry: Registry, tmp_path: Path
) -> None:
    file = written(tmp_path / "rows.jsonl", CHINESE_ROWS)
    config = config_of(tiny_backbones[backbone], file, tmp_path / "run", 40)
    finetune(config, registry)
    found = predicted(tmp_path / "run", config, file, registry)
    assert [row["answer"] for row in found] == ["张三", "李四", "", "三点"]
    assert [row["paragraph"] for row in found] == [1, 0, None, 0]
    for row, given in zip(found, CHINESE_ROWS, strict=True):
        for span in row["n_best"]:
            assert given["contexts"][span["paragraph"]][span["start"] : span["end"]] == span["text"]
    scores = evaluate(EvaluationRequest(str(tmp_path / "run"), config, "validation"), registry)
    assert scores is not None
    assert scores.values["exact"] == scores.values["f1"] == 100.0
    assert scores.signature.startswith("cmrc2018|language:zh|")


@pytest.mark.slow
@pytest.mark.parametrize("head", ["span", "default"])
def test_an_encoder_decoders_states_are_read_either_way(
    head: str, tiny_backbones: dict[str, Path], registry: Registry, tmp_path: Path
) -> None:
    file = written(tmp_path / "rows.jsonl", MASKED_ROWS)
    config = config_of(tiny_backbones["t5"], file, tmp_path / "run", 60, head=head)
    result = finetune(config, registry)
    assert result.evaluation is not None
    assert result.evaluation.values["exact"] > 55  # one of two words, and half of them is what guessing gives
    assert bool(list((tmp_path / "run").rglob("polyhead_head.safetensors"))) == (head == "span")
    assert len(predicted(tmp_path / "run", config, file, registry)) == len(MASKED_ROWS)


def test_a_model_that_others_trained_answers_by_its_own_logits(
    tiny_bert: Path, registry: Registry, tmp_path: Path
) -> None:
    with quiet_transformers(), torch.random.fork_rng():
        torch.manual_seed(11)
        config = transformers.AutoConfig.from_pretrained(tiny_bert)
        model = transformers.AutoModelForQuestionAnswering.from_config(config).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_bert)
    model.save_pretrained(tmp_path / "shelf")
    tokenizer.save_pretrained(tmp_path / "shelf")
    question, context = "Who?", "Li Bai, 李白, met Du Fu in Luoyang."
    file = written(tmp_path / "rows.jsonl", [{"question": question, "context": context}])
    run = RunConfig.model_validate({"task": "qa", "options": {"no_answer": False}})
    (found,) = predicted(tmp_path / "shelf", run, file, registry)

    pair = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
    spans = pair.pop("offset_mapping")[0].tolist()
    with torch.inference_mode():
        outputs = model(**pair)
    start_T, end_T = outputs.start_logits[0].double(), outputs.end_logits[0].double()
    places = [place for place, side in enumerate(pair.sequence_ids(0)) if side == 1]
    first, last = max(
        ((i, j) for i in places for j in places if i <= j), key=lambda span: float(start_T[span[0]] + end_T[span[1]])
    )
    assert (found["start"], found["end"]) == (spans[first][0], spans[last][1])
    assert found["answer"] == context[found["start"] : found["end"]]
    score = float(start_T[0] + end_T[0] - start_T[first] - end_T[last])
    assert found["no_answer_score"] == pytest.approx(score, abs=1e-4)
