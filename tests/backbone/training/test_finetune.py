"""A run from start to end in one process: what it keeps, when it stops, how it goes on."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from polyhead.backbone.checkpoint.store import list_checkpoints
from polyhead.backbone.evaluation.scoring import Evaluation
from polyhead.backbone.inference.predict import Request, predict
from polyhead.backbone.parallel.engine import DataParallelEngine, StepOutcome
from polyhead.backbone.training.finetune import RunResult, finetune
from polyhead.backbone.training.loop import Interrupted, TrainingLoop
from polyhead.configs.load import load_config
from polyhead.configs.schema import RunConfig
from polyhead.registry import Registry, RunError, StepEnd, hookimpl

Make = Callable[..., RunConfig]
Events = Callable[[Path, str], list[dict[str, Any]]]


@pytest.fixture
def make(tiny_bert: Path, reviews: Path, tmp_path: Path) -> Make:
    """Return what makes the settings of a small run; keywords are dotted keys with ``__`` for the dot."""

    def config_of(**keys: Any) -> RunConfig:
        values: dict[str, Any] = {
            "task": "sentiment",
            "backbone": str(tiny_bert),
            "output": str(tmp_path / "run"),
            "data": {
                "train": str(reviews / "train.jsonl"),
                "validation": str(reviews / "validation.jsonl"),
                "cache": False,
                "max_length": 48,
            },
            "training": {"batch_size": 16, "max_steps": 6, "learning_rate": 1e-3},
        }
        for key, value in keys.items():
            *sections, name = key.split("__")
            (values.setdefault(sections[0], {}) if sections else values)[name] = value
        return RunConfig.model_validate(values)

    return config_of


def scripted(values: list[dict[str, float]]) -> Callable[[TrainingLoop], Evaluation]:
    """Return an evaluation that gives these values, one after the other."""
    coming = iter(values)

    def evaluate(_: TrainingLoop) -> Evaluation:
        return Evaluation("sentiment", "validation", 21, next(coming), "scripted", (), "accuracy", "majority class", {})

    return evaluate


def same_tensors(left: Path, right: Path) -> bool:
    first, second = load_file(left), load_file(right)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def weights_at(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:08d}" / "weights-00001-of-00001.safetensors"


class StopAt:
    """Send this process a signal after a step."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    @hookimpl
    def polyhead_end_step(self, step: StepEnd) -> None:
        if step.step == self.step:
            os.kill(os.getpid(), self.number)


# ── what a run leaves ───────────────────────────────────────────────────────────────────────────────────


def test_a_run_leaves_its_folder(make: Make, registry: Registry, events: Events) -> None:
    config = make(training__log_to=["csv", "tensorboard"], training__log_every=2, training__max_steps=7)
    result = finetune(config, registry)
    run = config.output
    assert (result.status, result.steps, result.folder, result.speaks) == ("completed", 7, run, True)
    found = {path.name for path in run.iterdir()}
    files = {"config.yaml", "events.jsonl", "metrics.json", "provenance.json", "report.md"}
    assert found == files | {"checkpoints", "logs", "model"}
    assert load_config(str(run / "config.yaml")) == config

    (start,) = events(run, "start")
    assert (start["task"], start["total_steps"], start["first_step"], start["world_size"]) == ("sentiment", 7, 0, 1)
    steps = events(run, "step")
    assert [step["step"] for step in steps] == [2, 4, 6, 7]  # every second one, and the last
    assert result.last_loss == steps[-1]["loss"]
    assert all(step["tokens"] > 0 and step["seconds"] > 0 for step in steps)
    evaluations = events(run, "evaluation")
    assert [evaluation["step"] for evaluation in evaluations] == [5, 7]  # 71 rows by 16: an epoch has 5 steps
    (end,) = events(run, "end")
    assert (end["status"], end["step"], end["message"]) == ("completed", 7, "")

    kept = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["validation"]
    best = [evaluation for evaluation in evaluations if evaluation["best"]][-1]
    assert (kept["step"], kept["metrics"], kept["examples"]) == (best["step"], best["values"], 21)
    assert "## validation: 21 examples" in (run / "report.md").read_text(encoding="utf-8")

    with (run / "logs" / "csv" / "train_loss.csv").open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    assert [(int(step), float(loss)) for step, loss in rows] == [
        (step["step"], pytest.approx(step["loss"])) for step in steps
    ]
    with (run / "logs" / "csv" / "validation_accuracy.csv").open(encoding="utf-8", newline="") as file:
        assert [int(row[0]) for row in list(csv.reader(file))[1:]] == [5, 7]


