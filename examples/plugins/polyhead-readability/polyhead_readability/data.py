"""From a row to an example, and from examples to features.

The model learns numbers of mean 0 and deviation 1; the setup remembers what they were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from polyhead.registry import (
    DataError,
    EncodeSettings,
    Feature,
    Row,
    RowError,
    RunError,
    TaskSetup,
    TextExample,
)
from polyhead.registry.toolkit.labels import text_of
from polyhead.registry.toolkit.text_encoding import encode_texts


@dataclass(frozen=True)
class GradedText(TextExample):
    """A text and how readable it is; None where that is not known."""

    score: float | None = None


def to_example(row: Row, row_id: str, options: Any) -> GradedText:  # noqa: ARG001 - the contract's form
    """Read ``text`` and ``score``; a number that is written as text (in CSV, say) counts too."""
    return GradedText(row_id, text_of(row, "text"), score=_number_of(row.get("score")))


def prepare(examples: Sequence[GradedText], options: Any) -> TaskSetup:
    """Learn mean and standard deviation of the scores."""
    scores = [_score_of(example) for example in examples]
    deviation = pstdev(scores)
    if deviation == 0:
        raise DataError(f"the training data have one score only, {scores[0]:g}: there is nothing to learn")
    return TaskSetup(options, (), {"mean": fmean(scores), "deviation": deviation})


def setup_from_labels(labels: tuple[str, ...], options: Any) -> TaskSetup:
    """Take a model that others fine-tuned at its word: its one output is the score."""
    if len(labels) > 1:
        raise RunError(f"the model scores {len(labels)} labels; readability needs one with a single output")
    return TaskSetup(options, (), {"mean": 0.0, "deviation": 1.0})


def check_example(example: GradedText, setup: TaskSetup) -> None:  # noqa: ARG001 - the contract's form
    """Refuse an example without a score to compare with."""
    _score_of(example)


def encode(examples: Sequence[GradedText], settings: EncodeSettings) -> list[Feature]:
    """Tokenise; a text longer than a window gives several features, each with the score of the whole text."""
    facts = settings.setup.facts

    def labels_of(example: TextExample) -> Mapping[str, float]:
        assert isinstance(example, GradedText)
        return {} if example.score is None else {"labels": (example.score - facts["mean"]) / facts["deviation"]}

    return encode_texts(examples, settings, labels_of)


def _score_of(example: GradedText) -> float:
    if example.score is None:
        raise RowError(f"example '{example.id}' has none; it is needed to train and to compare with", column="score")
    return example.score


def _number_of(value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RowError(f"expected a number, found {value!r:.60}", column="score")
    return number
