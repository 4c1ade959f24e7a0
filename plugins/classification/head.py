"""Heads, loss and decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from polyhead.registry import HeadSpec, LabelField, LossSum, TaskSetup, TextExample, Window
from polyhead.registry.toolkit import single_label
from polyhead.registry.toolkit.label_predictions import (
    LabelPrediction,
    LabelSetPrediction,
    labels_above,
    likeliest_label,
)
from polyhead.registry.toolkit.single_label import pooled_head

__all__ = ["count_targets", "decode", "default_head", "label_fields", "loss", "pooled_head"]

if TYPE_CHECKING:
    import torch


def default_head(setup: TaskSetup) -> HeadSpec:
    """Score the labels with the architecture's own sequence-classification head."""
    spec = single_label.default_head(setup)
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
    """Take the likeliest label over all windows; multi-label: every label above the threshold."""
    if setup.options.multi_label:
        return labels_above(example.id, windows, setup, setup.options.threshold)
    return likeliest_label(example.id, windows, setup)
