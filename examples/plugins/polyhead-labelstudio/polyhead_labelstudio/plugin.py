"""Register the reader ``label-studio``, and the metric ``bertscore`` for the tasks that write texts."""

from __future__ import annotations

from functools import partial
from typing import Any

from polyhead.registry import Metric, Reader, hookimpl
from polyhead_labelstudio import bertscore, export
from polyhead_labelstudio.written_pairs import PAIRS_OF

polyhead_api_version = 1

READER = Reader(
    name="label-studio",
    summary="Label Studio's JSON export: choices become labels, marked spans become entities",
    read=export.read,
    write_example=export.write_example,
)


@hookimpl
def polyhead_register_readers() -> list[Reader]:
    """Add the file format."""
    return [READER]


@hookimpl
def polyhead_register_metrics(task: str) -> list[Metric[Any, Any]]:
    """Add BERTScore to the tasks that write texts."""
    if task not in PAIRS_OF:
        return []
    pairs_of = PAIRS_OF[task]
    return [
        Metric(
            "bertscore",
            partial(bertscore.score, pairs_of),
            lower_is_better=frozenset({"bertscore_unknown"}),
            reference=partial(bertscore.reference, pairs_of),
            perfect=dict.fromkeys(("bertscore_precision", "bertscore_recall", "bertscore_f1"), 1.0),
        )
    ]
