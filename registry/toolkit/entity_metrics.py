"""Score entities by seqeval, as a local `evaluate.Metric` class, with a table for the report.

Import this module inside a function: `evaluate` takes seconds to load.

``f1`` is strict: an entity counts when its IOB2 tags begin with B and type and borders agree. ``f1_conlleval`` is
seqeval's default mode, which does as the script conlleval: a stray I begins an entity too. Averages without ending are
micro; ``macro`` is the mean over the types that occur, in a reference or in a prediction. A score without cases is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import evaluate
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support
from seqeval.metrics.v1 import precision_recall_fscore_support as strict_precision_recall_fscore_support
from seqeval.scheme import IOB2, Entities

from polyhead.registry.contracts import Scores, Table
from polyhead.registry.errors import DataError

_NAMES = ("precision", "recall", "f1")


class EntityMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """Precision, recall and F1 of entities in IOB2 tags, strict and as conlleval counts."""

    def _info(self) -> evaluate.MetricInfo:
        tags = datasets.List(datasets.Value("string"))
        return evaluate.MetricInfo(
            description="Precision, recall and F1 of entities, by seqeval.",
            citation="",
            inputs_description="IOB2 tags of each text.",
            features=datasets.Features({"predictions": tags, "references": tags}),
            reference_urls=["https://github.com/chakki-works/seqeval"],
        )

    def _compute(self, predictions: Sequence[list[str]], references: Sequence[list[str]]) -> dict[str, float]:
        micro = _strict(references, predictions, "micro")
        macro = _strict(references, predictions, "macro") if _types(references, predictions) else (0.0, 0.0, 0.0)
        lenient = precision_recall_fscore_support(references, predictions, average="micro", zero_division=0)
        return {
            **dict(zip(_NAMES, map(float, micro[:3]), strict=True)),
            **{f"{name}_macro": float(value) for name, value in zip(_NAMES, macro[:3], strict=True)},
            **{f"{name}_conlleval": float(value) for name, value in zip(_NAMES, lenient[:3], strict=True)},
        }


def entity_scores(predicted: Sequence[list[str]], expected: Sequence[list[str]]) -> Scores:
    """Score the IOB2 tags of each text against the expected ones.

    Values: ``{precision,recall,f1}`` and the same with ``_macro`` and ``_conlleval``. Table: scores by type. Raises
    `DataError` for an empty input.
    """
    if not expected:
        raise DataError("nothing to score: there are no examples")
    with TemporaryDirectory() as folder:  # evaluate always makes one, by default in the user's home
        values: dict[str, float] = EntityMetric(cache_dir=folder, keep_in_memory=True, seed=0).compute(
            predictions=predicted, references=expected
        )
    types = _types(expected, predicted)
    signature = f"entities|seqeval:{version('seqeval')}|scheme:IOB2|mode:strict+conlleval|zero_division:0"
    return Scores(values, signature, (_table(expected, predicted, types),) if types else ())


def _strict(references: Sequence[list[str]], predictions: Sequence[list[str]], average: str | None) -> Any:
    return strict_precision_recall_fscore_support(
        list(references), list(predictions), average=average, scheme=IOB2, zero_division=0
    )


def _types(references: Sequence[list[str]], predictions: Sequence[list[str]]) -> list[str]:
    """Return the types of which there is an entity, sorted as seqeval does."""
    return sorted(Entities(references, IOB2).unique_tags | Entities(predictions, IOB2).unique_tags)


def _table(references: Sequence[list[str]], predictions: Sequence[list[str]], types: Sequence[str]) -> Table:
    columns = _strict(references, predictions, None)
    rows = tuple(
        (name, float(precision), float(recall), float(f1), int(support))
        for name, precision, recall, f1, support in zip(types, *columns, strict=True)
    )
    return Table("Scores by type", ("type", *_NAMES, "support"), rows)
