"""Heads, loss and decoding. Shapes: B batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from polyhead.registry import HeadSpec, LabelField, LossSum, TaskSetup, Window
from polyhead_readability.data import GradedText

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Readability:
    """The score of a text, on the scale of the training data."""

    id: str
    score: float


def default_head(setup: TaskSetup) -> HeadSpec:  # noqa: ARG001 - the contract's form
    """Tell one number with the architecture's own sequence-classification head."""
    return HeadSpec(
        size=1,
        auto_class="AutoModelForSequenceClassification",
        build=_build_pooled_head,
        config={"problem_type": "regression"},
    )


def decoder_head(setup: TaskSetup) -> HeadSpec:
    """Do the same on a decoder; where it has no such head, from the last token's state."""
    return replace(default_head(setup), build=_build_last_token_head)


def mean_head(setup: TaskSetup) -> HeadSpec:  # noqa: ARG001 - the contract's form
    """Tell one number from the mean of all token states."""
    return HeadSpec(size=1, build=_build_pooled_head)


def _build_pooled_head(config: Any, spec: HeadSpec) -> torch.nn.Module:
    from polyhead.registry.toolkit.pooled_head import build_pooled_head  # torch: kept out of plugin discovery

    return build_pooled_head(config, spec)


def _build_last_token_head(config: Any, spec: HeadSpec) -> torch.nn.Module:
    from polyhead.registry.toolkit.pooled_head import build_last_token_head  # torch: kept out of plugin discovery

    return build_last_token_head(config, spec)


def label_fields(setup: TaskSetup) -> tuple[LabelField, ...]:  # noqa: ARG001 - the contract's form
    """Name the one label tensor: the score, mean 0 and deviation 1."""
    return (LabelField("labels", "float"),)


def count_targets(labels: tuple[torch.Tensor, ...], setup: TaskSetup) -> torch.Tensor:  # noqa: ARG001 - likewise
    """Count the scores."""
    from polyhead.registry.toolkit.losses import number_count  # torch: kept out of plugin discovery

    return number_count(labels[0])


def loss(
    outputs: tuple[torch.Tensor, ...],
    labels: tuple[torch.Tensor, ...],
    setup: TaskSetup,  # noqa: ARG001 - likewise
) -> LossSum:
    """Sum the squared errors."""
    from polyhead.registry.toolkit.losses import squared_error  # torch: kept out of plugin discovery

    return squared_error(outputs[0], labels[0])


def decode(example: GradedText, windows: Sequence[Window], setup: TaskSetup) -> Readability:
    """Take the mean over all windows, each weighted by its tokens."""
    weights = [len(window.feature.inputs["input_ids"]) for window in windows]
    values = [float(window.outputs["logits"][0]) for window in windows]
    mean = sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)
    return Readability(example.id, setup.facts["mean"] + setup.facts["deviation"] * mean)
