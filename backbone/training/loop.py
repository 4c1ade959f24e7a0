"""The training loop: global batches in, optimizer steps, evaluations, checkpoints; the same for every layout."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from polyhead.backbone.checkpoint.model_folder import Companions, TaskRecord, extra_files, record_of, save_model
from polyhead.backbone.checkpoint.store import save_checkpoint
from polyhead.backbone.checkpoint.whole_model import whole_model
from polyhead.backbone.evaluation.scoring import (
    LOSS,
    Evaluation,
    evaluate_loss,
    evaluate_predictions,
    is_better,
    value_of,
)
from polyhead.backbone.inference.running import Forward, run_inference, writer_for
from polyhead.backbone.parallel.engine import Engine
from polyhead.backbone.parallel.processes import World
from polyhead.backbone.training.feeding import StepBatches, Steps
from polyhead.backbone.training.preparation import Prepared
from polyhead.backbone.training.run_folder import RunFolder
from polyhead.backbone.training.schedule import learning_rate
from polyhead.configs.layouts import parse_layout
from polyhead.configs.schema import RunConfig
from polyhead.registry import EvaluationEnd, Registry, RunError, RunStatus, StepEnd

FIRST_LOSSES = 10
"""How many steps tell what the loss was at the start, for the check that it does not diverge."""
SMOOTHING = 0.9


class Interrupted(Exception):  # noqa: N818 - the run was asked to end; it did not go wrong
    """Tell that a signal ended the run after a checkpoint."""

    def __init__(self, message: str = "", *, signal_number: int = 0) -> None:
        super().__init__(message)
        self.code = 128 + signal_number
        """The exit code that a shell would give."""


@dataclass
class Progress:
    """What a run keeps beside weights and optimizer state; part of every checkpoint."""

    step: int = 0
    best_value: float | None = None
    best_step: int | None = None
    bad_evaluations: int = 0
    first_losses: list[float] = field(default_factory=list)
    smoothed_loss: float | None = None

    def add_loss(self, loss: float) -> None:
        """Take note of one step's loss."""
        if len(self.first_losses) < FIRST_LOSSES:
            self.first_losses.append(loss)
        old = self.smoothed_loss
        self.smoothed_loss = loss if old is None else SMOOTHING * old + (1 - SMOOTHING) * loss

    @classmethod
    def from_json(cls, step: int, kept: Mapping[str, Any]) -> Progress:
        """Return what `to_json` gave; what else a checkpoint keeps is passed over."""
        return cls(step=step, **{name: kept[name] for name in cls().to_json()})

    def to_json(self) -> dict[str, Any]:
        """Return everything but the step, which the checkpoint names itself."""
        return {name: value for name, value in vars(self).items() if name != "step"}


@dataclass(frozen=True)
class LoopResult:
    """How the loop ended."""

    status: RunStatus
    step: int
    last_loss: float | None
    evaluation: Evaluation | None
    """The validation scores of the best model."""


