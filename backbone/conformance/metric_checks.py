"""Whether a task's metrics, and those that plugins add, say what they claim to say."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from polyhead.backbone.conformance.answers import AnsweredTask
from polyhead.backbone.conformance.checks import Check, CheckError, NotApplicable
from polyhead.backbone.evaluation.scoring import LOSS, is_better, score
from polyhead.registry import DataError, Metric, Scores
from polyhead.registry.discovery import describe

TOLERANCE = 1e-6
"""Relative."""
SHUFFLE_SEED = 7


def check_metric_values(answered: AnsweredTask) -> str:
    """Score some answers, and read what the metrics give."""
    subject = answered.subject
    predictions, examples = _mixed(answered)
    names: dict[str, str] = {}
    for metric in _metrics(answered):
        scores = _computed(answered, metric, predictions, examples)
        if not isinstance(scores, Scores):
            raise CheckError(f"metric '{metric.name}' gives a {type(scores).__name__}", "let it return Scores")
        if not scores.signature.strip():
            raise CheckError(
                f"metric '{metric.name}' has no signature",
                "say in Scores.signature what was computed: the metric, its library and version, its settings",
            )
        _check_finite(metric, scores.values, "of these answers")
        for name in scores.values:
            if name in names or name == LOSS:
                raise CheckError(
                    f"metric '{metric.name}' gives a value '{name}', as {names.get(name, 'the engine itself')} does",
                    "give it another name",
                )
            names[name] = f"metric '{metric.name}'"
    headline = subject.task.headline(subject.setup)
    if headline not in names:
        raise CheckError(
            f"the headline is '{headline}', and the metrics give {', '.join(sorted(names))}",
            "let Task.headline name one of the values of its metrics",
        )
    return f"{len(names)} values, headline {headline}"


def _metrics(answered: AnsweredTask) -> Sequence[Metric[Any, Any]]:
    subject = answered.subject
    return subject.registry.metrics(subject.task.name)


def _computed(
    answered: AnsweredTask, metric: Metric[Any, Any], predictions: Sequence[Any], examples: Sequence[Any]
) -> Scores:
    return metric.compute(predictions, examples, answered.subject.setup)


def _check_finite(metric: Metric[Any, Any], values: Mapping[str, float], of: str) -> None:
    for name, value in values.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise CheckError(
                f"metric '{metric.name}' gives {value!r} for '{name}' {of}",
                "give numbers (float(x) of a numpy number); leave a value out where it is not defined",
            )


def check_metric_empty(answered: AnsweredTask) -> str:
    """Score nothing at all."""
    seen = []
    for metric in _metrics(answered):
        try:
            scores = _computed(answered, metric, [], [])
        except DataError as error:
            seen.append(f"{metric.name}: refused ({error})")
            continue
        except Exception as error:
            raise CheckError(
                f"metric '{metric.name}' crashes where there is nothing to score: {describe(error)}",
                'raise DataError("nothing to score: there are no examples") in it, or give values that are numbers: a '
                "process may have no examples of its own",
            ) from error
        _check_finite(metric, scores.values, "of nothing")
        seen.append(f"{metric.name}: {dict(scores.values)!r:.60}")
    return "; ".join(seen)


def check_right_and_wrong(answered: AnsweredTask) -> str:
    """Compare the headline of right answers with that of answers to other examples."""
    subject, found = answered.subject, answered.answers
    if found.wrong is None:
        raise NotApplicable("all examples have the same answer, as far as labels tell: none is wrong for another")
    name = subject.task.headline(subject.setup)
    task, metrics = subject.task, _metrics(answered)
    right, _, _ = score(task, metrics, found.right, found.examples, subject.setup)
    wrong, _, _ = score(task, metrics, found.wrong, found.examples, subject.setup)
    if not is_better(metrics, name, right[name], wrong[name]):
        raise CheckError(
            f"'{name}' is {right[name]:g} where every answer is right and {wrong[name]:g} where each is another's",
            "name the value in Metric.lower_is_better if lower is better; else see that predictions are compared with "
            "their own examples",
        )
    return f"{name}: {right[name]:g} all right, {wrong[name]:g} all wrong"


def check_order(answered: AnsweredTask) -> str:
    """Score the same answers in another order."""
    predictions, examples = _mixed(answered)
    order = list(range(len(examples)))
    random.Random(SHUFFLE_SEED).shuffle(order)  # noqa: S311 - an order, no secret
    for metric in _metrics(answered):
        before = _computed(answered, metric, predictions, examples).values
        after = _computed(answered, metric, [predictions[at] for at in order], [examples[at] for at in order]).values
        _check_same(
            metric,
            before,
            after,
            ("in the order of the examples", "in another"),
            "let no value depend on the order: processes share examples out, and gather them again",
        )
    return f"{len(order)} answers in another order"


def check_reference(answered: AnsweredTask) -> str:
    """Compare each metric with what it says it equals."""
    predictions, examples = _mixed(answered)
    seen = []
    for metric in _metrics(answered):
        if metric.reference is None:
            continue
        wanted = metric.reference(predictions, examples, answered.subject.setup)
        if not wanted:
            raise CheckError(f"the reference of metric '{metric.name}' gives nothing", "let it return some values")
        found = _computed(answered, metric, predictions, examples).values
        _check_same(
            metric,
            {name: found.get(name, math.nan) for name in wanted},
            wanted,
            ("by the metric", "by its reference"),
            "see which settings differ: the averaging, the handling of what is absent, percent or share",
        )
        seen.append(f"{metric.name}: {', '.join(sorted(wanted))}")
    if not seen:
        raise NotApplicable("no metric has a reference: Metric.reference would say what it must equal")
    return "; ".join(seen)


def _mixed(answered: AnsweredTask) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return answers that are right and wrong by turns, and their examples; the baseline's where none can be told."""
    try:
        found = answered.answers
    except NotApplicable:
        return _of_the_baseline(answered)
    wrong = found.right if found.wrong is None else found.wrong
    pairs = zip(found.right, wrong, strict=True)
    return [bad if at % 3 == 1 else good for at, (good, bad) in enumerate(pairs)], found.examples


def _of_the_baseline(answered: AnsweredTask) -> tuple[Sequence[Any], Sequence[Any]]:
    subject = answered.subject
    return subject.task.baseline(subject.examples, subject.setup), subject.examples


def _check_same(
    metric: Metric[Any, Any],
    first: Mapping[str, float],
    second: Mapping[str, float],
    ways: tuple[str, str],
    remedy: str,
) -> None:
    for name in sorted({*first, *second}):
        a, b = first.get(name, math.nan), second.get(name, math.nan)
        if not math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            raise CheckError(f"'{name}' of metric '{metric.name}' is {a!r} {ways[0]} and {b!r} {ways[1]}", remedy)


METRIC_CHECKS: tuple[Check[AnsweredTask], ...] = (
    Check("metric-values", "metrics give numbers under names of their own, with a signature", check_metric_values),
    Check("metric-empty", "nothing to score: DataError, or numbers", check_metric_empty),
    Check("metric-right-and-wrong", "right answers score better than wrong ones", check_right_and_wrong),
    Check("metric-order", "no value depends on the order of the examples", check_order),
    Check("metric-reference", "a metric equals the reference that it names", check_reference),
)
