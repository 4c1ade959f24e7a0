"""Saved under each layout, resumed under each: the next losses are those of a run that nobody disturbed.

Not part of ``make test``: ``make verify-resume`` runs it and prints the table.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyhead.backbone.training.finetune import finetune
from polyhead.configs.load import load_config
from polyhead.registry import Registry

pytestmark = pytest.mark.proof

LAYOUTS = ("single", "zero1", "zero2", "zero3", "pipe2", "pipe2+zero1")
PAIRS = [(old, new) for old in LAYOUTS for new in LAYOUTS]
STEPS, HALF = 20, 10
"""An epoch has 8 steps: the checkpoint lies in the middle of one, and before the end of the warm-up."""
TOLERANCE = 1e-5
PATIENCE = 1800.0

SAMPLES = Path(__file__).parents[2] / "configs" / "samples"
FURTHER = {  # what else moves: (task, backbone, sample, settings)
    "without moments": ("sentiment", "bert", None, ["training.optimizer=sgd", "training.learning_rate=0.05"]),
    "tied embeddings": ("generation", "gpt2", "wikitext2", []),
    "shared positions": ("translation", "t5", "tatoeba_en_zh", []),
    "odd sizes": ("ner", "bert", "uner_en_ewt", []),  # 7 labels on 2 ranks
    "adapters": ("sentiment", "bert", None, ["backbone.lora.rank=4"]),
}
ROADS = (("zero2", "pipe2+zero1"), ("pipe2+zero1", "zero3"), ("pipe2", "pipe2+zero1"))
SPECIAL = [(name, old, new) for name in FURTHER for old, new in ROADS]

Differences = dict[tuple[str, str], float]


@pytest.fixture(scope="module")
def common(settings: list[str]) -> list[str]:
    """Return what every run here is told: no dropout (it differs by rank), no clipping (a pipeline without ZeRO)."""
    steps = [f"training.max_steps={STEPS}", f"training.checkpoint_every={HALF}", f"training.evaluate_every={STEPS}"]
    curve = ["training.schedule=linear", "training.warmup=12"]
    return [*settings, *steps, *curve, "training.dropout=0", "training.gradient_clipping=0"]


@pytest.fixture(scope="module")
def further(common: list[str], tiny_backbones: dict[str, Path], tmp_path_factory: Any) -> dict[str, list[str]]:
    """Return task and settings of the runs with something special, by name."""
    data = tmp_path_factory.mktemp("data")
    found = {}
    for name, (task, backbone, sample, more) in FURTHER.items():
        given = [task, *common, f"backbone={tiny_backbones[backbone]}", *more]
        if sample is not None:
            with gzip.open(SAMPLES / sample / "validation.jsonl.gz", "rt", encoding="utf-8") as file:
                (data / f"{task}.jsonl").write_text("".join(list(file)[:40]), encoding="utf-8")
            given += [f"data.{split}={data / f'{task}.jsonl'}" for split in ("train", "validation")]
        found[name] = given
    return found


@pytest.fixture(scope="module")
def differences(
    tmp_path_factory: pytest.TempPathFactory,
    common: list[str],
    further: dict[str, list[str]],
    run_ranks: Callable[..., None],
    registry: Registry,
    events: Any,
) -> Differences:
    """Train under every layout, go on from half-way under every layout; return how far the losses are apart."""
    folder = tmp_path_factory.mktemp("runs")

    def alone(name: str, given: list[str], *, resume: bool) -> None:
        task, *overrides = given
        finetune(load_config(task, [*overrides, f"output={folder / name}"]), registry, resume=resume)

    def told(name: str, given: list[str], layout: str, *more: str) -> list[str]:
        return ["finetune", *given, f"layout={layout}", f"output={folder / name}", *more]

    def moved(old: str, target: str, given: list[str], new: str) -> list[list[str]]:
        copy = ["copy", str(folder / old), str(folder / target), f"step-{HALF:08d}"]
        return [copy, told(target, given, new, "--resume")]

    plain = ["sentiment", *common]
    alone("single", plain, resume=False)
    commands = [told(layout, plain, layout) for layout in LAYOUTS[1:]]
    for old, new in PAIRS:
        commands += moved(old, f"{old} to {new}", plain, new) if new != "single" else []
    for name, given in further.items():
        alone(f"{name}, single", given, resume=False)
        for old, new in ROADS:
            commands.append(told(f"{name}, {old}", given, old))
            commands += moved(f"{name}, {old}", f"{name}, {old} to {new}", given, new)
    run_ranks(folder, commands, patience=PATIENCE)
    for old in LAYOUTS:
        target = folder / f"{old} to single"
        shutil.copytree(folder / old, target)
        shutil.rmtree(target / "checkpoints" / f"step-{STEPS:08d}")
        alone(target.name, plain, resume=True)
    whole = [(old, new, f"{old} to {new}", "single") for old, new in PAIRS]
    whole += [(name, f"{old} to {new}", f"{name}, {old} to {new}", f"{name}, single") for name, old, new in SPECIAL]
    return {
        (left, right): _apart(folder / run, folder / undisturbed, events) for left, right, run, undisturbed in whole
    }


def _apart(run: Path, undisturbed: Path, events: Any) -> float:
    """Return the largest difference of the losses after the checkpoint, relative where a loss is above 1."""
    assert [start["first_step"] for start in events(run, "start")] == [0, HALF]
    expected = [step["loss"] for step in events(undisturbed, "step")][HALF:]
    losses = [step["loss"] for step in events(run, "step")][STEPS:]
    assert len(losses) == len(expected) == STEPS - HALF
    return max(abs(loss - other) / max(1.0, other) for loss, other in zip(losses, expected, strict=True))


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_the_next_losses_are_those_of_the_undisturbed_run(old: str, new: str, differences: Differences) -> None:
    assert differences[old, new] <= TOLERANCE


@pytest.mark.parametrize(("name", "old", "new"), SPECIAL)
def test_so_they_are_where_there_is_something_special(name: str, old: str, new: str, differences: Differences) -> None:
    assert differences[name, f"{old} to {new}"] <= TOLERANCE


def test_the_table(differences: Differences, capsys: pytest.CaptureFixture[str]) -> None:
    """Print all of it, good or bad."""
    width = max(map(len, LAYOUTS)) + 2
    lines = [
        "",
        f"largest difference of the next {STEPS - HALF} losses; rows: saved under, columns: resumed under",
        " " * width + "".join(f"{new:>{width}}" for new in LAYOUTS),
    ]
    lines += [f"{old:<{width}}" + "".join(f"{differences[old, new]:>{width}.1e}" for new in LAYOUTS) for old in LAYOUTS]
    lines += [f"{name}, {old} to {new}: {differences[name, f'{old} to {new}']:.1e}" for name, old, new in SPECIAL]
    passed = sum(value <= TOLERANCE for value in differences.values())
    with capsys.disabled():
        print("\n".join([*lines, f"{passed} of {len(differences)} within {TOLERANCE:g}"]))  # noqa: T201
    assert passed == len(differences)
