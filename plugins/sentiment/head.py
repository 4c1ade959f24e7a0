"""Heads, loss and decoding: one label per text, its order minded if wanted, or one number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from polyhead.plugins.sentiment.data import (
    AspectNumberPrediction,
    AspectPrediction,
    NumberPrediction,
    PolarityPrediction,
)
from polyhead.registry import HeadSpec, LabelField, LossSum, TaskSetup, TextExample, Window
from polyhead.registry.toolkit import single_label
from polyhead.registry.toolkit.label_predictions import likeliest_label
from polyhead.registry.toolkit.polarity import from_polarity, label_scale, to_polarity

if TYPE_CHECKING:
    import torch


def default_head(setup: TaskSetup) -> HeadSpec:
    """Score the labels, or tell the number, with the architecture's own sequence-classification head."""
    return _for_this_scale(single_label.default_head(setup), setup)


def decoder_head(setup: TaskSetup) -> HeadSpec:
    """Do so with the decoder's own head; where it has none, from the last token's state."""
    return _for_this_scale(single_label.decoder_head(setup), setup)


def pooled_head(setup: TaskSetup) -> HeadSpec:
    """Do so from the mean of the token states."""
    return _for_this_scale(single_label.pooled_head(setup), setup)


def _for_this_scale(spec: HeadSpec, setup: TaskSetup) -> HeadSpec:
    return replace(spec, size=1, config={"problem_type": "regression"}) if "range" in setup.facts else spec


def label_fields(setup: TaskSetup) -> tuple[LabelField, ...]:
    """Name the one label tensor: the index of the label, or a number."""
    return (LabelField("labels", "float" if "range" in setup.facts else "int"),)


def count_targets(labels: tuple[torch.Tensor, ...], setup: TaskSetup) -> torch.Tensor:
    """Count the labelled texts, each by its class weight."""
    from polyhead.registry.toolkit import losses  # torch: kept out of plugin discovery

    if "range" in setup.facts:
        return losses.number_count(labels[0])
    return losses.cross_entropy_count(labels[0], setup.facts.get("class_weights"))


def loss(outputs: tuple[torch.Tensor, ...], labels: tuple[torch.Tensor, ...], setup: TaskSetup) -> LossSum:
    """Sum the cross-entropy; ordinal: with targets that fall off with the distance; numbers: the squared error."""
    from polyhead.registry.toolkit import losses  # torch: kept out of plugin discovery

    if "range" in setup.facts:
        return losses.squared_error(outputs[0], labels[0])
    weights = setup.facts.get("class_weights")
    ranks = label_scale(setup.labels, setup.options.scale, setup.options.polarity).ranks
    if setup.options.ordinal and ranks is not None:
        return losses.soft_cross_entropy(outputs[0], labels[0], losses.ordinal_targets(ranks), weights)
    return losses.cross_entropy(outputs[0], labels[0], weights)


def decode(example: TextExample, windows: Sequence[Window], setup: TaskSetup) -> PolarityPrediction | NumberPrediction:
    """Take the likeliest label over all windows and the expected polarity, or the number."""
    if "range" in setup.facts:
        return _number(example, windows, setup)
    found = likeliest_label(example.id, windows, setup)
    known = label_scale(setup.labels, setup.options.scale, setup.options.polarity).polarities
    expected = None if known is None else sum(p * at for p, at in zip(found.scores.values(), known, strict=True))
    prediction = PolarityPrediction(found.id, found.label, found.score, found.scores, expected)
    if example.text_pair is None:
        return prediction
    return AspectPrediction(found.id, found.label, found.score, found.scores, expected, example.text_pair)


def _number(example: TextExample, windows: Sequence[Window], setup: TaskSetup) -> NumberPrediction:
    """Return the mean of the windows' numbers, held to the range where one is known."""
    number = sum(float(window.outputs["logits"][0]) for window in windows) / len(windows)
    span, outputs = setup.facts["range"], setup.facts["outputs"]
    polarity = None
    if span is not None:
        polarity = min(1.0, max(-1.0, to_polarity(number, outputs)))
        number = from_polarity(polarity, span)
    found = NumberPrediction(example.id, number, polarity)
    return found if example.text_pair is None else AspectNumberPrediction(**asdict(found), aspect=example.text_pair)
