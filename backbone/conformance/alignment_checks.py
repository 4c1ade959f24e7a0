"""Whether labels stand where they belong: what a perfect model gives must be decoded and scored as perfect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from polyhead.backbone.conformance.answers import (
    SURE,
    AnsweredTask,
    Answers,
    answers,
    collator_for_view,
)
from polyhead.backbone.conformance.checks import Check, CheckError, NotApplicable
from polyhead.backbone.conformance.subject import TaskSubject, View
from polyhead.backbone.data.batching import IGNORED_LABEL
from polyhead.backbone.evaluation.scoring import score, value_of
from polyhead.registry import Feature, LabelField, PolyheadError

TOLERANCE = 1e-6
TOLERANCE_OF_NUMBERS = 1e-3
"""Where labels are numbers: a model's outputs are rounded to 32 bits, and what was equal is ranked anew."""
WRITERS = ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM")
"""Heads of ``transformers`` that give at each position the token that comes next."""
FEW = 4
FEW_EXAMPLES = 12
"""How many are tried on families beyond the first: the tokens are the same, for most tasks."""
SHIFTED = {1: "to the left", -1: "to the right"}
"""Where labels stand that are right again once they are moved so many tokens to the right."""


# ── the round trip ──────────────────────────────────────────────────────────────────────────────────────


def check_label_alignment(answered: AnsweredTask) -> str:
    """Decode and score what a perfect model gives, for every family."""
    subject, seen = answered.subject, []
    for family, view in subject.views.items():
        found = answered.answers if family == subject.first_family else answers(subject, view, FEW_EXAMPLES)
        name, value, wanted = _headline(subject, found)
        if not _is_perfect(value, wanted, _tolerance(subject)):
            raise _misaligned(subject, view, found, f"{name} is {value:.6g} where it must be {_told(wanted)}")
        seen.append(f"{family}: {name} {value:g}")
    return f"{', '.join(seen)} of a perfect model on {len(answered.answers.examples)} examples"


def _headline(subject: TaskSubject, found: Answers) -> tuple[str, float, Sequence[float]]:
    """Return the headline's name, its value for right answers, and what it may be for these."""
    task, setup = subject.task, subject.setup
    name = task.headline(setup)
    values, _, _ = score(task, task.metrics, found.right, found.examples, setup)
    if name not in values:
        raise CheckError(
            f"the headline is '{name}', and the metrics give {', '.join(sorted(values))}",
            "let Task.headline name one of the values of its metrics",
        )
    for metric in task.metrics:
        if name in metric.perfect:
            return name, value_of(values, name), (metric.perfect[name],)
    lower = any(name in metric.lower_is_better for metric in task.metrics)
    return name, value_of(values, name), (0.0,) if lower else (1.0, 100.0)


def _is_perfect(value: float, wanted: Sequence[float], tolerance: float = TOLERANCE) -> bool:
    return any(math.isclose(value, perfect, rel_tol=tolerance, abs_tol=tolerance) for perfect in wanted)


def _tolerance(subject: TaskSubject) -> float:
    numbers = all(field.dtype == "float" for field in subject.task.label_fields(subject.setup))
    return TOLERANCE_OF_NUMBERS if numbers else TOLERANCE


def _told(wanted: Sequence[float]) -> str:
    return " or ".join(f"{value:g}" for value in wanted)


def _misaligned(subject: TaskSubject, view: View, found: Answers, problem: str) -> CheckError:
    """Return the error that says where the labels stand instead, or which example comes out wrong first."""
    what = (
        f"{view.family}: the labels of encode, decoded as if a perfect model gave them, are not the answers: {problem}"
    )
    for by, where in SHIFTED.items():
        if _is_right_when_moved(subject, view, by):
            return CheckError(
                f"{what}. All is right when the labels are moved by {by:+d} token: they stand one token {where}",
                "in encode, give label t to token t of input_ids, special tokens included (they get -100)",
            )
    first = _first_wrong(subject, found)
    shown = "" if first is None else f". The first one: {found.examples[first]!r:.200} → {found.right[first]!r:.200}"
    return CheckError(
        what + shown,
        "see that encode, decode and the metric mean the same by a label: its index, its token, its characters in the "
        "original text. Where the value of a perfect model is another, say so in Metric.perfect; where its outputs "
        "are others, in Task.perfect_outputs",
    )


