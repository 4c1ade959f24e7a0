"""The checks that use a model: saved and loaded it says the same, and evaluation and prediction agree."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import transformers

from polyhead.backbone.checkpoint.model_folder import Companions, extra_files, record_of, write_folder
from polyhead.backbone.checkpoint.states import weights_of
from polyhead.backbone.conformance.checks import Check, CheckError
from polyhead.backbone.conformance.subject import TaskSubject
from polyhead.backbone.conformance.trial import (
    ModelInMemory,
    config_of,
    few_rows,
    model_in_memory,
    trained,
    write_rows,
)
from polyhead.backbone.data.examples import read_examples
from polyhead.backbone.evaluation.evaluate import Request as EvaluationRequest
from polyhead.backbone.evaluation.evaluate import evaluate
from polyhead.backbone.evaluation.scoring import score
from polyhead.backbone.inference.predict import Request as PredictionRequest
from polyhead.backbone.inference.predict import predict
from polyhead.backbone.inference.session import Session, open_session
from polyhead.backbone.model.loading import quiet_transformers
from polyhead.backbone.parallel.engine import Spread
from polyhead.backbone.parallel.processes import World
from polyhead.registry import DataError, Example, Row

TOLERANCE = 1e-5
SHOWN, WRITTEN = 8, 4
"""How many examples are predicted before and after saving, and how many texts are written, which takes long."""
_NOT_JSON = "a prediction is a frozen dataclass of str, int, float, bool, None, tuples and dicts: convert numpy's"


def check_save_and_load(subject: TaskSubject) -> str:
    """Save a model that has learned a little, load it, and compare predictions."""
    model = model_in_memory(subject, subject.first_family)
    model.learn(3)
    model.stage.eval()
    examples = subject.examples[: SHOWN if subject.task.encode_prompts is None else WRITTEN]
    folder = _save(model, subject.folder / "saved")
    config = config_of(subject, subject.first_family, "unused", ())
    loaded = open_session(str(folder), config, subject.registry, World())
    before, after = model.session.run(examples), loaded.run(examples)
    if before.loss is not None and after.loss is not None:
        _compare(before.loss, after.loss, "the loss")
    for example, first, second in zip(examples, before.predictions, after.predictions, strict=True):
        _compare(asdict(first), asdict(second), f"the prediction for '{example.id}'")
    return f"{len(examples)} predictions are the same; {_load_plainly(folder, model)}"


def _save(model: ModelInMemory, folder: Path) -> Path:
    """Write the model folder that a run would leave."""
    session, subject = model.session, model.subject
    settings = session.reader.settings
    record = record_of(
        subject.task.name, subject.head, session.setup, max_length=settings.max_length, stride=settings.stride
    )
    extra = extra_files(subject.task, session.setup, model.backbone, settings.max_length)
    companions = Companions(model.backbone.tokenizer, record, extra)
    write_folder(folder, model.stage, weights_of(model.stage), companions, spread=Spread(0, 1, 0, 1), world=World())
    return folder


def _load_plainly(folder: Path, model: ModelInMemory) -> str:
    """Load a model folder as everybody does, without polyhead."""
    saved = {name for name, _ in weights_of(model.stage)}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = config["architectures"][0]
    with quiet_transformers():
        _, said = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    strange = sorted({*said["missing_keys"]} & saved | {*said["unexpected_keys"]})
    if strange:
        raise CheckError(
            f"{name} of transformers does not take these weights of the model folder: {', '.join(strange)}",
            "let HeadSpec.config leave the shapes of the architecture as they are",
        )
    return f"transformers loads the folder as {name}"


def _compare(before: Any, after: Any, where: str) -> None:
    """Refuse two values that differ."""
    place = difference(before, after, where)
    if place is not None:
        raise CheckError(
            f"{place} after saving and loading",
            "keep what the head needs in parameters, in buffers or in TaskSetup.facts (as JSON: no tuples, no keys "
            "that are numbers)",
        )


def difference(before: Any, after: Any, where: str) -> str | None:
    """Say in words where two predictions differ; None where they are the same but for rounding."""
    if isinstance(before, float | int) and isinstance(after, float | int):
        same = math.isclose(before, after, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return None if same or (math.isnan(before) and math.isnan(after)) else f"{where} is {before!r}, then {after!r}"
    if isinstance(before, Mapping) and isinstance(after, Mapping) and before.keys() == after.keys():
        pairs = ((before[key], after[key], f"{where}, {key},") for key in before)
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple) and len(before) == len(after):
        pairs = ((first, second, f"{where}, entry {at},") for at, (first, second) in enumerate(zip(before, after)))  # noqa: B905
    else:
        return None if before == after else f"{where} is {before!r:.80}, then {after!r:.80}"
    return next((found for pair in pairs if (found := difference(*pair)) is not None), None)


# ── evaluate, then predict ──────────────────────────────────────────────────────────────────────────────


def check_evaluate_then_predict(subject: TaskSubject) -> str:
    """Evaluate and predict the same rows, with and without their answers."""
    run = trained(subject)
    rows, model = _asked_file(subject, "rows"), str(run.config.output)
    evaluation = evaluate(EvaluationRequest(model, run.config, files=(rows,)), subject.registry)
    assert evaluation is not None
    session = open_session(model, run.config, subject.registry, World())
    examples = read_examples(
        subject.registry, session.task, [rows], labels_required=True, options=session.setup.options
    ).examples
    predictions = list(session.predict(examples))
    written = _written(subject, rows, "with answers")
    _check_predictions(examples, predictions, written)
    values = _scores(subject, session, predictions, examples)
    told = {name: value for name, value in evaluation.values.items() if name in values}
    place = difference(told, values, "the score")
    if place is not None:
        raise CheckError(
            f"{place} of the predictions for the same rows",
            "let neither decode nor encode look at labels, and nothing remember what was asked before",
        )
    _check_without_answers(subject, written)
    return f"{evaluation.headline} {evaluation.values[evaluation.headline]:.3g} of {len(examples)} rows both times"


def _asked(subject: TaskSubject) -> list[Row]:
    """Return the rows that are predicted: a few of a task that writes text, which takes long."""
    rows = few_rows(subject.rows)
    return rows if subject.task.encode_prompts is None else rows[:WRITTEN]


def _asked_file(subject: TaskSubject, folder: str, without: Collection[str] = ()) -> Path:
    """Return a file of these rows, without some columns; its name is part of the examples' ids."""
    (subject.folder / folder).mkdir(exist_ok=True)
    rows = [{name: value for name, value in row.items() if name not in without} for row in _asked(subject)]
    return write_rows(subject.folder / folder / "asked.jsonl", rows)


