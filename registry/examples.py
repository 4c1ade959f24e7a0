"""The typed example of each kind of task: what one row means, validated, still text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TextExample:
    """A text, or a pair of texts, and the labels it bears.

    ``labels`` is None where the label is not known (prediction); single-label tasks hold exactly one;
    a multi-label example may hold none (an empty tuple).
    """

    id: str
    text: str
    text_pair: str | None = None
    labels: tuple[str, ...] | None = None
