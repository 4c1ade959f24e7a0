"""One rank of a proof: train one run after the other, each in a world of its own, and compare it with its reference.

`proof.prove` starts `proof_rank` once for each rank. A run takes the first so many ranks; the others wait for the next
one. So one start-up pays for all layouts.
"""

from __future__ import annotations

import os
import shutil
import time
import traceback
from pathlib import Path
from typing import TextIO

from polyhead.backbone.data import readers
from polyhead.backbone.model import named
from polyhead.backbone.parallel.processes import free_port, is_lost_contact
from polyhead.backbone.parallel.proof_comparison import compare_runs, movement
from polyhead.backbone.parallel.proof_plan import Outcome, Plan, PlannedRun, write_whole
from polyhead.backbone.parallel.proof_rows import ChosenRows
from polyhead.backbone.training.finetune import finetune
from polyhead.backbone.training.loop import Interrupted
from polyhead.configs.errors import ConfigError
from polyhead.configs.load import load_config
from polyhead.registry import LostProcessError, PolyheadError, Registry, StepEnd, hookimpl

BROKE_OFF = 3
"""Exit code after an error that may have left the ranks out of step: the runs to come need new processes."""
POLL_SECONDS = 0.05
TELL_EVERY = 10.0
"""Seconds between two lines on the screen."""


def work(path: str) -> int:
    """Do the part of a plan's runs that falls to the rank that this process is, and return the exit code."""
    plan, rank = Plan.read(Path(path)), int(os.environ["RANK"])
    screen = _only_for_us(plan.folder / f"rank{rank}.log", speaks=rank == 0)
    registry = ChosenRows.load(builtins=(readers, named))
    registry.chosen = plan.rows
    for run in plan.runs:
        if rank >= run.processes:
            continue
        _enter(run, rank, plan.folder)
        try:
            outcome = _train(run, rank, plan, registry, screen)
        except Interrupted as stop:
            return stop.code
        outcome.write(run.outcome(plan.folder, rank))
        if outcome.status == "broke off":
            return BROKE_OFF
    return 0


def _only_for_us(log: Path, *, speaks: bool) -> TextIO | None:
    """Send what this process prints into a file; return the screen for our own lines, on the rank that speaks."""
    screen = os.fdopen(os.dup(2), "w", encoding="utf-8", buffering=1) if speaks else None
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    return screen


def _enter(run: PlannedRun, rank: int, folder: Path) -> None:
    """Wait until rank 0 begins the run, and enter its world."""
    started = run.started(folder)
    if rank == 0:
        write_whole(started, str(free_port()))
    while not started.exists():
        time.sleep(POLL_SECONDS)
    size, port = str(run.processes), started.read_text(encoding="utf-8")
    os.environ.update(WORLD_SIZE=size, LOCAL_WORLD_SIZE=size, MASTER_PORT=port)


def _train(run: PlannedRun, rank: int, plan: Plan, registry: Registry, screen: TextIO | None) -> Outcome:
    """Train, and on rank 0 compare."""
    steps, started = _Steps(run.name, screen), time.monotonic()
    try:
        with registry.observing(steps, "steps of the proof"):
            finetune(load_config(str(run.settings(plan.folder))), registry)
    except Interrupted:
        raise
    except (PolyheadError, ConfigError) as error:
        lost = isinstance(error, LostProcessError)
        return Outcome("broke off" if lost or steps.begun else "refused", str(error), lost)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other layouts are to be tried
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        return Outcome("broke off", f"{type(error).__name__}: {lines[-1]}", is_lost_contact(error))
    seconds = time.monotonic() - started
    steps.tell(f"{run.name}: {len(steps.losses)} steps in {seconds:.1f} s")
    if rank > 0:
        return Outcome("done")
    folder, losses = plan.folder / run.name, tuple(steps.losses)
    if run.reference is None:
        return Outcome("done", seconds=seconds, losses=losses, moved=movement(folder, plan.tolerance))
    comparison = compare_runs(plan.folder / run.reference, folder, plan.tolerance)
    if not plan.keep:
        shutil.rmtree(folder)
    return Outcome("done", seconds=seconds, losses=losses, comparison=comparison.to_json())


class _Steps:
    """Note the losses, and say now and then how far a run is."""

    def __init__(self, name: str, screen: TextIO | None) -> None:
        self.losses: list[float] = []
        self.begun = False
        self._name, self._screen, self._told = name, screen, time.monotonic()

    @hookimpl
    def polyhead_start_run(self) -> None:
        """Note that the run could start."""
        self.begun = True

    @hookimpl
    def polyhead_end_step(self, step: StepEnd) -> None:
        """Note the loss."""
        self.losses.append(step.loss)
        if time.monotonic() - self._told > TELL_EVERY:
            self.tell(f"{self._name}: step {step.step}/{step.total_steps}")

    def tell(self, text: str) -> None:
        """Print a line, on the rank that speaks."""
        self._told = time.monotonic()
        if self._screen is not None:
            self._screen.write(f"{text}\n")
