"""What a classifier says of a text: labels with their probabilities, merged over windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from polyhead.registry.contracts import TaskSetup, Window


@dataclass(frozen=True)
class LabelPrediction:
    """The likeliest label of a text, its probability, and the probabilities of all labels."""

    id: str
    label: str
    score: float
    scores: Mapping[str, float]


@dataclass(frozen=True)
class ScopedPrediction(LabelPrediction):
    """A label that says out of scope where the likeliest one, the ``candidate``, is not likely enough.

    ``score`` is the candidate's probability.
    """

    candidate: str


@dataclass(frozen=True)
class LabelSetPrediction:
    """All labels of a text whose probability reaches the threshold, and the probabilities of all labels."""

    id: str
    labels: tuple[str, ...]
    scores: Mapping[str, float]


def likeliest_label(
    example_id: str, windows: Sequence[Window], setup: TaskSetup, temperature: float = 1.0
) -> LabelPrediction:
    """Return the label with the highest softmax of the windows' mean logits, divided by the temperature."""
    import numpy as np  # heavy: kept out of plugin discovery

    logits_L = np.mean([window.outputs["logits"] for window in windows], axis=0, dtype=np.float64) / temperature
    exponents_L = np.exp(logits_L - logits_L.max())
    scores = _by_label(setup, exponents_L / exponents_L.sum())
    label = max(scores, key=scores.__getitem__)
    return LabelPrediction(example_id, label, scores[label], scores)


def labels_above(
    example_id: str, windows: Sequence[Window], setup: TaskSetup, threshold: float | Mapping[str, float]
) -> LabelSetPrediction:
    """Return the labels whose sigmoid of the windows' mean logit reaches the threshold, one for all or by label."""
    import numpy as np  # heavy: kept out of plugin discovery

    logits_L = np.mean([window.outputs["logits"] for window in windows], axis=0, dtype=np.float64)
    scores = _by_label(setup, np.exp(-np.logaddexp(0.0, -logits_L)))
    least = threshold if isinstance(threshold, Mapping) else dict.fromkeys(setup.labels, threshold)
    return LabelSetPrediction(example_id, tuple(name for name, p in scores.items() if p >= least[name]), scores)


def _by_label(setup: TaskSetup, probabilities_L: Iterable[float]) -> dict[str, float]:
    return {label: float(value) for label, value in zip(setup.labels, probabilities_L, strict=True)}
