"""Evaluate a trained model on a file: scores, baseline, and how they hold under perturbations."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from polyhead.backbone.data.examples import read_examples
from polyhead.backbone.evaluation.report import replace_section
from polyhead.backbone.evaluation.scoring import Evaluation, evaluate_predictions, score
from polyhead.backbone.inference.session import Session, open_session
from polyhead.backbone.parallel.processes import join_world, leave_world
from polyhead.backbone.training.reading import read_training_data
from polyhead.backbone.training.run_folder import RunFolder
from polyhead.configs.schema import RunConfig
from polyhead.registry import DataError, EvaluationEnd, Example, Registry, RunError, unknown_name

SPLITS = ("test", "validation", "train")


@dataclass(frozen=True)
class Request:
    """What is to be evaluated."""

    model: str
    """A run folder, a model folder, or a backbone."""
    config: RunConfig
    split: str | None = None
    """``test``, ``validation`` or ``train`` of the config; None: test, else validation. A run without a validation
    file has held rows of its training data out."""
    files: tuple[Path, ...] = ()
    """Files to evaluate on instead of the config's."""
    perturbations: tuple[str, ...] = ()
    run: RunFolder | None = None
    """The run folder to write the scores of its own splits into."""


def evaluate(request: Request, registry: Registry, console: Console | None = None) -> Evaluation | None:
    """Return the scores on rank 0, None on other ranks.

    Raises:
        PolyheadError: Model, file or a name is wrong.

    """
    known = registry.perturbations(request.config.task)
    for name in request.perturbations:
        if name not in known:
            raise unknown_name("perturbation", name, known)
    split = _split_of(request)
    world = join_world(use_deepspeed=False)
    try:
        session = open_session(request.model, request.config, registry, world, console if world.is_main else None)
        examples, skipped = _read(request, session, split)
        found = session.run(examples, cache=request.config.data.cache)
        perturbed = {
            name: _perturbed(session, examples, name, request.config.training.seed) for name in request.perturbations
        }
    finally:
        leave_world()
    if not world.is_main:
        return None
    metrics = registry.metrics(session.task.name)
    evaluation = evaluate_predictions(
        session.task,
        metrics,
        found.predictions,
        examples,
        session.setup,
        split=split,
        loss=found.loss,
        skipped=skipped,
    )
    scored = {
        name: score(session.task, metrics, answers, examples, session.setup)[0] for name, answers in perturbed.items()
    }
    evaluation = replace(evaluation, perturbed=scored or None)
    registry.notify(
        "polyhead_end_evaluation",
        evaluation=EvaluationEnd(split, None, evaluation.values, evaluation.examples),
    )
    if request.run is not None and not request.files:
        _keep(request.run, evaluation)
    return evaluation


def _split_of(request: Request) -> str:
    """Return the name under which the scores are told.

    Raises:
        RunError: The config names no data of this split.

    """
    if request.files:
        return request.split or request.files[0].name
    data = request.config.data
    held_out = request.run is not None and bool(data.train) and data.validation_fraction > 0
    given = {"test": bool(data.test), "validation": bool(data.validation) or held_out, "train": bool(data.train)}
    split = request.split or next((name for name in ("test", "validation") if given[name]), "test")
    if split not in given:
        raise unknown_name("split", split, given)
    if not given[split]:
        others = [name for name in SPLITS if given[name]]
        raise RunError(
            f"data.{split} is not set ({', '.join(f'data.{name}' for name in others) or 'no data'} is): "
            "say --data FILE" + (f" or --split {others[0]}" if others else "")
        )
    return split


def _read(request: Request, session: Session, split: str) -> tuple[tuple[Example, ...], int]:
    """Return the examples of a split, and how many rows were skipped."""
    config = request.config
    files = request.files or getattr(config.data, split)
    if not files:
        return _read_held_out(config, session)
    found = read_examples(
        session.registry,
        session.task,
        files,
        labels_required=True,
        columns=config.data.columns,
        options=session.setup.options,
        format=config.data.format,
        encoding=config.data.encoding,
        on_error=config.data.on_error,
        setup=session.setup,
        unique=config.data.unique and not request.files and split != "test",
    )
    return found.examples, len(found.skipped)


def _read_held_out(config: RunConfig, session: Session) -> tuple[tuple[Example, ...], int]:
    """Return the training rows that the run held out for validation: the seed tells which."""
    found = read_training_data(config, session.registry, session.task, session.setup.options)
    if not found.held_out:
        raise DataError("the run held no row out for validation: say --data FILE or --split train")
    return found.held_out, found.skipped


def _perturbed(session: Session, examples: Sequence[Example], name: str, seed: int) -> list[Any]:
    change = session.registry.perturbations(session.task.name)[name]
    draw = random.Random(seed)  # noqa: S311 - no secret: the same changes every time
    return session.run([change.apply(example, draw) for example in examples]).predictions


def _keep(run: RunFolder, evaluation: Evaluation) -> None:
    """Write the scores into the run's metrics and report."""
    run.add_metrics(evaluation.split, evaluation.to_json())
    if run.report.is_file():
        text = run.report.read_text(encoding="utf-8")
        run.report.write_text(replace_section(text, evaluation), encoding="utf-8")
