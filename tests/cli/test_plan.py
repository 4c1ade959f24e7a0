"""``polyhead plan``: what it prints, the JSON for machines, and mistakes."""

from __future__ import annotations

import pytest


@pytest.fixture
def settings(tiny_bert, reviews, monkeypatch) -> list[str]:
    monkeypatch.setattr("polyhead.backbone.parallel.memory_machine.libraries_bytes", lambda on_gpu: 1_000_000)
    return [
        f"backbone={tiny_bert}",
        f"data.train={reviews / 'train.jsonl'}",
        "data.cache=false",
        "data.max_tokens=128",
        "training.batch_size=10",
    ]


def test_each_layout_is_planned_and_one_recommended(polyhead, settings):
    answer = polyhead("plan", "sentiment", *settings, "--gpus", 2, "--memory", "80GB", "--json")
    assert answer.code == 0, answer.err
    found = answer.json
    totals = {each["layout"]: each["ranks"][0]["optimizer"] for each in found["layouts"]}
    assert {"single", "zero0", "zero1", "zero2", "zero3", "pipe2+zero1", "zero3+offload"} <= totals.keys()
    assert totals["zero3"] < totals["zero0"]
    assert all(each["fits"] for each in found["layouts"])
    assert found["recommended"] == "zero0"
    assert found["deepspeed"]["zero_optimization"]["stage"] == 0
    parts = found["layouts"][0]["ranks"][0]
    assert parts["total"] == sum(value for name, value in parts.items() if name not in ("total", "tensors"))


def test_the_table_says_what_fits(polyhead, settings):
    answer = polyhead("plan", "sentiment", *settings, "--memory", "80GB", "--layouts", "zero2,pipe2+zero1")
    assert answer.code == 0, answer.err
    for words in ("zero2 (2)", "pipe2+zero1 (2)", "checkpointed", "fits", "recommended: layout=zero2", '"stage": 2'):
        assert words in answer.out
    assert "zero3" not in answer.out


def test_where_nothing_fits_it_says_what_to_change(polyhead, settings):
    answer = polyhead("plan", "sentiment", *settings, "--memory", "0.5MB", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["recommended"] is None
    assert "needs least" in answer.json["advice"][0]
    assert any("activation_checkpointing" in line for line in answer.json["advice"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--memory", "80 bananas"], "error: --memory: '80 bananas' is no size; write a number and MB, GB, TB"),
        (["--memory", "0GB"], "error: --memory: '0GB' is no size"),
        (
            ["--layouts", "pipe3", "--gpus", "2"],
            "error: layout pipe3 needs a multiple of 3 processes, not 2: add --gpus 3",
        ),
        (["--layouts", "zero7"], "error: layout 'zero7': ZeRO stage 7 does not exist"),
        (["--layouts", "tp2"], "error: layout tp2: plan knows no memory of tensor parallel layouts"),
    ],
)
def test_mistakes_are_one_line(polyhead, settings, arguments, message):
    answer = polyhead("plan", "sentiment", *settings, *arguments)
    assert answer.code == 2
    assert answer.err.splitlines()[-1].startswith(message)
    assert answer.out == ""