def _scores(
    subject: TaskSubject, session: Session, predictions: Sequence[Any], examples: Sequence[Example]
) -> Mapping[str, float]:
    """Return the values of all metrics; none where they need what only an evaluation knows, as a likelihood does."""
    metrics = subject.registry.metrics(subject.task.name)
    try:
        return score(session.task, metrics, predictions, examples, session.setup)[0]
    except DataError:
        return {}


def _written(subject: TaskSubject, rows: Path, name: str) -> list[dict[str, Any]]:
    """Return what ``polyhead predict`` writes for a file."""
    config = trained(subject).config
    target = subject.folder / f"predictions {name}.jsonl"
    request = PredictionRequest(str(config.output), config, source=str(rows), target=str(target))
    try:
        predict(request, subject.registry)
        lines = target.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line, parse_constant=_refuse_constant) for line in lines]
    except TypeError as error:
        raise CheckError(f"predictions cannot be written as JSON: {error}", _NOT_JSON) from error


def _refuse_constant(name: str) -> None:
    raise CheckError(f"a prediction holds {name}, which is no JSON", "give a finite number, or None")


def _check_predictions(
    examples: Sequence[Example], predictions: Sequence[Any], written: Sequence[Mapping[str, Any]]
) -> None:
    """Refuse predictions that are no records, of other examples, or other ones than ``predict`` writes."""
    for example, prediction, line in zip(examples, predictions, written, strict=True):
        if not is_dataclass(prediction) or isinstance(prediction, type):
            raise CheckError(f"decode gives a {type(prediction).__name__}", _NOT_JSON)
        if getattr(prediction, "id", None) != example.id:
            raise CheckError(
                f"the prediction for '{example.id}' has the id {getattr(prediction, 'id', None)!r}",
                "give a prediction the id of its example",
            )
        place = difference(json.loads(json.dumps(asdict(prediction))), line, f"the prediction for '{example.id}'")
        if place is not None:
            raise CheckError(f"{place} when asked again", "let nothing remember what was asked before; draw no numbers")


def _check_without_answers(subject: TaskSubject, written: Sequence[Mapping[str, Any]]) -> None:
    """Predict the rows without their answers: nothing may come of having seen them."""
    answers = {column.name for column in subject.task.columns if column.required == "training"}
    bare = _written(subject, _asked_file(subject, "rows without answers", answers), "without answers")
    place = difference(list(written), bare, "the predictions: with answers")
    if place is not None:
        raise CheckError(
            f"{place} without answers in the rows", "let neither decode nor encode look at labels when predicting"
        )


USE_CHECKS: tuple[Check[TaskSubject], ...] = (
    Check(
        "save-and-load",
        "a model says the same after it was saved and loaded, and transformers loads its folder",
        check_save_and_load,
    ),
    Check(
        "evaluate-then-predict",
        "predict gives what evaluate scored, with or without answers in the rows, as JSON",
        check_evaluate_then_predict,
    ),
)
