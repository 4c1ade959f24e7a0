"""Label sets: learned from training data, looked up, and refused when unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from polyhead.registry.contracts import Row, TaskSetup
from polyhead.registry.errors import DataError, RowError
from polyhead.registry.examples import TextExample
from polyhead.registry.names import available, did_you_mean


def text_of(row: Row, column: str) -> str:
    """Return the text in a column of a row.

    Raises:
        RowError: It is absent, empty or no text.

    """
    value = row.get(column)
    if not isinstance(value, str):
        raise RowError(f"expected a text, found {_described(value)}", column=column)
    if not value.strip():
        raise RowError("the text is empty", column=column)
    return value


def label_of(row: Row, column: str = "label") -> str | None:
    """Return the label in a column as text, or None where the row has none.

    Whole numbers and true/false are taken as labels too, written as JSON writes them.

    Raises:
        RowError: The value is a list, an object or a fraction.

    """
    value = row.get(column)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    raise RowError(f"expected one label, found {_described(value)}", column=column)


def labels_of(row: Row, column: str = "labels", *, separator: str = "|") -> tuple[str, ...] | None:
    """Return the labels in a column: a list, or one text with a separator; None where the row has none.

    An empty list means: known to bear no label.

    Raises:
        RowError: An entry is neither text nor a whole number.

    """
    value = row.get(column)
    if value is None:
        return None
    entries = value.split(separator) if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)):
        raise RowError(
            f"expected a list of labels, or labels joined by '{separator}', found {_described(value)}",
            column=column,
        )
    names = [label_of({column: entry}, column) for entry in entries]
    return tuple(dict.fromkeys(name for name in names if name))


def learn_labels(examples: Iterable[TextExample], *, least: int = 2) -> tuple[str, ...]:
    """Return the labels of the training examples in sorted order.

    Raises:
        DataError: There are fewer than ``least``.

    """
    found = sorted({label for example in examples for label in example.labels or ()})
    if len(found) < least:
        raise DataError(
            f"the training data holds {len(found)} label{'' if len(found) == 1 else 's'} "
            f"({', '.join(found) or 'none'}); at least {least} are needed"
        )
    return tuple(found)


def check_labels(example: TextExample, setup: TaskSetup, *, column: str = "label") -> None:
    """Refuse an example with a label that the model does not know.

    Raises:
        RowError: With the unknown label, the nearest known one and the list.

    """
    for label in example.labels or ():
        if label not in setup.labels:
            raise RowError(
                f"unknown label '{label}'.{did_you_mean(label, setup.labels)} {available(setup.labels)}",
                column=column,
            )


def check_known(option: str, names: Iterable[str], labels: Sequence[str]) -> None:
    """Refuse an option that names a label which the model does not have.

    Raises:
        DataError: With the unknown label, the nearest known one and the list.

    """
    for name in names:
        if name not in labels:
            raise DataError(f"{option}: unknown label '{name}'.{did_you_mean(name, labels)} {available(labels)}")


def label_counts(examples: Iterable[TextExample]) -> Counter[str]:
    """Count how many examples bear each label."""
    return Counter(label for example in examples for label in example.labels or ())


def majority_labels(counts: Mapping[str, int], example_count: int, *, multi_label: bool) -> list[str]:
    """Return the most frequent label, the first in sorted order among equals; multi-label: those of more than half."""
    if multi_label:
        return [label for label in sorted(counts) if 2 * counts[label] > example_count]
    return [max(sorted(counts), key=counts.__getitem__)]


def class_weights(wanted: str | Mapping[str, float], labels: Sequence[str], counts: Mapping[str, int]) -> list[float]:
    """Return one weight per label.

    Args:
        wanted: ``balanced`` (examples / (labels * count of the label), as scikit-learn defines it), or weights by
            label, where a label that is not named weighs 1.
        labels: The label set, in the model's order.
        counts: Training examples per label.

    Raises:
        DataError: A weight for an unknown label, a weight that is not positive, or an unknown word.

    """
    if isinstance(wanted, str):
        if wanted != "balanced":
            raise DataError(f"options.class_weights: expected 'balanced' or weights by label, found '{wanted}'")
        return [sum(counts.values()) / (len(labels) * counts[label]) for label in labels]
    check_known("options.class_weights", wanted, labels)
    for label, weight in wanted.items():
        if not weight > 0:
            raise DataError(f"options.class_weights.{label}: expected a number above 0, found {weight}")
    return [float(wanted.get(label, 1.0)) for label in labels]


def _described(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r:.60}"
