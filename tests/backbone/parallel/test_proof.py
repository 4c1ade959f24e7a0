"""What counts as equal, and what a proof makes of runs that differ, break off, or cannot be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from polyhead.backbone.builtin import load_registry
from polyhead.backbone.parallel.proof import Proof, prove, read_layouts
from polyhead.backbone.parallel.proof_comparison import ADAM, SGD, adam_difference, compare_runs, movement
from polyhead.backbone.parallel.proof_plan import Request, Settings
from polyhead.backbone.parallel.proof_rows import ChosenRows, choose_rows
from polyhead.configs.errors import ConfigError
from polyhead.configs.layouts import parse_layout
from polyhead.configs.load import load_config
from polyhead.registry import Registry, RunError

Weights = Mapping[str, torch.Tensor]
MATRIX = torch.arange(200.0).reshape(10, 20) / 100
FIRST: Weights = {"layer.weight": MATRIX, "layer.bias": torch.zeros(20)}
LAST: Weights = {"layer.weight": MATRIX - 0.02, "layer.bias": torch.full((20,), 1e-9)}
LOSSES = (0.7, 0.6, 0.5, 0.4)
NORMS = (2.0, 1.5, 1.0, 0.5)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes a run folder and returns it."""
    count = 0

    def write(
        losses: Sequence[float] = LOSSES,
        norms: Sequence[float | None] = NORMS,
        weights: Sequence[Weights] = (FIRST, LAST),
        scores: Mapping[str, float] | None = None,
    ) -> Path:
        nonlocal count
        count += 1
        folder = tmp_path / f"run{count}"
        folder.mkdir()
        events: list[dict[str, Any]] = [{"event": "start"}]
        for step, (loss, norm) in enumerate(zip(losses, norms, strict=False), 1):
            events.append({"event": "step", "step": step, "loss": loss, "gradient_norm": norm, "learning_rate": 0.01})
        if scores is not None:
            events.append({"event": "evaluation", "step": 4, "values": scores})
        (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
        for step, tensors in zip((2, 4), weights, strict=True):
            checkpoint = folder / "checkpoints" / f"step-{step:08d}"
            checkpoint.mkdir(parents=True)
            for number, (name, tensor) in enumerate(tensors.items()):  # in shards, as stages write them
                save_file({name: tensor.contiguous()}, checkpoint / f"weights-{number}.safetensors")
        return folder

    return write


def moved(weights: Weights, name: str, by: float) -> Weights:
    """Return the weights with one number of one tensor moved."""
    changed = weights[name].clone()
    changed.view(-1)[7] += by
    return {**weights, name: changed}


# ── comparing two runs ──────────────────────────────────────────────────────────────────────────────────


def test_equal_runs(run: Callable[..., Path]) -> None:
    scores = {"accuracy": 0.75, "loss": 0.61, "spearman": math.nan}
    found = compare_runs(run(scores=scores), run(scores=scores), SGD)
    assert (found.loss, found.gradient_norm, found.weights, found.score) == (0, 0, 0, 0)
    assert found.problems == ()


def test_rounding_is_no_difference(run: Callable[..., Path]) -> None:
    off = [loss * (1 + 1e-6) for loss in LOSSES]
    weights = (FIRST, moved(LAST, "layer.weight", 1e-5))
    found = compare_runs(run(), run(losses=off, weights=weights), SGD)
    assert found.loss == pytest.approx(1e-6, rel=1e-3)
    assert found.weights == pytest.approx(1e-5 / 1.97, rel=1e-2)
    assert found.tensor == "layer.weight"
    assert found.problems == ()


def test_a_tensor_of_noise_is_measured_by_the_size_of_the_others(run: Callable[..., Path]) -> None:
    weights = (FIRST, {**LAST, "layer.bias": -LAST["layer.bias"]})
    assert compare_runs(run(), run(weights=weights), SGD).problems == ()


def test_the_first_step_whose_loss_differs_is_named(run: Callable[..., Path]) -> None:
    found = compare_runs(run(), run(losses=(0.7, 0.6, 0.50002, 0.7)), SGD)
    assert found.loss == pytest.approx(0.75)
    assert found.problems == ("step 3: loss 0.50002 instead of 0.5 (4.0e-05 > 1e-05)",)


def test_gradient_norms_are_compared_where_both_have_them(run: Callable[..., Path]) -> None:
    assert compare_runs(run(), run(norms=(None,) * 4), SGD).gradient_norm is None
    found = compare_runs(run(), run(norms=(2.0, 1.6, 1.0, 0.5)), SGD)
    assert found.gradient_norm == pytest.approx(0.1 / 1.5)
    assert found.problems[0].startswith("step 2: gradient norm 1.6 instead of 1.5")


def test_missing_steps(run: Callable[..., Path]) -> None:
    found = compare_runs(run(), run(losses=LOSSES[:3]), SGD)
    assert found.problems == ("3 steps instead of 4",)


def test_a_loss_that_is_no_number(run: Callable[..., Path]) -> None:
    found = compare_runs(run(), run(losses=(0.7, 0.6, math.nan, 0.4)), SGD)
    assert found.loss == math.inf
    assert found.problems[0].startswith("step 3: loss nan instead of 0.5")


def test_weights_that_differ_are_named(run: Callable[..., Path]) -> None:
    found = compare_runs(run(), run(weights=(FIRST, moved(LAST, "layer.bias", 1e-3))), SGD)
    assert found.tensor == "layer.bias"
    assert found.problems[0].startswith("step 4: 1 of 2 weights differ, most of all layer.bias (")


def test_weights_that_differ_half_way_are_found_there(run: Callable[..., Path]) -> None:
    found = compare_runs(run(), run(weights=(moved(FIRST, "layer.weight", 0.1), LAST)), SGD)
    assert found.problems[0].startswith("step 2: 1 of 2 weights differ, most of all layer.weight")


def test_weights_that_are_not_there(run: Callable[..., Path]) -> None:
    less = [{"layer.weight": weights["layer.weight"]} for weights in (FIRST, LAST)]
    assert compare_runs(run(), run(weights=less), SGD).problems == ("step 2: weight layer.bias is missing (1 such)",)
    assert compare_runs(run(weights=less), run(), SGD).problems[0].startswith("step 2: weight layer.bias is one too")


def test_weights_of_another_shape(run: Callable[..., Path]) -> None:
    other = [{**weights, "layer.bias": torch.zeros(21)} for weights in (FIRST, LAST)]
    found = compare_runs(run(), run(weights=other), SGD)
    assert (found.weights, found.tensor) == (math.inf, "layer.bias")
    assert found.problems


@pytest.mark.parametrize(
    ("scores", "problem"),
    [
        ({"accuracy": 0.75, "loss": 0.610001}, None),
        ({"accuracy": 0.70, "loss": 0.61}, "validation: accuracy 0.7 instead of 0.75 (5.0e-02 > 1e-04)"),
        ({"accuracy": 0.75, "loss": 0.62}, "validation: loss 0.62 instead of 0.61 (1.6e-02 > 1e-05)"),
        ({"f1": 0.75, "loss": 0.61}, "validation gives f1, loss instead of accuracy, loss"),
        (None, "0 validations instead of 1"),
    ],
)
def test_scores(scores: Mapping[str, float] | None, problem: str | None, run: Callable[..., Path]) -> None:
    found = compare_runs(run(scores={"accuracy": 0.75, "loss": 0.61}), run(scores=scores), SGD)
    assert found.problems == (() if problem is None else (problem,))


def test_how_far_the_weights_went(run: Callable[..., Path]) -> None:
    assert movement(run(), SGD) == pytest.approx(0.02 / 1.97, rel=1e-3)
    assert movement(run(), ADAM) == pytest.approx(0.02 / 0.04, rel=1e-3)


# ── Adam ────────────────────────────────────────────────────────────────────────────────────────────────

TRAINS = torch.ones(10, 20, dtype=torch.bool)


def test_adam_lets_noise_walk_in_vectors_and_in_few_weights_of_a_matrix() -> None:
    vector = torch.zeros(20)
    assert adam_difference(vector, vector + 0.9, torch.ones(20, dtype=torch.bool), walk=1.0) == 0
    one = moved({"w": MATRIX}, "w", 1.5)["w"]
    assert adam_difference(MATRIX, one, TRAINS, walk=1.0) == 0


def test_adam_lets_nothing_go_further_than_the_learning_rates_take_it() -> None:
    one = moved({"w": MATRIX}, "w", 2.1)["w"]
    assert adam_difference(MATRIX, one, TRAINS, walk=1.0) == math.inf
    assert adam_difference(MATRIX, MATRIX * math.nan, TRAINS, walk=1.0) == math.inf


def test_adam_finds_a_matrix_that_went_another_way() -> None:
    other = MATRIX.clone()
    other[0] += 0.3
    assert adam_difference(MATRIX, other, TRAINS, walk=1.0) == pytest.approx(0.3)
    words_that_occur = torch.zeros(10, 20, dtype=torch.bool)
    words_that_occur[0] = True
    other[1:] = MATRIX[1:]
    assert adam_difference(MATRIX, other, words_that_occur, walk=1.0) == pytest.approx(0.3)


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────


def settings(recipe: Path, *overrides: str, **more: Any) -> Settings:
    return Settings(Request(str(recipe), overrides, **more), ["sentiment"])


@pytest.fixture
def recipe(tmp_path: Path, reviews: Path) -> Path:
    """Return a recipe in bf16 with dropout and early stopping."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"task: sentiment\ndata: {{train: {reviews / 'train.jsonl'}, validation: {reviews / 'validation.jsonl'}}}\n"
        "training: {precision: bf16, dropout: 0.3, patience: 1, learning_rate: 0.003, batch_size: 64}\n",
        encoding="utf-8",
    )
    return path


def test_what_a_proof_replaces(recipe: Path, tmp_path: Path) -> None:
    config = settings(recipe, "data.max_tokens=77").of(parse_layout("zero3"), tmp_path)
    training = config.training
    assert (config.layout, config.output, config.data.max_tokens) == ("zero3", tmp_path, 77)
    assert (training.optimizer, training.precision, training.dropout, training.patience) == ("sgd", "fp32", 0, None)
    assert (training.max_steps, training.evaluate_every, training.checkpoint_every) == (20, 20, 10)
    assert (training.batch_size, training.gradient_clipping, training.schedule) == (16, 0.5, "constant")


def test_the_recipes_own_optimizer(recipe: Path, tmp_path: Path) -> None:
    found = settings(recipe, optimizer="recipe")
    config = found.of(parse_layout("zero1"), tmp_path)
    assert (config.training.optimizer, config.training.learning_rate) == ("adamw", 0.003)
    assert found.tolerance(config) == ADAM


def test_clipping_is_left_out_where_a_layout_cannot_have_it_and_nobody_asked_for_it(recipe: Path) -> None:
    pipe = parse_layout("pipe2")
    assert settings(recipe).clips(parse_layout("pipe2+zero1"))
    assert not settings(recipe).clips(pipe)
    for strict in (settings(recipe, "training.gradient_clipping=1"), settings(recipe, optimizer="recipe")):
        with pytest.raises(ConfigError, match=r"layout pipe2 cannot have training\.gradient_clipping=1"):
            strict.clips(pipe)


def test_a_coarse_format_needs_a_tolerance(recipe: Path, tmp_path: Path) -> None:
    coarse = settings(recipe, "training.precision=bf16")
    with pytest.raises(RunError, match=r"training\.precision=bf16 rounds too coarsely"):
        coarse.tolerance(coarse.of(parse_layout("zero1"), tmp_path))
    wanted = settings(recipe, "training.precision=bf16", tolerance=0.02)
    found = wanted.tolerance(wanted.of(parse_layout("zero1"), tmp_path))
    assert (found.loss, found.weights) == (0.02, 0.02)


def test_layouts_and_their_processes(recipe: Path) -> None:
    def read(*layouts: str, **more: Any) -> list[tuple[str, int]]:
        found = read_layouts(Request(str(recipe), layouts=layouts, **more), ["sentiment"])
        return [(each.layout.name, each.processes) for each in found]

    assert read() == [(name, 2) for name in ("zero1", "zero2", "zero3", "pipe2", "pipe2+zero1")]
    assert read("zero1+pipe2@4", "pipe3", "zero1") == [("pipe2+zero1", 4), ("pipe3", 3), ("zero1", 2)]
    assert read("zero1", "pipe2@2", processes=4) == [("zero1", 4), ("pipe2", 2)]
    for wrong, error in (("zero1@x", RunError), ("zero1@0", RunError), ("single", RunError), ("zeroo1", ConfigError)):
        with pytest.raises(error):
            read(wrong)


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_are_spread_over_the_file_and_fit_the_labels(written: Any, tmp_path: Path, registry: Registry) -> None:
    train = written(tmp_path / "train.jsonl", [(f"text {n}", "good" if n < 50 else "bad") for n in range(100)])
    validation = written(tmp_path / "validation.jsonl", [("a", "good"), ("b", "unheard of"), ("c", "bad")])
    config = load_config(
        "classification", [f"data.train={train}", f"data.validation={validation}"], tasks=registry.tasks()
    )
    chosen = choose_rows(config, registry, training_rows=4)
    assert chosen == {str(train): [0, 25, 50, 75], str(validation): [0, 2]}


def test_only_chosen_rows_are_read(written: Any, tmp_path: Path) -> None:
    path, other = (written(tmp_path / name, [(f"text {n}", "x") for n in range(6)]) for name in ("a.jsonl", "b.jsonl"))
    from polyhead.backbone.data import readers

    registry = ChosenRows.load(builtins=(readers,))
    registry.chosen = {str(path): [1, 4]}
    assert [row.row["text"] for row in registry.read_rows(path, "jsonl", None)] == ["text 1", "text 4"]
    assert [row.line for row in registry.read_rows(path, "jsonl", None)] == [2, 5]
    assert len(list(registry.read_rows(other, "jsonl", None))) == 6
    assert len(list(load_registry().read_rows(path, "jsonl", None))) == 6


# ── what becomes of each layout, with small programs in the place of ranks ──────────────────────────────

RANK = """
import json, os, sys, time
from pathlib import Path

plan = Path(sys.argv[1])
rank = int(os.environ["RANK"])
equal = {"loss": 1e-7, "gradient_norm": None, "weights": 1e-8, "tensor": "w", "score": 0.0, "problems": []}
for run in json.loads(plan.read_text())["runs"]:
    name, started = run["name"], plan.parent / (run["name"] + ".started")
    if rank >= run["processes"]:
        continue
    if rank == 0:
        started.write_text("1")
    while not started.exists():
        time.sleep(0.01)

    def write(status="done", message="", lost=False, comparison=equal, moved=0.1):
        found = {"status": status, "message": message, "lost_another": lost, "seconds": 1.0, "losses": [0.7, 0.6]}
        compared = run["reference"] and status == "done"
        found |= {"moved": None if run["reference"] else moved, "comparison": comparison if compared else None}
        draft = plan.parent / f"draft{rank}"
        draft.write_text(json.dumps(found))
        draft.rename(plan.parent / f"{name}.rank{rank}.json")

    ACTION
"""


@pytest.fixture
def proof_of(tmp_path: Path, recipe: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes a proof with ranks that do as they are told."""
    from polyhead.backbone.parallel import launch

    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(launch, "POLL_SECONDS", 0.02)

    def make(action: str, *layouts: str, overrides: Sequence[str] = ()) -> Proof:
        script = tmp_path / "rank.py"
        script.write_text(RANK.replace("ACTION", action.replace("\n", "\n    ")), encoding="utf-8")
        request = Request(str(recipe), tuple(overrides), layouts)
        return prove(request, registry, lambda _: None, program=("-S", str(script)))

    return make


def test_all_equal(proof_of: Any) -> None:
    proof = proof_of("write()", "zero1", "pipe2")
    assert proof.ok
    assert [(result.verdict, result.clipped) for result in proof.layouts] == [("ok", True), ("ok", False)]
    assert (proof.losses, proof.seconds) == ((0.7, 0.6), 1.0)
    assert json.loads(json.dumps(proof.to_json()))["layouts"][0]["loss"] == 1e-7


def test_a_difference_fails(proof_of: Any) -> None:
    action = (
        "different = equal | {'loss': float('inf'), 'problems': ['step 3: loss differs']}\n"
        "write(comparison=different if name == 'zero2@2' else equal)"
    )
    proof = proof_of(action, "zero1", "zero2")
    assert proof.layouts[1].loss == math.inf
    assert proof.to_json()["layouts"][1]["loss"] is None  # JSON has no infinity
    assert [result.verdict for result in proof.layouts] == ["ok", "FAILED"]
    assert proof.layouts[1].reasons == ("step 3: loss differs",)
    assert not proof.ok


def test_weights_that_hardly_move_prove_nothing(proof_of: Any) -> None:
    proof = proof_of("write(moved=1e-4)", "zero1")
    assert proof.layouts[0].verdict == "FAILED"
    assert proof.layouts[0].reasons[0].startswith("proves nothing: the weights moved by 1e-04 only")


def test_a_refused_layout_fails_only_where_it_was_named(proof_of: Any) -> None:
    action = "write(*(('refused', '4 stages, 3 blocks') if name.startswith('pipe') else ()))"
    named = proof_of(action, "zero1", "pipe2")
    assert [result.verdict for result in named.layouts] == ["ok", "refused"]
    assert named.layouts[1].reasons == ("4 stages, 3 blocks",)
    assert not named.ok
    usual = proof_of(action)
    assert [result.verdict for result in usual.layouts] == ["ok"] * 3 + ["refused"] * 2
    assert usual.ok


def test_a_contradiction_is_refused_and_the_others_go_on(proof_of: Any) -> None:
    proof = proof_of("write()", "pipe2", "zero1", "pipe2+zero1@3", overrides=["training.gradient_clipping=1"])
    assert [result.verdict for result in proof.layouts] == ["refused", "ok", "refused"]
    assert "layout pipe2 cannot have training.gradient_clipping=1" in proof.layouts[0].reasons[0]
    assert proof.layouts[2].reasons == ("needs a multiple of 2 processes, not 3",)


def test_a_rank_that_breaks_is_quoted_and_the_others_go_on(proof_of: Any) -> None:
    action = (
        "if name == 'zero1@2':\n"
        "    write('broke off', *(('lost rank 1', True) if rank == 0 else ('ValueError: no such thing',)))\n"
        "    sys.exit(3)\n"
        "write()"
    )
    proof = proof_of(action, "zero1", "zero2")
    assert [result.verdict for result in proof.layouts] == ["FAILED", "ok"]
    assert proof.layouts[0].reasons == ("rank 1: ValueError: no such thing",)


def test_a_rank_that_is_killed_is_named_and_the_others_go_on(proof_of: Any) -> None:
    action = "if name == 'zero1@2':\n    os.kill(os.getpid(), 9) if rank == 1 else time.sleep(60)\nwrite()"
    proof = proof_of(action, "zero1", "zero2")
    assert [result.verdict for result in proof.layouts] == ["FAILED", "ok"]
    assert "rank 1 (process " in proof.layouts[0].reasons[0]
    assert "was ended by SIGKILL" in proof.layouts[0].reasons[0]


def test_a_recipe_that_does_not_train_in_one_process_is_a_mistake(proof_of: Any) -> None:
    with pytest.raises(RunError, match="the recipe does not train in one process: no such backbone"):
        proof_of("write('refused', 'no such backbone')", "zero1")


def test_processes_that_end_at_once_are_quoted(proof_of: Any) -> None:
    with pytest.raises(RunError, match="the processes ended before the first run: it said nothing"):
        proof_of("started.unlink(missing_ok=True); sys.exit(1)", "zero1")


def test_an_interrupt_ends_all(proof_of: Any) -> None:
    listen = "import signal\nsignal.signal(2, signal.default_int_handler)"  # a shell's background jobs ignore it
    action = f"{listen}\nif rank == 0:\n    os.kill(os.getppid(), 2)\ntime.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        proof_of(action, "zero1")
