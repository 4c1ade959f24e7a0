"""From examples to features to batches: whether lengths, labels, offsets and counts are what the contract says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from polyhead.backbone.conformance.answers import collator_for_view
from polyhead.backbone.conformance.checks import Check, CheckError, NotApplicable
from polyhead.backbone.conformance.subject import TaskSubject, View
from polyhead.backbone.data.batching import IGNORED_LABEL, Items
from polyhead.backbone.training.encoding import input_names
from polyhead.registry import Feature, LabelField

AT_ONCE = 8
"""Features, or groups of examples, in the batch that is looked at."""
TOLERANCE = 1e-4
DTYPES = {"int": torch.int64, "float": torch.float32}


# ── features ────────────────────────────────────────────────────────────────────────────────────────────


def check_features(subject: TaskSubject) -> str:
    """Look at every feature of every family."""
    seen = []
    for family, view in subject.views.items():
        names = input_names(view.backbone, view.spec, subject.task)
        last = 0
        for at, feature in enumerate(view.features):
            if not isinstance(feature, Feature):
                raise CheckError(f"encode gives a {type(feature).__name__}", "let it return a list of Feature")
            where = f"{family}: feature {at}"
            if not 0 <= feature.example < len(subject.examples) or feature.example < last:
                raise CheckError(
                    f"{where} says that it belongs to example {feature.example}, after one of example {last}, of "
                    f"{len(subject.examples)} examples",
                    "let Feature.example be the position in the sequence that encode was given, features in its order",
                )
            last = feature.example
            _check_inputs(where, feature, names, view)
            _check_offsets(where, feature, subject.examples[feature.example])
        if not view.features and subject.examples:
            raise CheckError(f"{family}: encode gives no feature for {len(subject.examples)} rows", "give each some")
        seen.append(f"{family} {len(view.features)}")
    return f"features: {', '.join(seen)}"


def _check_inputs(where: str, feature: Feature, names: Sequence[str], view: View) -> None:
    missing = [name for name in names if name not in feature.inputs]
    if missing:
        raise CheckError(
            f"{where} lacks {', '.join(missing)}; the model reads {', '.join(names)}",
            "take over all that the tokenizer gives; on encoder-decoders that write, give decoder_input_ids",
        )
    length, vocabulary = len(feature.inputs["input_ids"]), len(view.settings.tokenizer)
    for name, values in feature.inputs.items():
        own = name.startswith("decoder_")
        if not own and len(values) != length:
            raise CheckError(
                f"{where} has {length} input_ids and {len(values)} of {name}", "give one value for each token"
            )
        if not 1 <= len(values) <= view.settings.max_length:
            raise CheckError(
                f"{where} has {len(values)} {name}; a window holds 1 to {view.settings.max_length}",
                "cut longer texts into windows that share settings.stride tokens, and give each as a feature",
            )
        if name.endswith("input_ids") and not all(0 <= int(value) < vocabulary for value in values):
            raise CheckError(
                f"{where} holds in {name} an id that is none of the tokenizer's {vocabulary}",
                "take ids from settings.tokenizer alone; -100 is for labels",
            )


def _check_offsets(where: str, feature: Feature, example: Any) -> None:
    if not feature.offsets:
        return
    tokens = len(feature.inputs["input_ids"])
    if len(feature.offsets) != tokens:
        raise CheckError(
            f"{where} has {tokens} tokens and {len(feature.offsets)} offsets", "give a pair for every token, or none"
        )
    size = _size_of(example)
    outside = next((span for span in feature.offsets if span[0] > span[1] or span[1] > size), None)
    if outside is not None:
        raise CheckError(
            f"{where} has a token at {tuple(outside)}; the example's texts have {size} characters",
            "let offsets count characters of the original text, the end behind the last one",
        )


def _size_of(value: Any) -> int:
    """Return the characters of all texts in an example, one more between two of them."""
    if isinstance(value, str):
        return len(value) + 1
    if dataclasses.is_dataclass(value):
        return sum(_size_of(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return sum(_size_of(part) for part in value.values())
    return sum(_size_of(part) for part in value) if isinstance(value, list | tuple) else 0


# ── labels ──────────────────────────────────────────────────────────────────────────────────────────────


def check_labels(subject: TaskSubject) -> str:
    """Compare every label with its declaration."""
    fields = subject.task.label_fields(subject.setup)
    if not fields:
        raise CheckError("label_fields names no label tensor", "name those that loss receives")
    for family, view in subject.views.items():
        bare = next((feature for feature in view.features if not feature.labels), None)
        if bare is not None:
            raise CheckError(
                f"{family}: a feature of example {bare.example} bears no labels, though its row has an answer",
                "give every feature labels where its example has an answer: where one lacks them the engine takes the "
                "whole file for one without answers",
            )
        sizes: dict[str, int] = {}
        for at, feature in enumerate(view.features):
            for field in fields:
                _check_label(f"{family}: feature {at}", feature, field, sizes)
    return ", ".join(f"{field.name}: {field.dtype} {field.shape}" for field in fields)


def _check_label(where: str, feature: Feature, field: LabelField, sizes: dict[str, int]) -> None:
    declared = f"label_fields says '{field.name}' is {field.dtype} {field.shape}"
    if field.name not in feature.labels:
        raise CheckError(
            f"{where} has the labels {', '.join(sorted(feature.labels))}; {declared}",
            "give an entry for each label field",
        )
    value: Any = feature.labels[field.name]
    numbers = [value] if field.shape == "scalar" else value
    if isinstance(numbers, str) or not hasattr(numbers, "__len__") or hasattr(numbers[0], "__len__"):
        raise CheckError(f"{where} has {value!r:.80} for it; {declared}", "let both say the same")
    if field.dtype == "int" and not all(float(number).is_integer() for number in numbers):
        raise CheckError(f"{where} has {value!r:.80} for it; {declared}", "say dtype='float', or give whole numbers")
    if not all(math.isfinite(number) for number in numbers):
        raise CheckError(f"{where} has {value!r:.80} for '{field.name}'", "refuse such numbers in to_example")
    wanted = {
        "scalar": 1,
        "vector": sizes.setdefault(field.name, len(numbers)),
        "tokens": len(feature.inputs["input_ids"]),
        "targets": max(1, len(numbers)),
    }[field.shape]
    if len(numbers) != wanted:
        raise CheckError(
            f"{where} has {len(numbers)} numbers for '{field.name}', and {wanted} belong there; {declared}",
            f"give one a token of input_ids, {IGNORED_LABEL} where none counts"
            if field.shape == "tokens"
            else "give as many in every feature",
        )


# ── alone and among others ───────────────────────────────────────────────────────────────────────


def check_alone(subject: TaskSubject) -> str:
    """Encode each of some examples by itself."""
    some = range(0, len(subject.examples), max(1, len(subject.examples) // AT_ONCE))
    for family, view in subject.views.items():
        among = subject.task.encode(subject.examples, view.settings)
        for at in some:
            alone = subject.task.encode([subject.examples[at]], view.settings)
            expected = [feature for feature in among if feature.example == at]
            if [_plain(feature) for feature in alone] != [_plain(feature) for feature in expected]:
                raise CheckError(
                    f"{family}: example {at} gives other features alone than among others",
                    "let the features of an example depend on it alone, and no state stay behind (a tokenizer keeps "
                    "the padding and truncation that it was last told)",
                )
    return f"{len(some)} examples in each family"


def _plain(feature: Feature) -> object:
    labels = {name: list(v) if isinstance(v, Sequence) else v for name, v in feature.labels.items()}
    inputs = {name: [int(value) for value in values] for name, values in feature.inputs.items()}
    return inputs, labels, [tuple(span) for span in feature.offsets]


# ── batches ─────────────────────────────────────────────────────────────────────────────────────────────


def check_batches(subject: TaskSubject) -> str:
    """Pad some features to a batch, and count its targets."""
    task, setup = subject.task, subject.setup
    fields, together = task.label_fields(setup), None if task.together is None else task.together(setup)
    seen = ""
    for family, view in subject.views.items():
        collator = collator_for_view(subject, view)
        if not collator.has_labels:
            raise NotApplicable("not every feature bears labels")
        items = Items.of(collator.features, together=together)
        units = items.units(range(len(items.members)))[:AT_ONCE]
        batch = collator.collate_rows([row for unit in units for row in unit.rows], with_labels=True)
        rows = len(batch.features)
        for field, tensor in zip(fields, batch.labels, strict=True):
            dimensions = 1 if field.shape == "scalar" else 2
            if tensor.dtype != DTYPES[field.dtype] or tensor.shape[0] != rows or tensor.ndim != dimensions:
                raise CheckError(
                    f"{family}: '{field.name}' becomes a {tensor.dtype} of shape {list(tensor.shape)} for {rows} rows",
                    f"label_fields says it is {field.dtype} {field.shape}: let the labels be so",
                )
        whole = _count(subject, batch.labels)
        single = sum(_count(subject, collator.collate_rows(unit.rows, with_labels=True).labels) for unit in units)
        if abs(whole - single) > TOLERANCE * max(1.0, abs(whole)):
            raise CheckError(
                f"{family}: count_targets gives {whole:g} for a batch, and {single:g} for its parts together",
                "count what loss adds up, and nothing of the padding (-100); a mean is no count",
            )
        seen = f"{rows} features with {whole:g} targets"
    return seen


def _count(subject: TaskSubject, labels: tuple[torch.Tensor, ...]) -> float:
    count = subject.task.count_targets(labels, subject.setup)
    if not isinstance(count, torch.Tensor) or count.numel() != 1:
        raise CheckError(f"count_targets gives {count!r:.80}", "let it return a tensor without dimensions")
    return float(count)


FEATURE_CHECKS: tuple[Check[TaskSubject], ...] = (
    Check("features", "windows are no longer than asked for, in order, and inside the vocabulary", check_features),
    Check("labels", "every feature bears the labels that label_fields declares", check_labels),
    Check("alone-as-among-others", "an example gives the same features alone as among others", check_alone),
    Check("batches", "batches have the shapes that are declared, and counts add up", check_batches),
)
