"""From a row to an example, and from examples to features: one label per text."""

from __future__ import annotations

from dataclasses import dataclass

from polyhead.registry.toolkit.single_label import (
    SingleLabelOptions,
    check_example,
    encode,
    prepare,
    setup_from_labels,
    to_example,
)

__all__ = ["SentimentOptions", "check_example", "encode", "prepare", "setup_from_labels", "to_example"]


@dataclass(frozen=True)
class SentimentOptions(SingleLabelOptions):
    """Settings of the sentiment task."""
