"""Fine-tune a backbone on a task: one call, from a config to a finished run folder."""

from __future__ import annotations

import platform
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import torch

from polyhead.backbone.checkpoint.disk import write_text
from polyhead.backbone.checkpoint.states import write_state, write_weights_before_start
from polyhead.backbone.checkpoint.store import Checkpoint, choose_checkpoint
from polyhead.backbone.evaluation.report import write_report
from polyhead.backbone.evaluation.scoring import Evaluation
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.parallel.deepspeed_config import deepspeed_config
from polyhead.backbone.parallel.engine import Engine, spread_of, start_engine
from polyhead.backbone.parallel.processes import World, is_lost_contact, join_world, leave_world
from polyhead.backbone.training.feeding import is_lost_worker
from polyhead.backbone.training.interrupts import asked_to_stop, signal_names
from polyhead.backbone.training.loop import Interrupted, LoopResult, Progress, TrainingLoop
from polyhead.backbone.training.observers import CurveLog, EventLog, ScreenProgress
from polyhead.backbone.training.optimizer import make_optimizer
from polyhead.backbone.training.preparation import Prepared, prepare_run
from polyhead.backbone.training.provenance import add_start, changes, provenance, read_starts, sources
from polyhead.backbone.training.run_folder import RunFolder
from polyhead.configs.layouts import Layout, parse_layout
from polyhead.configs.load import dump_config, require_training_data
from polyhead.configs.schema import RunConfig, TrainingConfig
from polyhead.registry import LostProcessError, Registry, RunEnd, RunError, RunStart, RunStatus

Say = Callable[[str], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class RunResult:
    """A finished run."""

    folder: Path
    status: str
    steps: int
    last_loss: float | None
    seconds: float
    evaluation: Evaluation | None
    speaks: bool
    """Whether this process is the one that tells of it (rank 0)."""

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "folder": str(self.folder),
            "status": self.status,
            "steps": self.steps,
            "last_loss": self.last_loss,
            "seconds": round(self.seconds, 1),
            "validation": self.evaluation.to_json() if self.evaluation else None,
        }


def finetune(
    config: RunConfig,
    registry: Registry,
    *,
    resume: bool = False,
    resume_from: str | None = None,
    overwrite: bool = False,
    console: Any = None,
) -> RunResult:
    """Train as the config says, and leave a run folder; every process of a run calls it.

    Args:
        config: The run's settings.
        registry: What plugins bring.
        resume: Go on from the last checkpoint of the run in ``config.output``.
        resume_from: Go on from this checkpoint instead: its step, or its path.
        overwrite: Start anew where a run is already.
        console: A rich console for progress, or None to be silent.

    Raises:
        PolyheadError: A mistake in config, data or backbone, a diverging loss, a lost process.
        Interrupted: SIGINT or SIGTERM came; a checkpoint was written.

    """
    require_training_data(config)
    ds_config = deepspeed_config(config)
    _refuse_missing_log(config.training)
    _refuse_fp16_without_gpu(config.training)
    folder = RunFolder(config.output)
    world = join_world(use_deepspeed=True, save_memory=parse_layout(config.layout).saves_memory)
    try:
        run = _Run(config, registry, world, folder, _speaker(console if world.is_main else None))
        with ExitStack() as watchers:
            if world.is_main and console is not None:
                watchers.enter_context(registry.observing(ScreenProgress(console), "screen"))
            watchers.enter_context(run.naming_the_lost())  # while data are read and stages cut, too
            return run.go(ds_config, resume=resume, resume_from=resume_from, overwrite=overwrite)
    finally:
        leave_world()


