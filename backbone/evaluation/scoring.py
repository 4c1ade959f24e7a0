"""Score predictions once, over the whole data set, with the task's metrics, the plugins' and a baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polyhead.registry import Example, Metric, PluginError, RunError, Table, Task, TaskSetup, did_you_mean

LOSS = "loss"
"""The value that the engine itself adds to those of the metrics."""
PERPLEXITY = "perplexity"
"""The exponential of the loss, beside it where a task that writes text is validated without writing."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of one model on one data set."""

    task: str
    split: str
    examples: int
    values: Mapping[str, float]
    signature: str
    tables: tuple[Table, ...]
    headline: str
    baseline_name: str
    baseline: Mapping[str, float]
    skipped: int = 0
    perturbed: Mapping[str, Mapping[str, float]] | None = None
    """Scores under each perturbation, by its name."""

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Evaluation:
        """Return what `to_json` wrote; tables are not kept there."""
        return cls(
            task=found["task"],
            split=found["split"],
            examples=found["examples"],
            values=found["metrics"],
            signature=found["signature"],
            tables=(),
            headline=found["headline"],
            baseline_name=found["baseline"]["name"],
            baseline=found["baseline"]["metrics"],
            skipped=found["skipped"],
            perturbed=found.get("perturbed"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints and ``metrics.json`` keeps."""
        found: dict[str, Any] = {
            "task": self.task,
            "split": self.split,
            "examples": self.examples,
            "skipped": self.skipped,
            "metrics": dict(self.values),
            "headline": self.headline,
            "signature": self.signature,
            "baseline": {"name": self.baseline_name, "metrics": dict(self.baseline)},
        }
        if self.perturbed:
            found["perturbed"] = {name: dict(values) for name, values in self.perturbed.items()}
        return found


def score(
    task: Task[Any, Any],
    metrics: Sequence[Metric[Any, Any]],
    predictions: Sequence[Any],
    examples: Sequence[Example],
    setup: TaskSetup,
) -> tuple[dict[str, float], str, tuple[Table, ...]]:
    """Return values, signature and tables of all metrics together.

    Raises:
        PluginError: Two metrics give a value of the same name.

    """
    values: dict[str, float] = {}
    signatures: list[str] = []
    tables: list[Table] = []
    for metric in metrics:
        scores = metric.compute(predictions, examples, setup)
        clash = values.keys() & scores.values.keys()
        if clash:
            raise PluginError(f"task '{task.name}': two metrics give a value named '{min(clash)}'; one must go")
        values |= scores.values
        signatures.append(scores.signature)
        tables.extend(scores.tables)
    return values, " ".join(signatures), tuple(tables)


def evaluate_predictions(
    task: Task[Any, Any],
    metrics: Sequence[Metric[Any, Any]],
    predictions: Sequence[Any],
    examples: Sequence[Example],
    setup: TaskSetup,
    *,
    split: str,
    loss: float | None = None,
    skipped: int = 0,
) -> Evaluation:
    """Score predictions and the task's baseline on the same examples.

    Raises:
        PluginError: Two metrics give a value of the same name, or one gives a ``loss``.

    """
    values, signature, tables = score(task, metrics, predictions, examples, setup)
    if LOSS in values:
        raise PluginError(f"task '{task.name}': a metric gives a value named '{LOSS}', which is the engine's own")
    baseline, _, _ = score(task, task.metrics, task.baseline(examples, setup), examples, setup)
    return Evaluation(
        task=task.name,
        split=split,
        examples=len(examples),
        values=values if loss is None else {**values, LOSS: loss},
        signature=signature,
        tables=tables,
        headline=task.headline(setup),
        baseline_name=task.baseline_name,
        baseline=baseline,
        skipped=skipped,
    )


def evaluate_loss(task: Task[Any, Any], examples: int, *, split: str, loss: float | None) -> Evaluation:
    """Return the scores of a task that writes text where nothing was written: the loss, and its exponential."""
    values = {} if loss is None else {LOSS: loss, PERPLEXITY: math.exp(min(loss, 700.0))}
    return Evaluation(
        task=task.name,
        split=split,
        examples=examples,
        values=values,
        signature="loss by token, natural logarithm",
        tables=(),
        headline=LOSS,
        baseline_name=task.baseline_name,
        baseline={},
    )


def is_better(metrics: Sequence[Metric[Any, Any]], name: str, new: float, old: float | None) -> bool:
    """Whether a value of a metric beats another (anything beats None)."""
    if old is None:
        return True
    lower = name in (LOSS, PERPLEXITY) or any(name in metric.lower_is_better for metric in metrics)
    return new < old if lower else new > old


def value_of(values: Mapping[str, float], name: str) -> float:
    """Return the metric value of this name.

    Raises:
        RunError: There is none; says which there are.

    """
    if name not in values:
        raise RunError(
            f"training.metric: no value '{name}'.{did_you_mean(name, values)} Available: {', '.join(sorted(values))}"
        )
    return values[name]