def test_tensorboard_gets_the_curves(make: Make, registry: Registry, events: Events) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = make(training__log_to="tensorboard", training__max_steps=3)
    finetune(config, registry)
    board = accumulators.EventAccumulator(str(config.output / "logs" / "tensorboard")).Reload()
    assert {"train/loss", "train/learning_rate", "validation/accuracy", "validation/loss"} <= set(
        board.Tags()["scalars"]
    )
    losses = [(point.step, point.value) for point in board.Scalars("train/loss")]
    assert losses == [(step["step"], pytest.approx(step["loss"])) for step in events(config.output, "step")]


def test_logs_may_be_off(make: Make, registry: Registry) -> None:
    config = make(training__log_to=[], training__max_steps=1)
    finetune(config, registry)
    assert not (config.output / "logs").exists()


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_the_model_answers_the_same_in_plain_transformers(
    language: str, make: Make, registry: Registry, chinese_reviews: Path, reviews: Path, tmp_path: Path, labelled: Any
) -> None:
    data, changes = reviews / "validation.jsonl", {}
    if language == "chinese":
        data, changes = chinese_reviews, {"data__train": str(chinese_reviews), "data__validation": str(chinese_reviews)}
    config = make(**changes, data__max_length=128)
    finetune(config, registry)
    predict(Request(str(config.output), config, source=str(data), target=str(tmp_path / "out.jsonl")), registry)
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    texts = [text for text, _ in labelled(data)]
    pipe = transformers.pipeline("text-classification", str(config.output / "model"), top_k=None, device="cpu")
    expected = [{answer["label"]: answer["score"] for answer in found} for found in pipe(texts)]
    assert len({round(answer["score"], 4) for answer in answers}) > 1
    assert [answer["scores"] for answer in answers] == [pytest.approx(scores, abs=1e-5) for scores in expected]
    assert [answer["label"] for answer in answers] == [max(scores, key=scores.__getitem__) for scores in expected]


def test_a_run_with_the_pooled_head(
    make: Make, registry: Registry, reviews: Path, tmp_path: Path, labelled: Any
) -> None:
    config = make(head="pooled", data__max_length=128)
    finetune(config, registry)
    data = reviews / "validation.jsonl"
    predict(Request(str(config.output), config, source=str(data), target=str(tmp_path / "out.jsonl")), registry)
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]

    trunk = transformers.AutoModel.from_pretrained(config.output / "model", add_pooling_layer=False).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(config.output / "model")
    head = load_file(config.output / "model" / "polyhead_head.safetensors")
    for (text, _), answer in zip(labelled(data), answers, strict=True):
        with torch.no_grad():
            hidden = trunk(**tokenizer(text, return_tensors="pt")).last_hidden_state
        logits = torch.nn.functional.linear(hidden.mean(1), head["linear.weight"], head["linear.bias"])
        expected = dict(zip(("negative", "positive"), logits[0].softmax(0).tolist(), strict=True))
        assert answer["scores"] == pytest.approx(expected, abs=1e-5)


def test_no_validation_data_keeps_the_last_model(make: Make, registry: Registry) -> None:
    config = make(data__validation=[], data__validation_fraction=0.0)
    result = finetune(config, registry)
    assert result.evaluation is None
    assert same_tensors(config.output / "model" / "model.safetensors", weights_at(config.output, 6))


