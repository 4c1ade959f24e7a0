"""What a perfect model would answer, and a wrong one: outputs made from labels, decoded as the engine does.

Shapes: T tokens, L numbers in a row (classes, or the vocabulary).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from polyhead.backbone.conformance.checks import CheckError, NotApplicable
from polyhead.backbone.conformance.restored_rows import restored
from polyhead.backbone.conformance.subject import TaskSubject, View
from polyhead.backbone.data.batching import IGNORED_LABEL, Collator
from polyhead.backbone.data.choosing import evenly
from polyhead.backbone.data.features import pack_features
from polyhead.backbone.inference.written_text import Continuation
from polyhead.backbone.training.encoding import collator_of, input_names
from polyhead.registry import Feature, Generated, LabelField, Output, Window

Outputs = Mapping[str, Any]
"""Arrays ``[size]`` or ``[tokens, size]`` by name."""

SURE, SURE_OF_TOKENS = 10.0, 100.0
"""The logit of the right class, and of the right token among a whole vocabulary; the others have 0."""
LANGUAGE_MODELS = ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForMaskedLM")
"""Heads of ``transformers`` whose rows of output are as long as the vocabulary."""
GIVE = "give Task.perfect_outputs, a function that makes the outputs of a perfect head from a feature's labels"


@dataclass(frozen=True)
class Answers:
    """The predictions of a perfect model and of one that answers wrongly, for the same examples."""

    examples: Sequence[Any]
    right: Sequence[Any]
    wrong: Sequence[Any] | None
    """None where all examples have the same answer."""


@dataclass(frozen=True)
class AnsweredTask:
    """A task under examination, with the answers to its examples as its first family reads them."""

    subject: TaskSubject

    @cached_property
    def answers(self) -> Answers:
        """Return what a perfect model and a wrong one answer; raises as `answers` does."""
        return answers(self.subject, self.subject.first_view)


def answers(subject: TaskSubject, view: View, most: int | None = None) -> Answers:
    """Return what a perfect model answers to the examples, and what one answers that takes each for another.

    Args:
        subject: The task.
        view: How a family sees its examples.
        most: How many examples are answered at most, evenly taken.

    Raises:
        NotApplicable: It cannot be told from the labels, and the task does not say.
        CheckError: The labels fit no output of the head.

    """
    task, examples, rows = subject.task, subject.examples, subject.rows
    if most is not None and len(rows) > most:
        chosen = evenly(range(len(rows)), most)
        examples, rows = tuple(examples[at] for at in chosen), [rows[at] for at in chosen]
    if task.encode_prompts is not None:
        rows = [restored(row, view.settings.tokenizer) for row in rows]
        examples = tuple(
            task.to_example(row, example.id, subject.options) for row, example in zip(rows, examples, strict=True)
        )
    if examples is not subject.examples:
        view = subject.view(view.family, examples)
    features = view.features
    if not features or not all(feature.labels for feature in features):
        raise NotApplicable("not every feature bears labels: there is nothing to decode from")
    groups: list[list[int]] = [[] for _ in examples]
    for at, feature in enumerate(features):
        groups[feature.example].append(at)
    written = _written(subject, view, examples, groups)
    shown = [at for at, group in enumerate(groups) if group and (written is None or written[at] is not None)]
    if not shown:
        raise NotApplicable("no example has as many prompts as features: no text can be told from the labels")
    decode = _Decoder(subject, view, examples, groups, written)
    others = _others(features, groups, shown)
    return Answers(
        [examples[at] for at in shown],
        [decode(at, at) for at in shown],
        None if others is None else [decode(at, other) for at, other in zip(shown, others, strict=True)],
    )


# ── the outputs of a perfect head ───────────────────────────────────────────────────────────────────────


def outputs_by_rule(subject: TaskSubject, view: View) -> Callable[[Feature], Outputs]:
    """Return what makes the outputs of a perfect head from a feature's labels: the task's own rule, or the kit's."""
    task, setup = subject.task, subject.setup
    given = task.perfect_outputs
    if given is not None:
        return lambda feature: _checked(given(feature, setup), view.spec.outputs, feature)
    fields, spec = task.label_fields(setup), view.spec
    if len(fields) != 1 or len(spec.outputs) != 1:
        count = f"{len(fields)} label tensors and {len(spec.outputs)} outputs"
        raise NotApplicable(f"there are {count}, so that the kit cannot tell which answer is right: {GIVE}")
    field, output = fields[0], spec.outputs[0]
    size = spec.size
    if spec.auto_class in LANGUAGE_MODELS:
        size = max(spec.size, len(view.settings.tokenizer))
    rule = _rule(field, size)
    return lambda feature: {output.name: rule(feature.labels[field.name])}


