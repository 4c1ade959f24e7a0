"""From a row to an example, and from examples to features: a label, or a number, for a text and perhaps an aspect."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from polyhead.registry import DataError, EncodeSettings, Feature, Row, RowError, TaskSetup, TextExample
from polyhead.registry.toolkit import single_label
from polyhead.registry.toolkit.label_predictions import LabelPrediction
from polyhead.registry.toolkit.labels import label_of, learn_labels, text_of
from polyhead.registry.toolkit.polarity import (
    from_polarity,
    is_number_scale,
    label_scale,
    number_in,
    to_polarity,
    usual_range,
)
from polyhead.registry.toolkit.single_label import SingleLabelOptions
from polyhead.registry.toolkit.text_encoding import encode_texts, mixed_pairs

OUTPUTS = (-1.0, 1.0)
"""What a head of ours that tells numbers gives: polarities."""


@dataclass(frozen=True)
class SentimentOptions(SingleLabelOptions):
    """Settings of the sentiment task."""

    scale: Literal["auto", "labels", "stars", "number"] = "auto"
    """What the labels are: names of polarities or a few whole numbers (``labels``), grades from 1 to 5 (``stars``), or
    numbers to be told by regression (``number``); ``auto``: told from the training data."""
    polarity: Mapping[str, float] = field(default_factory=dict)
    """A polarity from -1 to 1 by label, for names that are not known and instead of the usual ones."""
    ordinal: bool = False
    """Train for the order of the labels: near misses cost less than far ones."""
    range: tuple[float, float] | None = None
    """Scale ``number``: lowest and highest number there can be; none: the usual range that holds the training data."""

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if self.range is not None:
            if self.scale in ("labels", "stars"):
                raise ValueError(f"range goes with scale=number, not with scale={self.scale}")
            if not self.range[0] < self.range[1]:
                raise ValueError(f"range must go from a lower to a higher number, not from {self.range}")
        if self.scale == "number" or self.range is not None:
            for name in ("ordinal", "polarity", "class_weights"):
                if getattr(self, name):
                    raise ValueError(f"{name} goes with labels, not with scale=number")


@dataclass(frozen=True)
class PolarityPrediction(LabelPrediction):
    """A label, and the polarity that is expected under the probabilities: -1 to 1, None where labels have none."""

    polarity: float | None


@dataclass(frozen=True)
class AspectPrediction(PolarityPrediction):
    """What is said of one aspect of a text."""

    aspect: str


@dataclass(frozen=True)
class NumberPrediction:
    """A number on the scale of the training data, and the polarity that it means."""

    id: str
    number: float
    polarity: float | None


@dataclass(frozen=True)
class AspectNumberPrediction(NumberPrediction):
    """The number for one aspect of a text."""

    aspect: str


def to_example(row: Row, row_id: str, options: SentimentOptions) -> TextExample:
    """Read ``text``, ``aspect`` if there is one, and ``label``: a name or a number."""
    aspect = text_of(row, "aspect") if row.get("aspect") else None
    value = row.get("label")
    if isinstance(value, float) and options.scale in ("auto", "number"):
        if not math.isfinite(value):
            raise RowError(f"expected a label or a number, found {value}", column="label")
        label: str | None = str(int(value)) if value.is_integer() else repr(value)
    else:
        label = label_of(row)
    return TextExample(row_id, text_of(row, "text"), aspect, None if label is None else (label,))


def prepare(examples: Sequence[TextExample], options: SentimentOptions) -> TaskSetup:
    """Learn labels, majority and class weights, or the range and the median, from the training examples."""
    labels = learn_labels(examples)
    if options.range is not None or is_number_scale(labels, options.scale):
        return _prepare_numbers(examples, options)
    if label_scale(labels, options.scale, options.polarity).ranks is None and options.ordinal:
        raise DataError(
            "options.ordinal: these labels have no order that is known; say one polarity from -1 to 1 for each, "
            f"no two alike, with options.polarity: {', '.join(labels)}"
        )
    return single_label.prepare(examples, options)


def setup_from_labels(labels: tuple[str, ...], options: SentimentOptions) -> TaskSetup:
    """Take over the labels of a model that others fine-tuned; one with a single output tells a number."""
    if options.scale == "number" or options.range is not None or len(labels) == 1:
        return TaskSetup(options, (), {"range": options.range, "outputs": options.range})
    label_scale(labels, options.scale, options.polarity)
    return TaskSetup(options, labels)


def check_example(example: TextExample, setup: TaskSetup) -> None:
    """Refuse a label that the model does not know, or a number beyond its range."""
    if "range" not in setup.facts:
        single_label.check_example(example, setup)
        return
    span = setup.facts["range"]
    for label in example.labels or ():
        number = number_in(label)
        if number is None:
            raise RowError(f"expected a number, found '{label}'", column="label")
        if span is not None and not span[0] <= number <= span[1]:
            raise RowError(
                f"{label} lies beyond the range from {span[0]:g} to {span[1]:g}; options.range says another",
                column="label",
            )


def encode(examples: Sequence[TextExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise text and aspect; a text longer than a window gives several features with the same label."""
    facts = settings.setup.facts
    if "range" not in facts:
        return single_label.encode(examples, settings)

    def labels_of(example: TextExample) -> Mapping[str, float | Sequence[float]]:
        numbers = [number_in(label) for label in example.labels or ()]
        if not numbers or numbers[0] is None:
            return {}
        if facts["range"] is None:
            return {"labels": numbers[0]}
        return {"labels": from_polarity(to_polarity(numbers[0], facts["range"]), facts["outputs"])}

    return encode_texts(examples, settings, labels_of)


def _prepare_numbers(examples: Sequence[TextExample], options: SentimentOptions) -> TaskSetup:
    for name in ("ordinal", "polarity", "class_weights"):
        if getattr(options, name):
            raise DataError(
                f"options.{name} goes with labels, but these are numbers; options.scale=labels takes them so"
            )
    numbers = []
    for example in examples:
        for label in example.labels or ():
            number = number_in(label)
            if number is None:
                raise DataError(f"options.scale=number: example '{example.id}' has the label '{label}', no number")
            if options.range and not options.range[0] <= number <= options.range[1]:
                raise DataError(f"options.range: example '{example.id}' has the number {label}, which lies beyond it")
            numbers.append(number)
    span = options.range or usual_range(numbers)
    facts = {"range": list(span), "outputs": list(OUTPUTS), "median": median(numbers), **mixed_pairs(examples)}
    return TaskSetup(options, (), facts)
