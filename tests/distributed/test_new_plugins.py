"""What `polyhead plugins new` writes works unedited: in every command, in one process and on two ranks."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder

from polyhead.registry.scaffold import Blueprint, files_of, write_files
from polyhead.registry.testing import check_task

pytestmark = pytest.mark.slow

PLANS = (
    Blueprint("new-task", "task", "0.1.0"),
    Blueprint("new-head", "head", "0.1.0", "classification"),
    Blueprint("new-token-head", "head", "0.1.0", "ner", per_token=True),
    Blueprint("new-metric", "metric", "0.1.0", "classification"),
    Blueprint("new-reader", "reader", "0.1.0"),
    Blueprint("new-backbone", "backbone", "0.1.0"),
)
RUNS = {  # name: (task, layout, settings)
    "zero3": ("new-task", "zero3", []),
    "pipe2": ("new-task", "pipe2+zero1", []),
    "head-pipe2": ("classification", "pipe2+zero1", ["head=new-head", "training.metric=new_metric"]),
    "token-head-zero3": ("ner", "zero3", ["head=new-token-head"]),
}
STEPS = 3


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one plugin of each kind, as it was written."""
    folder = tmp_path_factory.mktemp("new")
    for plan in PLANS:
        write_files(files_of(plan), folder / plan.name)
    return folder


@pytest.fixture(scope="module")
def site(sources: Path, tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Path]:
    """Install them, as pip does with their wheels, for this process and those that it starts."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    for plan in PLANS:
        (wheel,) = WheelBuilder(str(sources / plan.name)).build(directory=str(wheels), versions=["standard"])
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setitem(environment, "PYTHONPATH", str(site))
        yield site


@pytest.fixture(scope="module")
def samples(site: Path) -> dict[str, Path]:
    """Return files of rows with answers, by task."""
    plugins = Path(__file__).parents[2] / "plugins"
    found = {task: plugins / task / "samples.jsonl" for task in ("classification", "ner")}
    return {**found, "new-task": site / "polyhead_new_task" / "samples.jsonl"}


@pytest.fixture(scope="module")
def arguments(samples: dict[str, Path], tiny_bert: Path) -> Any:
    """Return what gives the settings of a run."""

    def settings_of(task: str, *more: str) -> list[str]:
        return [
            f"backbone={tiny_bert}",
            f"data.train={samples[task]}",
            f"data.validation={samples[task]}",
            "data.cache=false",
            "training.batch_size=10",
            f"training.max_steps={STEPS}",
            "training.learning_rate=2e-3",
            "training.dropout=0",
            *more,
        ]

    return settings_of


@pytest.fixture(scope="module")
def spread(site: Path, arguments: Any, run_ranks: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on two processes under every layout; return the folder of the runs."""
    folder = tmp_path_factory.mktemp("runs")
    commands = [
        ["finetune", task, *arguments(task, *more), f"layout={layout}", f"output={folder / name}"]
        for name, (task, layout, more) in RUNS.items()
    ]
    run_ranks(folder, commands)
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_the_losses_are_those_of_one_process(
    name: str, spread: Path, arguments: Any, events: Any, tmp_path: Path
) -> None:
    from polyhead.backbone.builtin import load_registry
    from polyhead.backbone.training.finetune import finetune
    from polyhead.configs.load import load_config

    task, _, more = RUNS[name]
    registry = load_registry()
    config = load_config(task, [*arguments(task, *more), f"output={tmp_path / 'run'}"], tasks=registry.task_names())
    finetune(config, registry)
    expected, found = ([step["loss"] for step in events(run, "step")] for run in (config.output, spread / name))
    assert len(found) == STEPS
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_new_metric_is_scored_and_decides(spread: Path, events: Any) -> None:
    values = [evaluation["values"]["new_metric"] for evaluation in events(spread / "head-pipe2", "evaluation")]
    assert values
    assert all(0 <= value <= 1 for value in values)


def test_the_new_task_is_evaluated_and_predicts(spread: Path, samples: dict[str, Path], polyhead: Any) -> None:
    run = str(spread / "pipe2")
    scored = json.loads(polyhead("evaluate", run, "--data", str(samples["new-task"]), "--json").stdout)
    assert scored["examples"] == 30
    assert set(scored["metrics"]) >= {"accuracy", "f1_macro"}
    told = polyhead("predict", run, "--input", str(samples["new-task"])).stdout
    rows = [json.loads(line) for line in samples["new-task"].read_text(encoding="utf-8").splitlines()]
    answers = [json.loads(line)["label"] for line in told.splitlines()]
    right = sum(answer == row["label"] for answer, row in zip(answers, rows, strict=True))
    assert right / len(rows) == pytest.approx(scored["metrics"]["accuracy"])


def test_the_new_reader_and_backbone_are_used(site: Path, polyhead: Any, tmp_path: Path) -> None:
    file = tmp_path / "reviews.new-reader"
    file.write_text("positive\tWhat a film!\n正面\t好看。\n", encoding="utf-8")
    assert json.loads(polyhead("data", "check", "classification", str(file), "--json").stdout)
    assert "new-backbone" in polyhead("backbones").stdout


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_it_passes_every_check(plan: Blueprint, site: Path) -> None:
    report = check_task(plan.name, skip=["same-loss-in-every-layout"])  # which the runs above are about
    assert report.distribution == plan.distribution
    assert len([finding for finding in report.findings if finding.status == "passed"]) >= 7


def test_the_tests_that_come_with_them_pass(sources: Path, site: Path, program: Any) -> None:
    files = [str(sources / plan.name / "tests" / "test_plugin.py") for plan in PLANS]
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-k", "not passes_every_check"]
    said = program(sys.executable, "-m", "pytest", "--rootdir", str(sources), *options, *files).stdout
    assert "13 passed" in said