class _Run:
    """One training run on this process."""

    def __init__(self, config: RunConfig, registry: Registry, world: World, folder: RunFolder, say: Say) -> None:
        self.config, self.registry, self.world, self.folder, self.say = config, registry, world, folder, say
        self.started = time.monotonic()

    def go(self, ds_config: dict[str, Any], *, resume: bool, resume_from: str | None, overwrite: bool) -> RunResult:
        layout = parse_layout(self.config.layout)
        spread_of(layout, self.world)
        resume = resume or resume_from is not None
        self._together(lambda: self.folder.check(resume=resume, overwrite=overwrite))
        checkpoint = self._together(lambda: self._choose_checkpoint(resume_from)) if resume else None
        if resume and checkpoint is None:
            self.say(f"{self.folder.checkpoints} holds no checkpoint yet: starting from the beginning")
        self._tell_what_is_not_used(layout)
        prepared = prepare_run(self.config, self.registry, self.world, self.say)
        for change in changes(read_starts(self.folder.provenance), self.registry, self.config) if resume else ():
            self.say(f"note: {change}")
        engine = self._start_engine(prepared, ds_config, checkpoint)
        progress = Progress() if checkpoint is None else self._go_on(engine, checkpoint, went_back=bool(resume_from))
        # Only now: a mistake in the data or settings leaves no folder, and no old run deleted.
        self._together(lambda: self.folder.open(resume=resume, overwrite=overwrite))
        if self.world.is_main:
            self.folder.write_config(dump_config(self.config))
            add_start(self.folder.provenance, provenance(self.config, self.registry, step=progress.step))
        with asked_to_stop() as signals, self._observers():
            loop = TrainingLoop(
                self.config,
                prepared,
                engine,
                self.world,
                self.registry,
                self.folder,
                progress=progress,
                stop_asked=lambda: bool(signals),
            )
            result = self._watched(loop, signals)
        run = RunResult(
            self.folder.root,
            result.status,
            result.step,
            result.last_loss,
            time.monotonic() - self.started,
            result.evaluation or self.folder.read_evaluation("validation"),
            self.world.is_main,
        )
        if self.world.is_main:
            self._write_report(run, prepared)
        return run

    def _choose_checkpoint(self, wanted: str | None) -> Checkpoint | None:
        """Return the checkpoint to go on from; what a killed run left half-written is cleared up before."""
        self.folder.put_in_order()
        return choose_checkpoint(self.folder.checkpoints, wanted)

    def _tell_what_is_not_used(self, layout: Layout) -> None:
        """Say which settings are for other layouts: changing a layout is to take one line."""
        if self.config.partition != "auto" and layout.pipeline_stages == 1:
            self.say(f"partition is not used: layout {layout.name} has no pipeline")
        if self.config.offload_folder is not None and layout.offload != "nvme":
            self.say(f"offload_folder is not used: layout {layout.name} keeps nothing on a disk")

    def _start_engine(self, prepared: Prepared, ds_config: dict[str, Any], checkpoint: Checkpoint | None) -> Engine:
        """Hand the model to DeepSpeed, with the checkpoint's weights where there is one."""
        if checkpoint is not None:
            _refuse_other_run(checkpoint, prepared.fingerprint)

        def optimizer_of(stage: Stage) -> torch.optim.Optimizer:
            """Fill the stage that this process holds, cut by now, before DeepSpeed copies its weights."""
            if checkpoint is not None:
                write_weights_before_start(stage, checkpoint.weights())
            return make_optimizer(stage, self.config)

        layout = parse_layout(self.config.layout)
        loss_of, cuts = prepared.loss_of, prepared.cuts
        return start_engine(
            prepared.stage,
            layout,
            self.world,
            loss_of,
            ds_config,
            optimizer_of,
            cuts=cuts,
            loss_by_token=prepared.task.loss_by_token,
        )

    def _go_on(self, engine: Engine, checkpoint: Checkpoint, *, went_back: bool) -> Progress:
        """Give a started engine the checkpoint's state, and return where the run was."""
        write_state(engine, checkpoint.weights(), checkpoint.moments(), checkpoint.step)
        self.say(f"resumed from {checkpoint.path}")
        progress = Progress.from_json(checkpoint.step, checkpoint.progress)
        best_on_disk = self.world.broadcast(self.folder.best_step())
        if went_back and best_on_disk is not None and best_on_disk > checkpoint.step:
            self.say(
                f"{self.folder.model} is of step {best_on_disk}, which is given up: the next evaluation replaces it"
            )
            progress.best_value = progress.best_step = None
        return progress

    def _watched(self, loop: TrainingLoop, signals: list[int]) -> LoopResult:
        """Run the loop and tell everyone how it began and ended."""
        start = RunStart(
            self.folder.root,
            self.config.task,
            self.config.model_dump(mode="json"),
            loop.total_steps,
            loop.progress.step,
            self.world.rank,
            self.world.size,
        )
        self.registry.notify("polyhead_start_run", run=start)
        status: RunStatus = "failed"
        message = ""
        try:
            with self.naming_the_lost():
                result = loop.run()
        except Interrupted:
            status, message = "interrupted", self._interrupted_message(loop.progress.step, signals)
            raise Interrupted(message, signal_number=signals[0] if signals else signal.SIGTERM) from None
        except RunError as error:
            message = str(error)
            raise
        else:
            status = result.status
            return result
        finally:
            if self.world.is_main:
                seconds = time.monotonic() - self.started
                self.registry.notify("polyhead_end_run", run=RunEnd(status, loop.progress.step, seconds, message))

    def _interrupted_message(self, step: int, signals: list[int]) -> str:
        if step == 0:
            return f"stopped by {signal_names(signals)} before the first step; there is nothing to go on from"
        return (
            f"stopped by {signal_names(signals)} after step {step}; a checkpoint was written. "
            f"Go on with: {self._resume_command()}"
        )

    @contextmanager
    def naming_the_lost(self) -> Iterator[None]:
        """Raise an error that says what to do where one inside is what a process sees when another one is gone.

        Raises:
            LostProcessError: Another rank.
            RunError: A process of this rank that made its batches.

        """
        try:
            yield
        except RuntimeError as error:
            if is_lost_worker(error):
                raise RunError(self._lost_worker_message(error)) from error
            if self.world.size == 1 or not is_lost_contact(error):
                raise
            raise LostProcessError(self._lost_message(error)) from error

    def _lost_worker_message(self, error: BaseException) -> str:
        told = str(error).splitlines()[0].strip()
        return (
            f"rank {self.world.rank}: a process that made its batches is gone ({told:.120}); {self._onward()}, "
            "with data.workers=0 if memory is short"
        )

    def _lost_message(self, error: BaseException) -> str:
        time.sleep(0.5)  # let the process that broke off come to its end
        lost = self.world.lost_peers()
        who = (
            ", ".join(f"rank {peer.rank} (process {peer.process} on {peer.host})" for peer in lost)
            or f"another rank (which one cannot be told from this host: {str(error).splitlines()[0]:.120})"
        )
        return f"rank {self.world.rank}: lost {who}; {self._onward()}"

    def _onward(self) -> str:
        """Return what to do after a run broke off."""
        if self.folder.is_run():
            return f"go on from the last checkpoint with: {self._resume_command()}"
        return "nothing was written yet: start it again"

    def _resume_command(self) -> str:
        command = "pretrain" if self.registry.task(self.config.task).pretrains else "finetune"
        return f"polyhead {command} {self.folder.config} --resume" + (
            f" --processes {self.world.size}" if self.world.size > 1 else ""
        )

    @contextmanager
    def _observers(self) -> Iterator[None]:
        """Register the run's own logs on rank 0."""
        if not self.world.is_main:
            yield
            return
        training = self.config.training
        with ExitStack() as stack:
            stack.enter_context(
                self.registry.observing(EventLog(self.folder.events, every=training.log_every), "events")
            )
            if training.log_to:
                curves = CurveLog(self.folder.logs, training.log_to, every=training.log_every)
                stack.enter_context(self.registry.observing(curves, "curves"))
            yield

    def _together(self, action: Callable[[], Result]) -> Result:
        """Return what an action gives on rank 0, where alone it runs; where it goes wrong, every rank ends."""
        found: list[Result] = []
        problem: RunError | None = None
        if self.world.is_main:
            try:
                found = [action()]
            except RunError as error:
                problem = error
        found, problem = self.world.broadcast((found, problem))
        if problem is not None:
            raise problem
        return found[0]

    def _write_report(self, run: RunResult, prepared: Prepared) -> None:
        facts = {
            "title": f"{self.config.task} on {self.config.backbone.name}",
            "task": self.config.task,
            "backbone": self.config.backbone.name,
            "head": self.config.head,
            "layout": f"{self.config.layout}, {self.world.size} process{'' if self.world.size == 1 else 'es'}",
            "precision": self.config.training.precision,
            "training examples": f"{prepared.train.count:,} ({prepared.train.skipped} rows skipped)",
            "steps": f"{run.steps:,} ({run.status})",
            "seconds": f"{run.seconds:.0f}",
            "versions": ", ".join(f"{name} {metadata.version(name)}" for name in REPORTED_VERSIONS),
            "python": platform.python_version(),
            "plugins": ", ".join(sources(read_starts(self.folder.provenance)[-1])),
        }
        write_text(self.folder.report, write_report(facts, [run.evaluation] if run.evaluation else []))


