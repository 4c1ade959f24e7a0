"""Heads, loss and decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from polyhead.registry import HeadSpec, LabelField, LossSum, TaskSetup, TextExample, Window
from polyhead.registry.toolkit import single_label
from polyhead.registry.toolkit.label_predictions import (
    LabelPrediction,
    LabelSetPrediction,
    ScopedPrediction,
    labels_above,
    likeliest_label,
)
from polyhead.registry.toolkit.labels import check_known
from polyhead.registry.toolkit.single_label import pooled_head

__all__ = ["count_targets", "decode", "decoder_head", "default_head", "label_fields", "loss", "pooled_head"]

if TYPE_CHECKING:
    import torch


def default_head(setup: TaskSetup) -> HeadSpec:
    """Score the labels with the architecture's own sequence-classification head."""
    return _for_this_problem(single_label.default_head(setup), setup)


def decoder_head(setup: TaskSetup) -> HeadSpec:
    """Score the labels with the decoder's own head; where it has none, from the last token's state."""
    return _for_this_problem(single_label.decoder_head(setup), setup)


def _for_this_problem(spec: HeadSpec, setup: TaskSetup) -> HeadSpec:
    return replace(spec, config={"problem_type": "multi_label_classification"}) if setup.options.multi_label else spec


def label_fields(setup: TaskSetup) -> tuple[LabelField, ...]:
    """Name the one label tensor: the index of the label; multi-label: 0 or 1 for every label."""
    return (LabelField("labels", "float", "vector") if setup.options.multi_label else LabelField("labels"),)


def count_targets(labels: tuple[torch.Tensor, ...], setup: TaskSetup) -> torch.Tensor:
    """Count the labelled texts, each by its class weight; multi-label: every label of every text."""
    from polyhead.registry.toolkit import losses  # torch: kept out of plugin discovery

    if setup.options.multi_label:
        return losses.binary_cross_entropy_count(labels[0])
    return losses.cross_entropy_count(labels[0], setup.facts.get("class_weights"))


def loss(outputs: tuple[torch.Tensor, ...], labels: tuple[torch.Tensor, ...], setup: TaskSetup) -> LossSum:
    """Sum the cross-entropy; multi-label: the binary cross-entropy of every label."""
    from polyhead.registry.toolkit import losses  # torch: kept out of plugin discovery

    of = losses.binary_cross_entropy if setup.options.multi_label else losses.cross_entropy
    return of(outputs[0], labels[0], setup.facts.get("class_weights"))


def decode(example: TextExample, windows: Sequence[Window], setup: TaskSetup) -> LabelPrediction | LabelSetPrediction:
    """Take the likeliest label over all windows, or out of scope; multi-label: every label above its threshold."""
    options, facts = setup.options, setup.facts
    if options.multi_label:
        return labels_above(example.id, windows, setup, _thresholds(setup))
    found = likeliest_label(example.id, windows, setup, facts.get("temperature", 1.0))
    if options.reject is None:
        return found
    accepted = found.score >= facts.get("reject_below", 0.0)  # nothing is rejected before the first calibration
    label = found.label if accepted else options.out_of_scope
    return ScopedPrediction(found.id, label, found.score, found.scores, found.label)


def _thresholds(setup: TaskSetup) -> float | Mapping[str, float]:
    wanted = setup.options.threshold
    if isinstance(wanted, Mapping):
        check_known("options.threshold", wanted, setup.labels)
    elif not isinstance(wanted, str):
        return float(wanted)
    given = wanted if isinstance(wanted, Mapping) else setup.facts.get("thresholds", {})
    return {label: float(given.get(label, 0.5)) for label in setup.labels}