def _rule(field: LabelField, size: int) -> Callable[[Any], Any]:
    kind = (field.dtype, field.shape)
    if kind == ("int", "scalar"):
        return lambda label: _one_hot([label], size, field.name, SURE)[0]
    if kind == ("float", "vector"):
        return lambda label: np.where(np.asarray(label) > 0.5, SURE, -SURE)
    if kind == ("float", "scalar") and size == 1:
        return lambda label: np.array([label], dtype=np.float64)
    if kind in (("int", "tokens"), ("int", "targets")):
        height = SURE if kind[1] == "tokens" else SURE_OF_TOKENS
        return lambda label: _one_hot(label, size, field.name, height)
    raise NotApplicable(f"labels of the kind {' '.join(kind)} and an output of size {size} have no rule: {GIVE}")


def _one_hot(labels: Sequence[float], size: int, name: str, height: float) -> Any:
    chosen = np.asarray(labels, dtype=np.int64)
    inside = chosen != IGNORED_LABEL
    if inside.any() and not 0 <= chosen[inside].min() <= chosen[inside].max() < size:
        raise CheckError(
            f"label tensor '{name}' holds {chosen[inside].max()}, and the head gives {size} numbers a row",
            "let HeadSpec.size be the number of labels, and the labels their indices from 0",
        )
    logits = np.zeros((len(chosen), size), dtype=np.float32)
    logits[np.flatnonzero(inside), chosen[inside]] = height
    return logits


def _checked(found: Outputs, outputs: Sequence[Output], feature: Feature) -> Outputs:
    """Return what a task's `perfect_outputs` gave; raises `CheckError` where it is none of its head's outputs."""
    names = [output.name for output in outputs]
    if sorted(found) != sorted(names):
        raise CheckError(
            f"Task.perfect_outputs gives {', '.join(sorted(found)) or 'nothing'}; the head gives {', '.join(names)}",
            "give one array for each output of the head, under its name",
        )
    for output in outputs:
        shape, tokens = np.shape(found[output.name]), len(feature.inputs["input_ids"])
        if output.per == "token" and shape[:1] != (tokens,):
            raise CheckError(
                f"Task.perfect_outputs gives '{output.name}' of shape {list(shape)} for {tokens} tokens",
                "give one row for each token of input_ids",
            )
    return found


# ── from outputs to predictions ─────────────────────────────────────────────────────────────────────────


class _Decoder:
    """Decodes examples from the outputs of a perfect head, and the texts that are written where the task writes."""

    def __init__(
        self,
        subject: TaskSubject,
        view: View,
        examples: Sequence[Any],
        groups: Sequence[Sequence[int]],
        written: Sequence[Sequence[tuple[Feature, str]] | None] | None,
    ) -> None:
        self._subject, self._view, self._examples = subject, view, examples
        self._groups, self._written = groups, written
        self._perfect = outputs_by_rule(subject, view)
        self._reduced = _reduction(subject, view)

    def __call__(self, example: int, answer: int) -> Any:
        """Return the prediction for an example, with what is right for it, or for another one."""
        features, group, lent = self._view.features, self._groups[example], self._groups[answer]
        windows = []
        for number, at in enumerate(group):
            found = self._perfect(features[at])
            if answer != example:
                other = self._perfect(features[lent[number % len(lent)]])
                found = {name: _fitted(value, found[name]) for name, value in other.items()}
            windows.append(Window(features[at], self._reduced(at, found)))
        windows += self._written_windows(example, answer)
        return self._subject.task.decode(self._examples[example], windows, self._subject.setup)

    def _written_windows(self, example: int, answer: int) -> list[Window]:
        if self._written is None:
            return []
        texts = [text for _, text in self._written[answer] or ()]
        return [
            Window(prompt, {}, (_generated(texts[number % len(texts)]),))
            for number, (prompt, _) in enumerate(self._written[example] or () if texts else ())
        ]


