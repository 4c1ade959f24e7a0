"""Who watches a run: the event log, the curves for CSV and TensorBoard, and the progress on the screen.

Each implements the life-cycle hooks that any plugin can.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from polyhead.registry import EvaluationEnd, RunEnd, RunStart, StepEnd, hookimpl

PLAIN_LINE_EVERY = 10.0
"""Seconds between two progress lines where the screen is no terminal."""


MOST_SCORES = 3
"""Scores of an evaluation on the screen; all of them are in the event log."""


class EventLog:
    """Append every event to ``events.jsonl``."""

    def __init__(self, path: Path, *, every: int) -> None:
        self._path, self._every = path, every

    @hookimpl
    def polyhead_start_run(self, run: RunStart) -> None:
        """Write the start; a resumed run goes on in the same file."""
        self._append("start", {**_fields(run), "folder": str(run.folder)})

    @hookimpl
    def polyhead_end_step(self, step: StepEnd) -> None:
        """Write every Nth step."""
        if step.step % self._every == 0 or step.step == step.total_steps:
            self._append("step", _fields(step))

    @hookimpl
    def polyhead_end_evaluation(self, evaluation: EvaluationEnd) -> None:
        """Write the scores."""
        self._append("evaluation", _fields(evaluation))

    @hookimpl
    def polyhead_end_run(self, run: RunEnd) -> None:
        """Write how the run ended."""
        self._append("end", _fields(run))

    def _append(self, event: str, fields: dict[str, Any]) -> None:
        line = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


class CurveLog:
    """Write loss, learning rate and scores to CSV files and TensorBoard, through DeepSpeed's monitor."""

    def __init__(self, folder: Path, targets: Sequence[str], *, every: int) -> None:
        self._monitors = [_monitor(target, folder) for target in targets]
        self._every = every

    @hookimpl
    def polyhead_end_step(self, step: StepEnd) -> None:
        """Write loss, learning rate and gradient norm of every Nth step."""
        if step.step % self._every and step.step != step.total_steps:
            return
        found = {"loss": step.loss, "learning_rate": step.learning_rate, "gradient_norm": step.gradient_norm}
        self._write({f"train/{name}": value for name, value in found.items() if value is not None}, step.step)

    @hookimpl
    def polyhead_end_evaluation(self, evaluation: EvaluationEnd) -> None:
        """Write the scores."""
        if evaluation.step is not None:
            values = {f"{evaluation.split}/{name}": value for name, value in evaluation.values.items()}
            self._write(values, evaluation.step)

    def _write(self, values: dict[str, float], step: int) -> None:
        for monitor in self._monitors:
            monitor.write_events([(name, value, step) for name, value in values.items()])


def _monitor(target: str, folder: Path) -> Any:
    if target == "csv":
        from deepspeed.monitor.csv_monitor import csvMonitor as Monitor
    else:
        from deepspeed.monitor.tensorboard import TensorBoardMonitor as Monitor
    return Monitor(SimpleNamespace(enabled=True, output_path=f"{folder}/", job_name=target))


class ScreenProgress:
    """Show loss, tokens per second and the time left: a bar in a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._last_line = clock()
        self._speed: float | None = None
        self._step_seconds: float | None = None

    @hookimpl
    def polyhead_start_run(self, run: RunStart) -> None:
        """Start the bar where the screen is a terminal."""
        self._last_line = self._clock()
        if not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  {task.fields[speed]} tokens/s  left"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task("", total=run.total_steps, completed=run.first_step, loss="-", speed="-")
        self._bar.start()

    @hookimpl
    def polyhead_end_step(self, step: StepEnd) -> None:
        """Show the step."""
        self._speed = _smoothed(self._speed, step.tokens / max(step.seconds, 1e-9))
        self._step_seconds = _smoothed(self._step_seconds, step.seconds)
        if self._bar is not None:
            self._bar.update(self._task, completed=step.step, loss=f"{step.loss:.4f}", speed=f"{self._speed:,.0f}")
        elif self._clock() - self._last_line >= PLAIN_LINE_EVERY or step.step == step.total_steps:
            self._last_line = self._clock()
            left = self._step_seconds * (step.total_steps - step.step)
            self._console.print(
                f"step {step.step}/{step.total_steps}  epoch {step.epoch:.2f}  loss {step.loss:.4f}  "
                f"{self._speed:,.0f} tokens/s  {left:.0f} s left",
                highlight=False,
            )

    @hookimpl
    def polyhead_end_evaluation(self, evaluation: EvaluationEnd) -> None:
        """Show the most telling scores."""
        values = evaluation.values
        names = [*list(values)[:MOST_SCORES], *(["loss"] if "loss" in values else [])]
        shown = "  ".join(f"{name} {values[name]:.4f}" for name in dict.fromkeys(names))
        where = "" if evaluation.step is None else f" at step {evaluation.step}"
        best = "  (best so far)" if evaluation.best else ""
        self._console.print(f"{evaluation.split}{where}: {shown}{best}", highlight=False, soft_wrap=True)

    @hookimpl
    def polyhead_end_run(self, run: RunEnd) -> None:  # noqa: ARG002 - the hook's form
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _smoothed(old: float | None, new: float) -> float:
    return new if old is None else 0.9 * old + 0.1 * new


def _fields(event: Any) -> dict[str, Any]:
    return {name.name: getattr(event, name.name) for name in dataclasses.fields(event)}