# ── evaluation, best model, patience ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        (None, [0.3, 0.9, 0.5], 4),
        (None, [0.3, 0.3, 0.3], 2),  # only what is better counts
        ("loss", [0.3, 0.9, 0.2], 6),
        ("loss", [0.3, 0.9, 0.5], 2),  # lower is better
    ],
)
def test_the_best_model_is_kept(
    metric: str | None,
    values: list[float],
    best: int,
    make: Make,
    registry: Registry,
    events: Events,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = [{"accuracy": value, "loss": value} for value in values]
    monkeypatch.setattr(TrainingLoop, "evaluate", scripted(told))
    keys = {} if metric is None else {"training__metric": metric}
    monkeypatch.setattr("polyhead.backbone.training.preparation._refuse_unknown_metric", lambda *_: None, raising=False)
    config = make(training__evaluate_every=2, training__keep_checkpoints=5, **keys)
    result = finetune(config, registry)
    run = config.output
    assert [path.name for path in list_checkpoints(run / "checkpoints")] == [f"step-{n:08d}" for n in (2, 4, 6)]
    assert same_tensors(run / "model" / "model.safetensors", weights_at(run, best))
    assert not same_tensors(weights_at(run, 2), weights_at(run, 4))
    assert [e["step"] for e in events(run, "evaluation") if e["best"]][-1] == best
    assert json.loads((run / "metrics.json").read_text(encoding="utf-8"))["validation"]["step"] == best
    assert result.evaluation is not None
    assert result.evaluation.values == told[best // 2 - 1]


def test_patience_ends_a_run(make: Make, registry: Registry, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [0.5, 0.7, 0.6, 0.7, 0.9]
    monkeypatch.setattr(TrainingLoop, "evaluate", scripted([{"accuracy": value} for value in values]))
    config = make(
        training__evaluate_every=1, training__patience=2, training__max_steps=50, training__keep_checkpoints=9
    )
    result = finetune(config, registry)
    assert (result.status, result.steps) == ("stopped-early", 4)  # best at 2; 3 and 4 did not beat it
    assert same_tensors(config.output / "model" / "model.safetensors", weights_at(config.output, 2))
    assert events(config.output, "end")[0]["status"] == "stopped-early"


def test_patience_outlives_a_resume(make: Make, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations without improvement before and after the interruption count together."""
    monkeypatch.setattr(TrainingLoop, "evaluate", scripted([{"accuracy": value} for value in (0.7, 0.6, 0.5, 0.4)]))
    config = make(training__evaluate_every=1, training__patience=2, training__max_steps=50)
    with registry.observing(StopAt(2, signal.SIGTERM), "stop"), pytest.raises(Interrupted):
        finetune(config, registry)
    result = finetune(config, registry, resume=True)
    assert (result.status, result.steps) == ("stopped-early", 3)


def test_scores_are_those_of_an_own_evaluation(make: Make, registry: Registry) -> None:
    """The validation scores in training are what evaluating the finished model gives."""
    from polyhead.backbone.evaluation.evaluate import Request as EvaluationRequest
    from polyhead.backbone.evaluation.evaluate import evaluate

    config = make(training__learning_rate=1e-2)
    result = finetune(config, registry)
    again = evaluate(EvaluationRequest(str(config.output), config, "validation"), registry)
    assert again is not None
    assert result.evaluation is not None
    assert again.values == pytest.approx(result.evaluation.values, abs=1e-6)


@pytest.mark.parametrize(
    ("keys", "steps"),
    [
        ({"training__checkpoint_every": 4, "training__evaluate_every": 3}, [4, 8, 10]),
        ({"training__evaluate_every": 3}, [3, 6, 9, 10]),
        ({}, [5, 10]),  # at the end of an epoch
        ({"training__checkpoint_every": 1, "training__keep_checkpoints": 1, "training__keep_best": False}, [10]),
    ],
)
def test_checkpoints_come_when_they_are_due(
    keys: dict[str, Any], steps: list[int], make: Make, registry: Registry
) -> None:
    config = make(**{"training__max_steps": 10, "training__keep_checkpoints": 9, **keys})
    finetune(config, registry)
    found = [path.name for path in list_checkpoints(config.output / "checkpoints")]
    assert found == [f"step-{step:08d}" for step in steps]


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────────


def losses(monkeypatch: pytest.MonkeyPatch, loss_at: Callable[[int], float]) -> None:
    """Let the engine tell other losses than it has."""
    real, calls = DataParallelEngine.step, iter(range(1, 1000))

    def step(self: DataParallelEngine, *arguments: Any) -> StepOutcome:
        return replace(real(self, *arguments), loss=loss_at(next(calls)))

    monkeypatch.setattr(DataParallelEngine, "step", step)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_no_number_stops_the_run(
    value: str, make: Make, registry: Registry, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses(monkeypatch, lambda step: float(value) if step == 4 else 0.7)
    config = make(training__checkpoint_every=2)
    with pytest.raises(RunError, match=rf"^step 4: the loss is {value}; try a lower training\.learning_rate"):
        finetune(config, registry)
    (end,) = events(config.output, "end")
    assert (end["status"], end["step"]) == ("failed", 4)
    assert end["message"].startswith("step 4: ")
    assert [path.name for path in list_checkpoints(config.output / "checkpoints")] == ["step-00000002"]


def test_weights_that_blow_up_stop_the_run(make: Make, registry: Registry) -> None:
    config = make(training__learning_rate=1e30, training__warmup=0, training__gradient_clipping=0.0)
    with pytest.raises(RunError, match=r"^step [2-6]: the loss is (nan|inf); "):
        finetune(config, registry)


def test_a_loss_that_grows_stops_the_run(make: Make, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    losses(monkeypatch, lambda step: 0.5 if step <= 10 else 50.0)
    config = make(training__max_steps=30, training__divergence_factor=4.0)
    expected = (
        r"^step 11: the loss diverges: 5\.45, over training\.divergence_factor=4 times the 0\.5 of the first steps; "
    )
    with pytest.raises(RunError, match=expected):
        finetune(config, registry)


# ── interruption and resuming ───────────────────────────────────────────────────────────────────────────


def undisturbed(make: Make, registry: Registry, output: Path, **keys: Any) -> RunResult:
    return finetune(make(**{"training__max_steps": 12, **keys, "output": str(output)}), registry)


@pytest.mark.parametrize("layout", ["single", "zero1", "zero2", "zero3"])
def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_happened(
    layout: str, make: Make, registry: Registry, events: Events, tmp_path: Path
) -> None:
    keys = {"training__max_steps": 12, "layout": layout}  # dropout as the backbone has it: 0.1
    whole = undisturbed(make, registry, tmp_path / "whole", **keys)
    config = make(**keys)
    with (
        registry.observing(StopAt(7, signal.SIGTERM), "stop"),
        pytest.raises(
            Interrupted, match=r"^stopped by SIGTERM after step 7; a checkpoint was written\. Go on with: "
        ) as stop,
    ):
        finetune(config, registry)
    assert stop.value.code == 128 + signal.SIGTERM
    assert list_checkpoints(config.output / "checkpoints")[-1].name == "step-00000007"
    assert events(config.output, "end")[-1]["status"] == "interrupted"

    resumed = finetune(config, registry, resume=True)
    assert (resumed.status, resumed.steps) == ("completed", 12)
    assert resumed.last_loss == pytest.approx(whole.last_loss, abs=1e-6)
    first, second = (events(run, "step") for run in (whole.folder, config.output))
    assert [step["step"] for step in second] == list(range(1, 13))
    assert [step["loss"] for step in second] == pytest.approx([step["loss"] for step in first], abs=1e-6)
    assert [start["first_step"] for start in events(config.output, "start")] == [0, 7]
    left, right = (load_file(run / "model" / "model.safetensors") for run in (whole.folder, config.output))
    assert all(torch.allclose(left[name], right[name], atol=1e-5) for name in left)


class StopAtStart:
    """Send this process a signal when the run starts."""

    @hookimpl
    def polyhead_start_run(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_before_the_first_step_leaves_a_run_that_starts_again(make: Make, registry: Registry) -> None:
    config = make(training__max_steps=2)
    stopper = StopAtStart()
    with registry.observing(stopper, "stopper"), pytest.raises(Interrupted, match="before the first step") as stopped:
        finetune(config, registry)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert list_checkpoints(config.output / "checkpoints") == []
    assert finetune(config, registry, resume=True).steps == 2


def test_a_resumed_run_that_gets_no_better_still_reports_the_best(
    make: Make, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingLoop, "evaluate", scripted([{"accuracy": 0.9}, {"accuracy": 0.5}]))
    first = finetune(make(training__max_steps=2), registry)
    again = finetune(make(training__max_steps=3), registry, resume=True)
    assert first.evaluation is not None
    assert again.evaluation is not None
    assert (first.evaluation.values, again.evaluation.values) == ({"accuracy": 0.9}, {"accuracy": 0.9})
    assert "| accuracy | 0.9000 |" in (again.folder / "report.md").read_text(encoding="utf-8")


def test_dropout_matters_in_that_comparison(make: Make, registry: Registry, tmp_path: Path) -> None:
    with_dropout = undisturbed(make, registry, tmp_path / "with")
    without = undisturbed(make, registry, tmp_path / "without", training__dropout=0.0)
    assert abs((with_dropout.last_loss or 0) - (without.last_loss or 0)) > 1e-3


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ({"training__batch_size": 8}, r"training\.batch_size \(was 16, is 8\)"),
        ({"training__seed": 7}, r"training\.seed \(was 42, is 7\)"),
        ({"data__max_length": 32}, r"data\.max_length \(was 48, is 32\)"),
        ({"task": "classification"}, r"task \(was 'sentiment', is 'classification'\)"),
    ],
)
def test_another_run_is_not_resumed(keys: dict[str, Any], names: str, make: Make, registry: Registry) -> None:
    config = make(training__max_steps=2)
    finetune(config, registry)
    with pytest.raises(RunError, match=rf"these have changed since: {names}$"):
        finetune(make(training__max_steps=4, **keys), registry, resume=True)


def test_other_labels_are_not_resumed(make: Make, registry: Registry, chinese_reviews: Path) -> None:
    finetune(make(training__max_steps=1), registry)
    other = make(training__max_steps=2, data__train=str(chinese_reviews), data__validation=str(chinese_reviews))
    expected = r"changed since: labels \(was \['negative', 'positive'\], is \['正面', '负面'\]\), training rows \("
    with pytest.raises(RunError, match=expected):
        finetune(other, registry, resume=True)


def test_a_longer_run_may_go_on_from_a_finished_one(make: Make, registry: Registry, events: Events) -> None:
    finetune(make(training__max_steps=4, training__schedule="constant"), registry)
    config = make(training__max_steps=6, training__schedule="constant")
    assert finetune(config, registry, resume=True).steps == 6
    assert [step["step"] for step in events(config.output, "step")] == [1, 2, 3, 4, 5, 6]


def test_a_finished_run_is_not_started_anew_by_accident(make: Make, registry: Registry) -> None:
    config = make(training__max_steps=1)
    finetune(config, registry)
    before = (config.output / "events.jsonl").read_bytes()
    with pytest.raises(RunError, match="holds a run already"):
        finetune(config, registry)
    assert before == (config.output / "events.jsonl").read_bytes()
    assert finetune(config, registry, overwrite=True).steps == 1


def test_a_damaged_checkpoint_is_not_resumed(make: Make, registry: Registry, events: Events) -> None:
    config = make(training__max_steps=4, training__checkpoint_every=2)
    whole = finetune(config, registry)
    newest = weights_at(config.output, 4)
    newest.write_bytes(newest.read_bytes()[:-9])
    expected = r"step-00000004 is damaged: weights-.*the one before it is whole: take it with --resume-from 2$"
    for wanted in (None, "4", str(newest.parent)):
        with pytest.raises(RunError, match=expected):
            finetune(config, registry, resume=True, resume_from=wanted)
    again = finetune(config, registry, resume_from="2")
    assert again.last_loss == pytest.approx(whole.last_loss, abs=1e-6)
    assert [start["first_step"] for start in events(config.output, "start")] == [0, 2]
    assert finetune(config, registry, resume=True).steps == 4  # the damaged one was replaced


def test_a_run_that_goes_back_forgets_what_came_later(
    make: Make, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best model of the part that is given up is no model of this run any more."""
    values = [0.5, 0.6, 0.9, 0.4, 0.3]
    monkeypatch.setattr(TrainingLoop, "evaluate", scripted([{"accuracy": value} for value in values]))
    keys = {"training__checkpoint_every": 2, "training__evaluate_every": 2, "training__keep_checkpoints": 9}
    finetune(make(training__max_steps=6, **keys), registry)
    config = make(training__max_steps=5, **keys)
    run = config.output
    result = finetune(config, registry, resume_from=str(run / "checkpoints" / "step-00000002"))
    assert [path.name for path in list_checkpoints(run / "checkpoints")] == [f"step-{n:08d}" for n in (2, 4, 5)]
    assert same_tensors(run / "model" / "model.safetensors", weights_at(run, 4))  # 0.4 is the best that is left
    assert result.evaluation is not None
    assert result.evaluation.values == {"accuracy": 0.4}


def test_the_checkpoint_of_the_best_evaluation_stays(
    make: Make, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [0.5, 0.9, 0.4, 0.3, 0.2]
    monkeypatch.setattr(TrainingLoop, "evaluate", scripted([{"accuracy": value} for value in values]))
    config = make(training__max_steps=5, training__evaluate_every=1, training__keep_checkpoints=1)
    finetune(config, registry)
    assert [path.name for path in list_checkpoints(config.output / "checkpoints")] == ["step-00000002", "step-00000005"]
    assert same_tensors(config.output / "model" / "model.safetensors", weights_at(config.output, 2))


def test_what_a_killed_run_left_is_cleared_up(make: Make, registry: Registry, events: Events) -> None:
    config = make(training__max_steps=4, training__checkpoint_every=2)
    whole = finetune(config, registry)
    run = config.output
    (run / "checkpoints" / "step-00000004").rename(run / "checkpoints" / ".writing-step-00000004")
    (run / "model").rename(run / ".old-model")  # killed between the two renames
    (run / ".writing-model").mkdir()
    with (run / "events.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"event": "st')
    assert finetune(config, registry, resume=True).last_loss == pytest.approx(whole.last_loss, abs=1e-6)
    assert [start["first_step"] for start in events(run, "start")] == [0, 2]
    assert not [path for path in (*run.iterdir(), *(run / "checkpoints").iterdir()) if path.name.startswith(".")]
    assert (run / "model" / "config.json").is_file()


def test_plain_gradient_descent_goes_on_but_not_with_the_other_optimizer(
    make: Make, registry: Registry, events: Events, tmp_path: Path
) -> None:
    keys = {"training__optimizer": "sgd", "training__learning_rate": 0.05}
    whole = undisturbed(make, registry, tmp_path / "whole", **keys)
    config = make(training__max_steps=12, training__checkpoint_every=5, **keys)
    finetune(config, registry)
    assert finetune(config, registry, resume_from="5").last_loss == pytest.approx(whole.last_loss, abs=1e-6)
    assert not list((config.output / "checkpoints").glob("*/optimizer-*"))
    with pytest.raises(RunError, match=r"changed since: training\.optimizer \(was 'sgd', is 'adamw'\)$"):
        finetune(make(training__max_steps=14), registry, resume=True)


def test_labels_in_a_file_to_predict_for_do_not_matter(
    make: Make, registry: Registry, chinese_reviews: Path, tmp_path: Path
) -> None:
    config = make(training__max_steps=1)
    finetune(config, registry)
    target = tmp_path / "out.jsonl"
    outcome = predict(Request(str(config.output), config, source=str(chinese_reviews), target=str(target)), registry)
    assert (outcome.predictions, outcome.skipped) == (10, ())
    answers = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert {answer["label"] for answer in answers} <= {"negative", "positive"}
