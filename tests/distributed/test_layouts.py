"""Every layout on two processes: the losses, scores and models of one plain process; checkpoints go from any to any."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import transformers

from polyhead.backbone.data.batching import plan_epoch, split_batch
from polyhead.backbone.training.finetune import finetune
from polyhead.cli import app
from polyhead.configs.load import load_config
from polyhead.registry import Registry

pytestmark = pytest.mark.slow

LAYOUTS = ("zero0", "zero1", "zero2", "zero3", "pipe2+zero1")
RESUMED = (("zero2", "zero3"), ("zero3", "pipe2+zero1"), ("pipe2+zero1", "zero3"), ("pipe2+zero1", "zero2"))
STEPS, HALF = 20, 10
LONG = 90
"""Steps of the run that loses a process."""
KILLED_AT = 25


@dataclass(frozen=True)
class Runs:
    """Finished runs on two processes."""

    folder: Path

    def of(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
    settings: list[str],
    run_ranks: Callable[[Path, list[list[str]]], None],
) -> Runs:
    """Train under every layout, and go on from half-way under another one: one start-up for all."""
    folder = tmp_path_factory.mktemp("runs")
    common = [*settings, "training.dropout=0", f"training.max_steps={STEPS}", f"training.checkpoint_every={HALF}"]
    common += [f"training.evaluate_every={STEPS}"]
    commands = [
        ["finetune", "sentiment", *common, f"layout={layout}", f"output={folder / layout}"] for layout in LAYOUTS
    ]
    for old, new in RESUMED:
        target = folder / f"{old} to {new}"
        commands.append(["copy", str(folder / old), str(target), f"step-{HALF:08d}"])
        commands.append(["finetune", "sentiment", *common, f"layout={new}", f"output={target}", "--resume"])
    commands.append(["finetune", "sentiment", *long_run(settings), f"output={folder / 'undisturbed'}"])
    run_ranks(folder, commands)
    return Runs(folder)


def long_run(settings: list[str]) -> list[str]:
    """Return the settings of the run that loses a process; dropout is on."""
    return [*settings, "layout=zero2", f"training.max_steps={LONG}", "training.checkpoint_every=10"]


@pytest.fixture(scope="module")
def plain(tiny_bert: Path, reviews: Path, settings: list[str], plainly: Any, labelled: Any) -> Any:
    """Return the same training by hand in one process."""
    config = load_config("sentiment", [*settings, f"training.max_steps={STEPS}"])
    return plainly(config, labelled(reviews / "train.jsonl"), ["negative", "positive"])


# ── the same losses, scores and models ──────────────────────────────────────────────────────────────────


def test_the_batches_are_awkward(tiny_bert: Path, reviews: Path, settings: list[str], labelled: Any) -> None:
    """Several micro-batches, an uneven number of texts, and ranks that have nothing left: all occur."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_bert)
    texts = [text for text, _ in labelled(reviews / "train.jsonl")]
    lengths = torch.tensor([min(64, len(ids)) for ids in tokenizer(texts)["input_ids"]]).numpy()
    batches = [group for epoch in range(3) for group in plan_epoch(lengths, 10, seed=42, epoch=epoch)][:STEPS]
    split = [split_batch(group, lengths, ranks=2, max_tokens=128) for group in batches]
    assert any(len(group) % 2 for group in batches)
    assert max(len(ranks[0]) for ranks in split) >= 2
    assert any(() in places for ranks in split for places in ranks)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_losses_are_those_of_one_plain_process(layout: str, runs: Runs, plain: Any, events: Any) -> None:
    assert max(plain.gradient_norms) > 0.3  # clipping has something to do
    steps = events(runs.of(layout), "step")
    assert [step["step"] for step in steps] == list(range(1, STEPS + 1))
    assert [step["loss"] for step in steps] == pytest.approx(plain.losses, abs=1e-5)
    if layout != "zero0":  # without ZeRO DeepSpeed does not tell the norm
        assert [step["gradient_norm"] for step in steps] == pytest.approx(plain.gradient_norms, rel=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_scores_are_those_of_the_plain_model(
    layout: str, runs: Runs, plain: Any, events: Any, reviews: Path, tiny_bert: Path, labelled: Any
) -> None:
    rows = labelled(reviews / "validation.jsonl")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_bert)
    found = torch.tensor([["negative", "positive"].index(label) for _, label in rows])
    with torch.no_grad():
        logits = plain.model(**tokenizer([text for text, _ in rows], padding=True, return_tensors="pt")).logits
    (evaluation,) = events(runs.of(layout), "evaluation")
    assert (evaluation["step"], evaluation["examples"]) == (STEPS, 21)
    assert evaluation["values"]["accuracy"] == pytest.approx(float((logits.argmax(-1) == found).float().mean()))
    assert evaluation["values"]["loss"] == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, found)), abs=1e-5
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_model_loads_in_plain_transformers(
    layout: str, runs: Runs, plain: Any, reviews: Path, labelled: Any
) -> None:
    folder = runs.of(layout) / "model"
    model, report = transformers.AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.num_hidden_layers == 4
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = [text for text, _ in labelled(reviews / "validation.jsonl")]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(model.eval()(**inputs).logits, plain.model(**inputs).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("old", "new"), RESUMED)
def test_a_run_goes_on_under_another_layout(old: str, new: str, runs: Runs, plain: Any, events: Any) -> None:
    folder = runs.of(f"{old} to {new}")
    assert events(folder, "start")[-1]["first_step"] == HALF
    losses = [step["loss"] for step in events(folder, "step")][STEPS:]
    assert losses == pytest.approx(plain.losses[HALF:], abs=1e-5)


