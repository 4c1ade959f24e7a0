"""Which of two labels means yes: told by its name, or by the user."""

from __future__ import annotations

from collections.abc import Sequence

from polyhead.registry.errors import DataError
from polyhead.registry.names import did_you_mean

POSITIVE_NAMES = (
    "1",
    "true",
    "yes",
    "positive",
    "paraphrase",
    "duplicate",
    "similar",
    "same",
    "equivalent",
    "label_1",
    "相似",
    "是",
)


def known_positive(labels: Sequence[str]) -> str | None:
    """Return the label whose name says yes, in any case of letters; None where none, or more than one, does."""
    known = [label for label in labels if label.lower() in POSITIVE_NAMES]
    return known[0] if len(known) == 1 else None


def negative_and_positive(found: Sequence[str], wanted: str | None) -> tuple[str, str]:
    """Return the two labels of some examples, the positive one last.

    Args:
        found: The label of each example.
        wanted: The positive label, where the user says it (``options.positive_label``).

    Raises:
        DataError: There are not two labels, or it is not clear which of them is the positive one.

    """
    labels = sorted(set(found))
    if wanted is not None and wanted not in labels:
        raise DataError(f"options.positive_label: no example is '{wanted}'.{did_you_mean(wanted, labels)}")
    if len(labels) != 2:
        raise DataError(f"exactly 2 labels are needed, found {len(labels)} ({', '.join(labels[:10]) or 'none'})")
    positive = wanted or known_positive(labels)
    if positive is None:
        raise DataError(f"which of '{labels[0]}' and '{labels[1]}' is the positive one? Say options.positive_label=...")
    return (labels[0], labels[1]) if positive == labels[1] else (labels[1], labels[0])
