"""Batches that other processes make: the same ones, signals or not, and words where such a process dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from polyhead.backbone.checkpoint.store import list_checkpoints
from polyhead.backbone.training.finetune import finetune
from polyhead.backbone.training.loop import Interrupted
from polyhead.configs.load import load_config
from polyhead.configs.schema import RunConfig
from polyhead.registry import Registry, RunError, StepEnd, hookimpl

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python 3.12 on every fork

Events = Callable[[Path, str], list[dict[str, Any]]]


@pytest.fixture
def config(tiny_bert: Path, reviews: Path, tmp_path: Path) -> RunConfig:
    """Return the settings of a run of 12 steps over two epochs and a half, with two workers."""
    settings = [
        f"backbone={tiny_bert}",
        f"data.train={reviews / 'train.jsonl'}",
        "data.validation_fraction=0",
        "data.cache=false",
        "data.max_length=48",
        "data.workers=2",
        "training.batch_size=16",
        "training.max_steps=12",
        f"output={tmp_path / 'run'}",
    ]
    return load_config("sentiment", settings)


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """Hold against every test here that its workers are gone afterwards."""
    yield
    _, alive = psutil.wait_procs(psutil.Process().children(), timeout=20)
    assert not alive


class Signal:
    """Send the workers, and this process where that is asked for, a signal after a step."""

    def __init__(self, number: int, *, everyone: bool) -> None:
        self.number, self.everyone = number, everyone

    @hookimpl
    def polyhead_end_step(self, step: StepEnd) -> None:
        if step.step == 4:
            workers = psutil.Process().children()
            assert len(workers) == 2
            for worker in workers:
                worker.send_signal(self.number)
            if self.everyone:
                os.kill(os.getpid(), self.number)


def test_workers_change_no_result(config: RunConfig, registry: Registry, events: Events, tmp_path: Path) -> None:
    alone = config.model_copy(
        update={"output": tmp_path / "alone", "data": config.data.model_copy(update={"workers": 0})}
    )
    found = [events(finetune(each, registry).folder, "step") for each in (config, alone)]
    kept = [[(step["step"], step["loss"], step["tokens"]) for step in steps] for steps in found]
    assert len(kept[0]) == 12
    assert kept[0] == kept[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_stops_the_whole_group_leaves_a_checkpoint(number: int, config: RunConfig, registry: Registry) -> None:
    with registry.observing(Signal(number, everyone=True), "signal"), pytest.raises(Interrupted, match="after step 4"):
        finetune(config, registry)
    assert [path.name for path in list_checkpoints(config.output / "checkpoints")] == ["step-00000004"]
    assert finetune(config, registry, resume=True).steps == 12


def test_a_worker_that_is_killed_is_told_in_words(config: RunConfig, registry: Registry) -> None:
    killed = Signal(signal.SIGKILL, everyone=False)
    longer = replace_steps(config, 400)
    with (
        registry.observing(killed, "signal"),
        pytest.raises(
            RunError, match=r"process that made its batches is gone \(DataLoader worker.*--resume, with data\.workers=0"
        ),
    ):
        finetune(longer, registry)


def replace_steps(config: RunConfig, steps: int) -> RunConfig:
    """Return the same settings with another number of steps."""
    return config.model_copy(update={"training": config.training.model_copy(update={"max_steps": steps})})