def _first_wrong(subject: TaskSubject, found: Answers) -> int | None:
    """Return the first example that scores worse than perfect by itself, where a metric can score one alone."""
    for at, (example, prediction) in enumerate(zip(found.examples, found.right, strict=True)):
        try:
            _, value, wanted = _headline(subject, Answers([example], [prediction], None))
        except (PolyheadError, ArithmeticError, ValueError):
            continue  # nothing can be said of one example: no correlation, no average
        if not math.isnan(value) and not _is_perfect(value, wanted):
            return at
    return None


def _is_right_when_moved(subject: TaskSubject, view: View, by: int) -> bool:
    """Whether a perfect model is scored as perfect once its labels are moved by some tokens."""
    fields = {field.name: field for field in subject.task.label_fields(subject.setup)}
    per_token = any(output.per == "token" for output in view.spec.outputs)
    if subject.task.encode_prompts is not None or not per_token:
        return False
    moved = [
        replace(feature, labels={name: _moved(value, fields[name], by) for name, value in feature.labels.items()})
        for feature in view.features
    ]
    try:
        _, value, wanted = _headline(subject, answers(subject, replace(view, features=moved)))
    except (CheckError, NotApplicable, ArithmeticError, LookupError, ValueError):
        return False  # labels that were right before fit nothing once they are moved
    return _is_perfect(value, wanted)


def _moved(value: Any, field: LabelField, by: int) -> Any:
    if field.shape in ("tokens", "targets"):
        return np.roll(np.asarray(value), by).tolist()
    is_place = field.shape == "scalar" and field.dtype == "int" and value != IGNORED_LABEL
    return max(0, int(value) + by) if is_place else value


# ── the next token ──────────────────────────────────────────────────────────────────────────────────────


def check_next_token(answered: AnsweredTask) -> str:
    """Give the loss what models would say that foretell the next token, the one read, and the one after the next."""
    subject, seen = answered.subject, []
    for family, view in subject.views.items():
        if view.spec.auto_class not in WRITERS:
            continue
        losses = {ahead: _loss_of_seer(subject, view, ahead) for ahead in (0, 1, 2)}
        best = min(losses, key=lambda ahead: losses[ahead])
        if best != 1:
            where = "the token that is read at its position" if best == 0 else "the token after the next"
            raise CheckError(
                f"{family}: the loss is lowest for a model that foretells {where}: the labels are shifted by one token",
                "let the label of position t be token t + 1 of input_ids (-100 at the last one); on encoder-decoders "
                "decoder_input_ids begins with settings.decoder_start, so that the label of position t is token t of "
                "the target (registry.toolkit.text_to_text does both)",
            )
        seen.append(family)
    if not seen:
        raise NotApplicable("no head of the task foretells tokens")
    return f"{', '.join(seen)}: labels are the next tokens"


def _loss_of_seer(subject: TaskSubject, view: View, ahead: int) -> float:
    """Return the loss of a model that gives at each position the token so many places further on, sure of it."""
    collator = collator_for_view(subject, view)
    size = max(view.spec.size, len(view.settings.tokenizer))
    total = 0.0
    for at in _longest(view.features):
        feature = view.features[at]
        read = feature.inputs.get("decoder_input_ids", feature.inputs["input_ids"])
        logits_1TV = torch.zeros(1, len(read), size)
        for position, token in enumerate(read[ahead:]):
            logits_1TV[0, position, int(token)] = SURE
        labels = collator.collate((at,), with_labels=True).labels
        total += float(subject.task.loss((logits_1TV,), labels, subject.setup).total)
    return total


def _longest(features: Sequence[Feature]) -> list[int]:
    """Return the places of the few features with most targets."""
    counts = [sum(len(v) for v in f.labels.values() if isinstance(v, Sequence)) for f in features]
    return sorted(range(len(features)), key=lambda at: -counts[at])[:FEW]


ALIGNMENT_CHECKS: tuple[Check[AnsweredTask], ...] = (
    Check("label-alignment", "what a perfect model gives is decoded and scored as perfect", check_label_alignment),
    Check("next-token", "the labels of a model that writes are the tokens that come next", check_next_token),
)
