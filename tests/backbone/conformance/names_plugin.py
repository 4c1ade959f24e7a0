"""Find the names of people in a text: a tag for each token."""

from __future__ import annotations

import re
from dataclasses import dataclass

from polyhead.registry import (
    Column,
    DataError,
    Feature,
    HeadSpec,
    LabelField,
    LossSum,
    Metric,
    Output,
    RowError,
    Scores,
    Task,
    TaskSetup,
    hookimpl,
)

polyhead_api_version = 1
PEOPLE = ("Ann", "Bob", "Carl", "Dora", "Emil", "Flo", "Gina", "Hugo")
FRAMES = ("{} came home late.", "We met {} in the garden.", "The letter is for {}.", "Yesterday {} slept.")
WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True)
class NamesOptions:
    """Settings of the task."""

    causal: bool = True
    """Whether a decoder reads from left to right only."""


@dataclass(frozen=True)
class NamesExample:
    """A text, and the names in it where they are known."""

    id: str
    text: str
    names: tuple[str, ...] | None


@dataclass(frozen=True)
class NamesPrediction:
    """The names that were found."""

    id: str
    names: tuple[str, ...]


def samples():
    return [
        {"id": f"{person}-{number}", "text": frame.format(person), "names": [person]}
        for person in PEOPLE
        for number, frame in enumerate(FRAMES)
    ]


def to_example(row, row_id, options):
    text, names = row.get("text"), row.get("names")
    if not isinstance(text, str) or not text.strip():
        raise RowError("expected a text", column="text")
    if names is None:
        return NamesExample(row_id, text, None)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RowError("expected a list of names", column="names")
    unknown = [name for name in names if name not in text]
    if unknown:
        raise RowError(f"'{unknown[0]}' does not stand in the text", column="names")
    return NamesExample(row_id, text, tuple(names))


def prepare(examples, options):
    return TaskSetup(options, ("other", "name"))


def setup_from_labels(labels, options):
    return TaskSetup(options, labels)


def check_example(example, setup):
    if example.names is None:
        raise RowError("there are no names to compare with", column="names")


def encode(examples, settings):
    features = []
    for position, example in enumerate(examples):
        found = settings.tokenizer(
            example.text,
            truncation=True,
            max_length=settings.max_length,
            stride=settings.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        inputs = [name for name in found if name not in ("overflow_to_sample_mapping", "offset_mapping")]
        for window, offsets in enumerate(found["offset_mapping"]):
            labels = {}
            if example.names is not None:
                tags = [tag_of(example, span) for span in offsets]
                labels = {"tags": tags}
            features.append(
                Feature(position, {name: found[name][window] for name in inputs}, labels, [tuple(s) for s in offsets])
            )
    return features


def tag_of(example, span):
    start, end = span
    if start == end:
        return -100
    words = (match for match in WORD.finditer(example.text) if match.start() <= start and end <= match.end())
    return int(any(match.group() in example.names for match in words))


def head(setup):
    return HeadSpec(size=2, labels=setup.labels, build=build, outputs=(Output("logits", per="token"),))


def build(config, spec):
    from polyhead.registry.toolkit.token_head import build_token_head

    return build_token_head(config, spec)


def label_fields(setup):
    return (LabelField("tags", "int", "tokens"),)


def count_targets(labels, setup):
    return (labels[0] != -100).sum().float()


def loss(outputs, labels, setup):
    from torch.nn.functional import cross_entropy

    logits, tags = outputs[0].flatten(0, 1).float(), labels[0].flatten()
    total = cross_entropy(logits, tags, reduction="sum", ignore_index=-100)
    return LossSum(total, count_targets(labels, setup))


def decode(example, windows, setup):
    marked = set()
    for window in windows:
        chosen = window.outputs["logits"].argmax(-1)
        for (start, end), tag in zip(window.feature.offsets, chosen, strict=True):
            if tag == 1:
                marked.update(range(start, end))
    words = [match for match in WORD.finditer(example.text) if marked.issuperset(range(match.start(), match.end()))]
    return NamesPrediction(example.id, tuple(match.group() for match in words))


def score(predictions, examples, setup):
    if not examples:
        raise DataError("nothing to score: there are no examples")
    right = sum(
        sorted(found.names) == sorted(example.names) for found, example in zip(predictions, examples, strict=True)
    )
    return Scores({"exact": right / len(examples)}, "exact|all names of a text")


def reference(predictions, examples, setup):
    pairs = list(zip(predictions, examples, strict=True))
    wrong = [1 for found, example in pairs if sorted(found.names) != sorted(example.names)]
    return {"exact": 1 - len(wrong) / len(pairs)}


def headline(setup):
    return "exact"


def baseline(examples, setup):
    return [NamesPrediction(example.id, ()) for example in examples]


TASK = Task(
    name="names",
    summary="Which names of people stand in a text.",
    example_type=NamesExample,
    columns=(
        Column("text", "the text"),
        Column("names", "the names in it: a list", required="training"),
        Column("id", "a name for the row", required="never"),
    ),
    options=NamesOptions,
    to_example=to_example,
    prepare=prepare,
    setup_from_labels=setup_from_labels,
    check_example=check_example,
    encode=encode,
    heads={"encoder": head},
    label_fields=label_fields,
    count_targets=count_targets,
    loss=loss,
    decode=decode,
    metrics=(Metric("names", score, reference=reference),),
    headline=headline,
    baseline_name="no names",
    baseline=baseline,
    samples=samples,
)


@hookimpl
def polyhead_register_tasks():
    return [TASK]
