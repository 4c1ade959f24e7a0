"""Prove that a recipe trains the same however it is split: in one process, and in each layout from the same state.

It is the user's own recipe, with its rows and plugins; `proof_plan` says what is replaced, `proof_worker` trains, and
`proof_comparison` says what counts as equal.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from polyhead.backbone.parallel.launch import launch
from polyhead.backbone.parallel.proof_comparison import Tolerance
from polyhead.backbone.parallel.proof_plan import (
    SINGLE,
    UNCLIPPED,
    Candidate,
    Outcome,
    Plan,
    PlannedRun,
    Request,
    Settings,
)
from polyhead.backbone.parallel.proof_rows import choose_rows
from polyhead.configs.errors import ConfigError
from polyhead.configs.layouts import parse_layout
from polyhead.configs.load import load_config
from polyhead.registry import Registry, RunError

Say = Callable[[str], None]
Verdict = Literal["ok", "FAILED", "refused"]

DEFAULT_LAYOUTS = ("zero1", "zero2", "zero3", "pipe2", "pipe2+zero1")
WORKER = ("-m", "polyhead.backbone.parallel.proof_rank")
LEAST_MOVEMENT = 100.0
"""The weights must have gone this many times as far as they may differ."""
TIMEOUT_MINUTES = "10"
"""After so long without a word from the others, a rank gives up (DeepSpeed's own default is 30)."""


@dataclass(frozen=True)
class LayoutResult:
    """What came of one layout."""

    layout: str
    processes: int
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    clipped: bool = True
    """Whether gradients were clipped, where they are at all."""
    seconds: float | None = None
    loss: float | None = None
    gradient_norm: float | None = None
    weights: float | None = None
    tensor: str | None = None
    score: float | None = None


@dataclass(frozen=True)
class Proof:
    """All layouts against one process."""

    recipe: str
    task: str
    backbone: str
    optimizer: str
    steps: int
    tolerance: Tolerance
    losses: tuple[float, ...]
    """Of the one process."""
    moved: float
    """How far its weights went, in the unit of their tolerance."""
    seconds: float
    layouts: tuple[LayoutResult, ...]
    named: bool
    """Whether the user named the layouts: one that is refused then counts as a failure."""

    @property
    def ok(self) -> bool:
        """Whether the proof has succeeded."""
        return not any(
            result.verdict == "FAILED" or (self.named and result.verdict == "refused") for result in self.layouts
        )

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints; a difference that is no finite number is null, and among the reasons."""
        return {"ok": self.ok, **asdict(self), "layouts": [_finite(asdict(result)) for result in self.layouts]}


def prove(request: Request, registry: Registry, say: Say, program: Sequence[str] = WORKER) -> Proof:
    """Train in one process and in each layout, and compare.

    Args:
        request: What is to be proved.
        registry: What plugins bring.
        say: Told how far it is.
        program: What Python runs in each process.

    Raises:
        PolyheadError: A mistake in recipe, data or layouts, or the recipe does not train in one process.
        ConfigError: The same, found while the settings were read.
        KeyboardInterrupt: SIGINT came; all processes have ended.

    """
    tasks = list(registry.tasks())
    settings, candidates = Settings(request, tasks), read_layouts(request, tasks)
    with TemporaryDirectory(prefix="polyhead-verify-") as temporary:
        folder = _own_folder(request.keep) if request.keep else Path(temporary)
        config = settings.of(parse_layout(SINGLE), folder / SINGLE)
        rows = choose_rows(config, registry, training_rows=request.steps * config.training.batch_size)
        plan = Plan(folder, rows, settings.tolerance(config), keep=request.keep is not None)
        refused = {each.name: reason for each in candidates if (reason := _add(plan, each, settings))}
        outcomes = _run_all(plan, say, program)
        results = tuple(_judged(plan, each, refused, outcomes) for each in candidates)
        first = next((outcomes[name] for name in (SINGLE, UNCLIPPED) if name in outcomes), None)
    if first is None:
        raise RunError("; ".join(f"{result.layout}: {result.reasons[0]}" for result in results))
    return Proof(
        recipe=request.recipe,
        task=config.task,
        backbone=config.backbone.name,
        optimizer=config.training.optimizer,
        steps=request.steps,
        tolerance=plan.tolerance,
        losses=tuple(first.losses),
        moved=first.moved or 0.0,
        seconds=first.seconds,
        layouts=results,
        named=bool(request.layouts),
    )


def read_layouts(request: Request, tasks: Sequence[str]) -> list[Candidate]:
    """Return the wanted layouts, each with its processes.

    Raises:
        ConfigError: There is no such layout.
        RunError: The number of processes makes no sense.

    """
    names = request.layouts
    if not names:
        own = load_config(request.recipe, request.overrides, tasks=tasks).layout
        names = (*DEFAULT_LAYOUTS, *(() if own in (*DEFAULT_LAYOUTS, SINGLE) else (own,)))
    found: dict[str, Candidate] = {}
    for name in names:
        text, at, number = name.partition("@")
        layout = parse_layout(text)
        if not layout.distributed:
            raise RunError(f"--layouts: '{name}' is what the others are compared with; leave it out")
        if at and not (number.isdecimal() and int(number) > 0):
            raise RunError(f"--layouts: '{name}': expected LAYOUT@PROCESSES, as in pipe2+zero1@4")
        candidate = Candidate(layout, int(number) if at else request.processes or max(2, layout.fewest_processes))
        found[candidate.name] = candidate
    return list(found.values())


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values, infinite ones as None: JSON has no word for them."""
    return {key: None if isinstance(value, float) and math.isinf(value) else value for key, value in values.items()}


def _own_folder(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"--keep: {folder} exists and is not empty: name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()


def _add(plan: Plan, candidate: Candidate, settings: Settings) -> str | None:
    """Add a layout to the plan, its reference before it; return why it cannot be, or None."""
    layout, fewest = candidate.layout, candidate.layout.fewest_processes
    if candidate.processes % fewest:
        return f"needs a multiple of {fewest} processes, not {candidate.processes}"
    try:
        clip = settings.clips(layout)
    except ConfigError as error:
        return " ".join(str(error).split())
    reference = SINGLE if clip else UNCLIPPED
    alone = settings.of(parse_layout(SINGLE), plan.folder / reference, clip=clip)
    plan.add(PlannedRun(reference, 1, None), alone)
    config = settings.of(layout, plan.folder / candidate.name, clip=clip)
    plan.add(PlannedRun(candidate.name, candidate.processes, reference), config)
    return None


# ── running ─────────────────────────────────────────────────────────────────────────────────────────────


def _run_all(plan: Plan, say: Say, program: Sequence[str]) -> dict[str, Outcome]:
    """Run the plan, references first; what a lost process kept from running is started anew.

    Raises:
        RunError: A reference does not train, or the processes end before the first run.
        KeyboardInterrupt: SIGINT came.
        SystemExit: Another signal came.

    """
    outcomes: dict[str, Outcome] = {}
    pending = sorted(plan.runs, key=lambda run: (run.reference is not None, run.processes))
    while pending:
        processes = max(run.processes for run in pending)
        said: list[str] = []

        def tell(text: str, said: list[str] = said) -> None:
            said.append(text)
            say(text)

        code = launch(
            [str(plan.write(pending))],
            processes=processes,
            say=tell,
            program=program,
            environment=_environment(processes),
        )
        if code == 128 + signal.SIGINT:
            raise KeyboardInterrupt
        if code == 128 + signal.SIGTERM:
            raise SystemExit(code)
        begun = [run for run in pending if run.started(plan.folder).exists()]
        if not begun:
            raise RunError(f"the processes ended before the first run: {_last_line(plan.folder, processes)}")
        for run in begun:
            outcomes[run.name] = _outcome(plan.folder, run, said)
            if run.reference is None and outcomes[run.name].status != "done":
                raise RunError(f"the recipe does not train in one process: {outcomes[run.name].message}")
        pending = [run for run in pending if run not in begun]
    return outcomes


def _environment(processes: int) -> Mapping[str, str]:
    """Return what all processes run under; on the CPU where there are fewer GPUs than processes."""
    import torch

    found = {"DEEPSPEED_TIMEOUT": os.environ.get("DEEPSPEED_TIMEOUT", TIMEOUT_MINUTES)}
    if torch.cuda.device_count() < processes:
        found |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    return found


def _outcome(folder: Path, run: PlannedRun, said: Sequence[str]) -> Outcome:
    """Return how a run went; where it broke off, with the word of the rank that knows why."""
    found = [Outcome.read(run.outcome(folder, rank)) for rank in range(run.processes)]
    if found[0] is not None and found[0].status != "broke off":
        return found[0]
    causes = [
        f"rank {rank}: {outcome.message}"
        for rank, outcome in enumerate(found)
        if outcome is not None and outcome.message and not outcome.lost_another
    ]
    line = next(iter((*causes, *said)), None) or _last_line(folder, run.processes)
    return Outcome("broke off", " ".join(line.split()))


def _last_line(folder: Path, processes: int) -> str:
    """Return the last thing that any process printed."""
    for rank in range(processes):
        log = folder / f"rank{rank}.log"
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
        spoken = [line.strip() for line in lines if line.strip()]
        if spoken:
            return f"rank {rank}: {spoken[-1]}"
    return "it said nothing"


# ── judging ─────────────────────────────────────────────────────────────────────────────────────────────


def _judged(
    plan: Plan, candidate: Candidate, refused: Mapping[str, str], outcomes: Mapping[str, Outcome]
) -> LayoutResult:
    """Return what came of a layout."""
    name, processes = candidate.layout.name, candidate.processes
    if candidate.name in refused:
        return LayoutResult(name, processes, "refused", (refused[candidate.name],))
    run = next(run for run in plan.runs if run.name == candidate.name)
    outcome, clipped = outcomes[run.name], run.reference != UNCLIPPED
    if outcome.comparison is None:
        verdict: Verdict = "refused" if outcome.status == "refused" else "FAILED"
        return LayoutResult(name, processes, verdict, (" ".join(outcome.message.split()),), clipped)
    found, reasons = outcome.comparison, list(outcome.comparison["problems"])
    moved, least = outcomes[str(run.reference)].moved or 0.0, LEAST_MOVEMENT * plan.tolerance.weights
    if not plan.tolerance.adam and moved < least:
        reasons.append(f"proves nothing: the weights moved by {moved:.0e} only; raise training.learning_rate")
    return LayoutResult(
        name,
        processes,
        "FAILED" if reasons else "ok",
        tuple(reasons),
        clipped,
        outcome.seconds,
        found["loss"],
        found["gradient_norm"],
        found["weights"],
        found["tensor"],
        found["score"],
    )