@pytest.mark.parametrize("old", ["zero2", "zero3", "pipe2+zero1"])
def test_a_run_on_two_processes_goes_on_in_one(
    old: str, runs: Runs, plain: Any, events: Any, registry: Registry, tmp_path: Path, settings: list[str]
) -> None:
    from shutil import copytree, rmtree

    folder = copytree(runs.of(old), tmp_path / "run")
    rmtree(folder / "checkpoints" / f"step-{STEPS:08d}")
    config = load_config(
        "sentiment", [*settings, "training.dropout=0", f"training.max_steps={STEPS}", f"output={folder}"]
    )
    assert config.layout == "single"
    finetune(config, registry, resume=True)
    losses = [step["loss"] for step in events(folder, "step")][STEPS:]
    assert losses == pytest.approx(plain.losses[HALF:], abs=1e-5)


# ── a process is lost ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def started(settings: list[str], tmp_path: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Start the long run on two processes; nothing of it is left afterwards."""
    command = [sys.executable, "-m", "polyhead.cli", "finetune", "sentiment", *long_run(settings)]
    command += [f"output={tmp_path / 'run'}", "--processes", "2"]
    with (tmp_path / "said.txt").open("w", encoding="utf-8") as said:
        parent = subprocess.Popen(command, env=environment, stdout=said, stderr=said, text=True)
    yield parent
    for process in [*children_of(parent), parent]:
        process.kill()
    parent.wait()


def children_of(parent: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(parent.pid).children()
    except psutil.NoSuchProcess:
        return []


def wait_for_step(run: Path, step: int, parent: subprocess.Popen[str], events: Any) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert parent.poll() is None, (run.parent / "said.txt").read_text(encoding="utf-8")
        if (run / "events.jsonl").is_file() and len(events(run, "step")) >= step:
            return
        time.sleep(0.05)
    pytest.fail(f"step {step} did not come")


@pytest.mark.parametrize("lost", [1])
def test_a_rank_that_is_killed_is_named_and_the_run_goes_on(
    lost: int, started: Any, runs: Runs, tmp_path: Path, settings: list[str], events: Any, polyhead: Any
) -> None:
    run = tmp_path / "run"
    wait_for_step(run, KILLED_AT, started, events)
    ranks = {int(child.environ()["RANK"]): child for child in children_of(started)}
    assert sorted(ranks) == [0, 1]
    ranks[lost].kill()
    killed = time.monotonic()
    code = started.wait(timeout=60)
    psutil.wait_procs(list(ranks.values()), timeout=1)
    assert time.monotonic() - killed < 60
    assert not any(process.is_running() for process in ranks.values())

    said = (tmp_path / "said.txt").read_text(encoding="utf-8")
    assert code == 128 + 9, said
    assert f"rank {lost} (process {ranks[lost].pid}) was ended by SIGKILL" in said
    assert f"error: rank {1 - lost}: lost rank {lost} (process {ranks[lost].pid} on " in said
    assert "--resume --processes 2" in said
    assert "Traceback" not in said
    (end,) = events(run, "end")
    assert end["status"] == "failed"
    reached = len(events(run, "step"))
    assert reached < LONG

    polyhead("finetune", "sentiment", *long_run(settings), f"output={run}", "--processes", "2", "--resume")
    first = events(run, "start")[-1]["first_step"]
    assert 0 < first <= reached
    assert first % 10 == 0
    undisturbed = events(runs.of("undisturbed"), "step")
    again = events(run, "step")[reached:]
    assert [step["step"] for step in again] == list(range(first + 1, LONG + 1))
    assert again[-1]["loss"] == pytest.approx(undisturbed[-1]["loss"], abs=1e-4)
    assert all(math.isfinite(step["loss"]) for step in again)


# ── evaluation and prediction on two processes ──────────────────────────────────────────────────────────


def in_this_process(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what a command prints in one process."""
    monkeypatch.setattr(sys, "argv", ["polyhead", *arguments])
    capsys.readouterr()
    assert app.run(app._start) == 0
    return capsys.readouterr().out


def test_evaluating_on_two_processes_prints_the_same(
    runs: Runs,
    reviews: Path,
    polyhead: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["evaluate", str(runs.of("zero2")), "--data", str(reviews / "validation.jsonl"), "--json"]
    one, two = in_this_process(arguments, monkeypatch, capsys), polyhead(*arguments, "--processes", "2").stdout
    first, second = json.loads(one), json.loads(two)
    assert first["examples"] == 21  # odd: one process has a text more
    assert first["metrics"].pop("loss") == pytest.approx(second["metrics"].pop("loss"), abs=1e-6)
    assert first == second


def test_predicting_on_two_processes_prints_the_same(
    runs: Runs,
    chinese_reviews: Path,
    reviews: Path,
    tmp_path: Path,
    polyhead: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_bytes((reviews / "validation.jsonl").read_bytes() + chinese_reviews.read_bytes())
    arguments = ["predict", str(runs.of("pipe2+zero1")), "--input", str(mixed)]
    one, two = in_this_process(arguments, monkeypatch, capsys), polyhead(*arguments, "--processes", "2").stdout
    first, second = ([json.loads(line) for line in text.splitlines()] for text in (one, two))
    assert len(first) == 31
    assert [(row["id"], row["label"]) for row in first] == [(row["id"], row["label"]) for row in second]
    assert [row["scores"] for row in first] == [pytest.approx(row["scores"], abs=1e-6) for row in second]
