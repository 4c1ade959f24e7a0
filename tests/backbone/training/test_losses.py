"""Training gives, step by step, the losses of a loop that anyone would write by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional

from polyhead.backbone.training.finetune import finetune
from polyhead.configs.schema import RunConfig
from polyhead.registry import Registry

STEPS = 20


def config_of(tiny_bert: Path, train: Path, output: Path, **sections: Any) -> RunConfig:
    data = {"train": str(train), "validation_fraction": 0.0, "cache": False, "max_tokens": 128, "max_length": 64}
    training = {
        "batch_size": 10,
        "max_steps": STEPS,
        "learning_rate": 2e-3,
        "dropout": 0.0,
        "gradient_clipping": 0.3,
        "log_to": [],
    }
    return RunConfig.model_validate(
        {
            "task": "sentiment",
            "backbone": str(tiny_bert),
            "output": str(output),
            **sections,
            "data": data | sections.get("data", {}),
            "training": training | sections.get("training", {}),
        }
    )


@pytest.fixture
def compare(events: Callable[..., Any], plainly: Callable[..., Any], registry: Registry) -> Callable[..., None]:
    """Return what trains both ways and compares losses, gradient norms and the models' logits."""

    def both(config: RunConfig, rows: list[tuple[str, Any]], labels: list[str], loss_of: Any = None) -> None:
        plain = plainly(config, rows, labels, loss_of)
        finetune(config, registry)
        steps = events(config.output, "step")
        assert len(steps) == STEPS
        assert [step["loss"] for step in steps] == pytest.approx(plain.losses, abs=1e-5)
        assert max(plain.gradient_norms) > config.training.gradient_clipping  # clipping has something to do
        if config.layout != "single":  # without ZeRO DeepSpeed does not tell it
            norms = [step["gradient_norm"] for step in steps]
            assert norms == pytest.approx(plain.gradient_norms, rel=1e-3)
        ours = transformers.AutoModelForSequenceClassification.from_pretrained(config.output / "model").eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(config.output / "model")
        inputs = tokenizer([text for text, _ in rows[:9]], truncation=True, padding=True, return_tensors="pt")
        with torch.no_grad():
            assert torch.allclose(ours(**inputs).logits, plain.model(**inputs).logits, atol=1e-4)

    return both


@pytest.mark.parametrize("layout", ["single", "zero1", "zero3"])
def test_several_micro_batches_and_odd_remainders(
    layout: str, tiny_bert: Path, reviews: Path, tmp_path: Path, compare: Any, labelled: Any
) -> None:
    train = reviews / "train.jsonl"  # 71 rows by 10: the last batch of an epoch has 1
    config = config_of(tiny_bert, train, tmp_path / "run", layout=layout)
    compare(config, labelled(train), ["negative", "positive"])


def test_how_a_batch_is_split_changes_nothing(
    tiny_bert: Path, reviews: Path, tmp_path: Path, compare: Any, labelled: Any
) -> None:
    train = reviews / "train.jsonl"
    config = config_of(tiny_bert, train, tmp_path / "run", data={"max_tokens": 4096})
    compare(config, labelled(train), ["negative", "positive"])


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_schedules(
    schedule: str, tiny_bert: Path, chinese_reviews: Path, tmp_path: Path, compare: Any, labelled: Any
) -> None:
    training = {"schedule": schedule, "warmup": 0, "batch_size": 4, "weight_decay": 0.1}
    config = config_of(tiny_bert, chinese_reviews, tmp_path / "运行", training=training)
    compare(config, labelled(chinese_reviews), sorted({"正面", "负面"}))


def test_windows_of_long_texts(tiny_bert: Path, reviews: Path, tmp_path: Path, compare: Any, labelled: Any) -> None:
    train = reviews / "train.jsonl"
    config = config_of(tiny_bert, train, tmp_path / "run", data={"max_length": 16, "stride": 3})
    compare(config, labelled(train), ["negative", "positive"])


def test_class_weights(
    tiny_bert: Path, reviews: Path, tmp_path: Path, compare: Any, labelled: Any, written: Any
) -> None:
    rows = [(text, label) for text, label in labelled(reviews / "train.jsonl")]
    rows = [row for number, row in enumerate(rows) if row[1] == "positive" or number % 4 == 0]
    counts = Counter(label for _, label in rows)
    weights = torch.tensor([len(rows) / (2 * counts[label]) for label in ("negative", "positive")])
    assert weights.max() > 1.2
    config = config_of(
        tiny_bert,
        written(tmp_path / "train.jsonl", rows),
        tmp_path / "run",
        task="classification",
        options={"class_weights": "balanced"},
    )
    compare(config, rows, ["negative", "positive"], partial(functional.cross_entropy, weight=weights))


def test_several_labels_a_text(
    tiny_bert: Path, reviews: Path, tmp_path: Path, compare: Any, labelled: Any, written: Any
) -> None:
    labels = ["long", "positive", "with comma"]
    rows = [
        (text, [float(len(text) > 110), float(label == "positive"), float("," in text)])
        for text, label in labelled(reviews / "train.jsonl")
    ]
    named = [(text, [label for label, has in zip(labels, bears, strict=True) if has]) for text, bears in rows]
    assert any(not bears for _, bears in named)
    config = config_of(
        tiny_bert,
        written(tmp_path / "train.jsonl", named),
        tmp_path / "run",
        task="classification",
        options={"multi_label": True, "class_weights": {"long": 3.0}},
    )
    weights = torch.tensor([3.0, 1.0, 1.0])
    compare(config, rows, labels, partial(functional.binary_cross_entropy_with_logits, pos_weight=weights))