def _generated(text: str) -> Generated:
    return Generated(text, -1.0, max(1, len(text.split())))


def _reduction(subject: TaskSubject, view: View) -> Callable[[int, Outputs], Outputs]:
    """Return what shrinks the outputs of one feature as the engine does, where the task or its head does so."""
    reduction = view.spec.reduction or subject.task.reduction
    if reduction is None:
        return lambda _, found: found

    collator = collator_for_view(subject, view)

    def reduce(at: int, found: Outputs) -> Outputs:
        batch = collator.collate((at,), with_labels=True)
        tensors = tuple(torch.as_tensor(found[output.name])[None].float() for output in view.spec.outputs)
        kept = reduction.apply(tensors, batch.labels, subject.setup)
        return {output.name: tensor[0].numpy() for output, tensor in zip(reduction.outputs, kept, strict=True)}

    return reduce


def collator_for_view(subject: TaskSubject, view: View, features: Sequence[Feature] | None = None) -> Collator:
    """Return features (those of the view, or these) ready to be batched as the engine batches them."""
    task, found = subject.task, view.features if features is None else features
    packed = pack_features(found, task.label_fields(subject.setup))
    names = input_names(view.backbone, view.spec, task)
    collator = collator_of(task, view.settings, packed, names)
    return Collator(packed, names, collator.pad_values, collator.fields)  # they are corrupted already


def _written(
    subject: TaskSubject, view: View, examples: Sequence[Any], groups: Sequence[Sequence[int]]
) -> list[list[tuple[Feature, str]] | None] | None:
    """Return for each example its prompts, each with the text that its labels hold; None where they do not pair.

    Of a source in several windows training sees the first alone: so does this.
    """
    task = subject.task
    if task.encode_prompts is None:
        return None
    prompts: list[list[Feature]] = [[] for _ in groups]
    for prompt in task.encode_prompts(examples, view.settings):
        prompts[prompt.example].append(prompt)
    found: list[list[tuple[Feature, str]] | None] = []
    for own, group in zip(prompts, groups, strict=True):
        if not own:
            found.append([])  # such as a text whose likelihood alone is asked for
        elif len(own) == len(group) or len(group) == 1:
            texts = [_text_of(view, view.features[at]) for at in group]
            found.append(list(zip(own, texts, strict=False)))
        else:
            found.append(None)
    return found


def _text_of(view: View, feature: Feature) -> str:
    """Return the text that a feature's labels write."""
    (labels,) = feature.labels.values()
    assert not isinstance(labels, float)
    first = next((at for at, label in enumerate(labels) if label != IGNORED_LABEL), 0)
    before = [] if "decoder_input_ids" in feature.inputs else feature.inputs["input_ids"][: first + 1]
    tokens = [int(label) for label in labels if label != IGNORED_LABEL]
    return Continuation(view.settings.tokenizer, before).text(tokens)


# ── a model that is wrong ───────────────────────────────────────────────────────────────────────────────


def _others(features: Sequence[Feature], groups: Sequence[Sequence[int]], shown: Sequence[int]) -> list[int] | None:
    """Return for each example another one with another answer: the next in order; None where all answer the same."""
    labels = {at: repr([dict(features[window].labels) for window in groups[at][:1]]) for at in shown}
    found = []
    for number, at in enumerate(shown):
        following = [*shown[number + 1 :], *shown[:number]]
        other = next((other for other in following if labels[other] != labels[at]), None)
        if other is None:
            return None
        found.append(other)
    return found


def _fitted(value: Any, model: Any) -> Any:
    """Return the output of another window, its rows cut or repeated to the number of these."""
    value, wanted = np.asarray(value), np.shape(model)
    if value.shape == wanted:
        return value
    rows = np.arange(wanted[0]) % max(1, len(value))
    return value[rows]