REPORTED_VERSIONS = ("polyhead", "torch", "transformers", "deepspeed")


def _refuse_other_run(checkpoint: Checkpoint, fingerprint: Mapping[str, Any]) -> None:
    before = checkpoint.progress.get("fingerprint", {})
    changed = [key for key, value in fingerprint.items() if before.get(key) != value]
    if changed:
        what = ", ".join(f"{key} (was {before.get(key)!r:.60}, is {fingerprint[key]!r:.60})" for key in changed)
        raise RunError(f"cannot resume {checkpoint.path}: these have changed since: {what}")


def _refuse_missing_log(training: TrainingConfig) -> None:
    if "tensorboard" in training.log_to:
        try:
            metadata.version("tensorboard")
        except metadata.PackageNotFoundError:
            raise RunError(
                "training.log_to: tensorboard is not installed: pip install 'polyhead[tensorboard]', "
                "or say training.log_to=csv"
            ) from None


def _refuse_fp16_without_gpu(training: TrainingConfig) -> None:
    if training.precision == "fp16" and not torch.cuda.is_available():
        raise RunError("training.precision: fp16 needs a CUDA GPU, and there is none here: say fp32, or bf16")


def _speaker(console: Any) -> Say:
    if console is None:
        return lambda _: None
    return lambda text: console.print(text, highlight=False)