class TrainingLoop:
    """Drives an engine over the data until the steps are done, patience ends, or a signal comes."""

    def __init__(
        self,
        config: RunConfig,
        prepared: Prepared,
        engine: Engine,
        world: World,
        registry: Registry,
        folder: RunFolder,
        *,
        progress: Progress,
        stop_asked: Callable[[], bool],
    ) -> None:
        self.config, self.prepared, self.engine, self.world = config, prepared, engine, world
        self.registry, self.folder, self.progress, self._stop_asked = registry, folder, progress, stop_asked
        self.metrics = registry.metrics(config.task)
        self._steps = Steps(config, prepared, engine.spread)
        self.steps_per_epoch = self._steps.steps_per_epoch
        wanted = config.training.max_steps or math.ceil(config.training.epochs * self.steps_per_epoch)
        self.total_steps = max(1, wanted)
        self._writes = prepared.task.encode_prompts is not None and config.training.validate_generation
        scored = prepared.task.encode_prompts is None or self._writes
        self.metric = config.training.metric or (prepared.task.headline(prepared.setup) if scored else LOSS)
        self._setup = prepared.setup
        self._best: Evaluation | None = None

    def run(self) -> LoopResult:
        """Train to the end.

        Raises:
            Interrupted: A signal asked to stop; a checkpoint was written.
            RunError: The loss is no number any more, or grew far beyond its start.

        """
        training, progress = self.config.training, self.progress
        loss = None
        for batches in self._steps.loaded(progress.step, self.total_steps, self.world.device):
            if self._anyone_asked_to_stop():
                if progress.step > 0:
                    self._save_checkpoint()
                raise Interrupted
            loss = self._one_step(batches)
            last = progress.step == self.total_steps
            evaluate = last or self._is_due(training.evaluate_every)
            if evaluate and self._evaluate_and_keep_best():
                self._save_checkpoint()
                return LoopResult("stopped-early", progress.step, loss, self._best)
            if last or (self._is_due(training.checkpoint_every) if training.checkpoint_every else evaluate):
                self._save_checkpoint()
        return LoopResult("completed", progress.step, loss, self._best)

    def _one_step(self, batches: StepBatches) -> float:
        """Train on this rank's part of the next global batch, and return the loss of the whole."""
        config, progress, started = self.config, self.progress, time.perf_counter()
        count, tokens = self._totals(batches)
        rate = learning_rate(config.training, progress.step, self.total_steps)
        # Dropout depends on seed, step and rank alone: a resumed run needs no saved generator.
        torch.manual_seed(_mixed(config.training.seed, progress.step, self.world.rank))
        outcome = self.engine.step(batches.micro_batches, count, rate)
        progress.step += 1
        progress.add_loss(outcome.loss)
        self._refuse_divergence(outcome.loss)
        if self.world.is_main:
            self.registry.notify(
                "polyhead_end_step",
                step=StepEnd(
                    progress.step,
                    self.total_steps,
                    progress.step / self.steps_per_epoch,
                    outcome.loss,
                    rate,
                    outcome.gradient_norm,
                    tokens,
                    time.perf_counter() - started,
                ),
            )
        return outcome.loss

    def _totals(self, batches: StepBatches) -> tuple[float, int]:
        """Return targets and tokens of the whole global batch."""
        found = self.world.sum([batches.targets, float(batches.tokens)])
        count, tokens = (value / self.engine.spread.copies for value in found)
        if count <= 0:
            raise RunError(f"step {self.progress.step + 1}: the batch holds nothing to learn from (0 targets)")
        return count, round(tokens)

    def _anyone_asked_to_stop(self) -> bool:
        return self.world.max(int(self._stop_asked())) > 0

    def _is_due(self, every: int | None) -> bool:
        return self.progress.step % (every or self.steps_per_epoch) == 0

    def _refuse_divergence(self, loss: float) -> None:
        """Stop a run that cannot become good again.

        Raises:
            RunError: Names the step.

        """
        step, factor = self.progress.step, self.config.training.divergence_factor
        advice = "try a lower training.learning_rate, a longer training.warmup, or training.precision=fp32"
        if not math.isfinite(loss):
            raise RunError(f"step {step}: the loss is {loss}; {advice}")
        start = float(np.mean(self.progress.first_losses))
        smoothed = self.progress.smoothed_loss
        if step > FIRST_LOSSES and smoothed is not None and smoothed > factor * start:
            raise RunError(
                f"step {step}: the loss diverges: {smoothed:.4g}, over training.divergence_factor={factor:g} times "
                f"the {start:.4g} of the first steps; {advice}"
            )

    def _evaluate_and_keep_best(self) -> bool:
        """Score the validation data, keep the model if it is the best; return whether patience has run out."""
        progress, patience = self.progress, self.config.training.patience
        if self.prepared.validation is None:
            self._save_model()
            return False
        evaluation = self.evaluate()
        value = value_of(evaluation.values, self.metric)
        best = is_better(self.metrics, self.metric, value, progress.best_value)
        if best:
            progress.best_value, progress.best_step, progress.bad_evaluations = value, progress.step, 0
            self._best = evaluation
            self._save_model()
        else:
            progress.bad_evaluations += 1
        if self.world.is_main:
            split, step, count = evaluation.split, progress.step, evaluation.examples
            told = EvaluationEnd(split, step, evaluation.values, count, best)
            self.registry.notify("polyhead_end_evaluation", evaluation=told)
            if best:
                self.folder.add_metrics("validation", {**evaluation.to_json(), "step": progress.step})
        return patience is not None and progress.bad_evaluations >= patience

    def evaluate(self) -> Evaluation:
        """Score the validation data; every rank gets the same scores."""
        prepared = self.prepared
        split = prepared.validation
        assert split is not None
        task = prepared.task
        reader = prepared.reader(self.config.data.max_tokens)
        with self._model() as model:
            write = writer_for(reader, model.stage, self.world.device) if self._writes else None
            found = run_inference(
                model, reader, split.collator, split.examples, self.world, write=write, calibrate=True
            )
        self._setup = found.setup
        scored: Evaluation | None = None
        if self.world.is_main:
            told: dict[str, Any] = {"split": "validation", "loss": found.loss}
            if found.predictions:
                scored = evaluate_predictions(
                    task, self.metrics, found.predictions, split.examples, found.setup, **told
                )
            else:
                scored = evaluate_loss(task, len(split.examples), **told)
            scored = replace(scored, skipped=split.skipped)
        everywhere = self.world.broadcast(scored)
        assert everywhere is not None
        return everywhere

    @contextmanager
    def _model(self) -> Iterator[Forward]:
        """Give what the validation runs through: the engine, or a whole model where text is written and it has none."""
        layout = parse_layout(self.config.layout)
        if not self._writes or (layout.zero_stage < 3 and layout.fewest_processes == 1):
            yield self.engine
            return
        folder = self.folder.root / ".validating"
        with whole_model(folder, self.engine, self.world, self._companions(), self.registry) as model:
            yield model

    def _save_model(self) -> None:
        save_model(self.folder.model, self.engine, self.world, self._companions())

    def _companions(self) -> Companions:
        """Return what stands beside the weights in a model folder."""
        prepared = self.prepared
        extra = extra_files(prepared.task, self._setup, prepared.backbone, prepared.settings.max_length)
        return Companions(prepared.backbone.tokenizer, self._record(), extra)

    def _record(self) -> TaskRecord:
        config, settings = self.config, self.prepared.settings
        return record_of(config.task, config.head, self._setup, max_length=settings.max_length, stride=settings.stride)

    def _save_checkpoint(self) -> None:
        training = self.config.training
        kept: Mapping[str, Any] = {
            **self.progress.to_json(),
            "fingerprint": self.prepared.fingerprint,
            "record": asdict(self._record()),
        }
        save_checkpoint(
            self.folder.checkpoints,
            self.engine,
            self.world,
            step=self.progress.step,
            progress=kept,
            keep=training.keep_checkpoints,
            keep_best=training.keep_best,
        )


def _mixed(*numbers: int) -> int:
    """Return one seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
