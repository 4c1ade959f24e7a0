"""From a row to an example, and from examples to features."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from polyhead.registry import (
    DataError,
    EncodeSettings,
    Feature,
    ModelFacts,
    Row,
    RowError,
    RunError,
    TaskSetup,
    available,
    did_you_mean,
)
from polyhead.registry.toolkit.binary_labels import known_positive, negative_and_positive
from polyhead.registry.toolkit.embedding_encoding import features_of_pairs, windows_of_texts
from polyhead.registry.toolkit.labels import label_of, text_of
from polyhead.registry.toolkit.sentence_folder import SentenceSettings, read_sentence_settings, sentence_files

BI_ENCODER_LOSSES = ("cosine", "cosent", "multiple-negatives", "triplet")
CROSS_ENCODER_LOSSES = ("binary-cross-entropy", "squared-error")

Kind = Literal["scores", "labels", "positives", "triplets"]


@dataclass(frozen=True)
class SimilarityOptions:
    """Settings of the similarity task."""

    architecture: Literal["bi-encoder", "cross-encoder"] = "bi-encoder"
    """``bi-encoder``: a vector for each text, compared by cosine; ``cross-encoder``: the model reads both at once."""
    pooling: Literal["mean", "cls", "last", "max"] = "mean"
    """How the states of a text's tokens become its vector; only a decoder's ``last`` has seen all of it."""
    normalize: bool = True
    """Scale the vectors of single texts to length 1."""
    loss: Literal[
        "auto", "cosine", "cosent", "multiple-negatives", "triplet", "binary-cross-entropy", "squared-error"
    ] = "auto"
    """``auto``: ``cosent`` for scores and labels, ``multiple-negatives`` for triplets and for positive pairs; of a
    cross-encoder ``binary-cross-entropy``."""
    temperature: float = 0.05
    """What cosines are divided by in ``cosent`` and ``multiple-negatives``: 0.05 is a scale of 20."""
    margin: float = 0.5
    """``triplet``: by how much the positive's cosine is to be above the negative's."""
    group: int = 32
    """How many examples are compared with one another in ``cosent`` and ``multiple-negatives``."""
    scale: tuple[float, float] | None = None
    """Lowest and highest possible score; none: those of the training data."""
    positive_label: str | None = None
    """The label of pairs that mean the same; none: told by its name (1, true, yes, paraphrase, duplicate, ...)."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, not {self.temperature}")
        if not self.margin > 0:
            raise ValueError(f"margin must be above 0, not {self.margin}")
        if self.group < 2:
            raise ValueError(f"group must be 2 or more, so that there is something to compare with, not {self.group}")
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            raise ValueError(f"scale must be a lower and a higher number, not {list(self.scale)}")
        losses = BI_ENCODER_LOSSES if self.architecture == "bi-encoder" else CROSS_ENCODER_LOSSES
        if self.loss not in ("auto", *losses):
            raise ValueError(f"loss of a {self.architecture} must be auto or {', '.join(losses)}, not {self.loss}")


@dataclass(frozen=True)
class SimilarityExample:
    """A text, a pair (with a score, a label, or neither), or an anchor, its positive and its negatives."""

    id: str
    texts: tuple[str, ...]
    score: float | None = None
    label: str | None = None

    @property
    def kind(self) -> Kind | None:
        """Return what the example says of its texts; None of a single one."""
        if len(self.texts) < 2:
            return None
        if len(self.texts) > 2:
            return "triplets"
        if self.score is not None:
            return "scores"
        return "positives" if self.label is None else "labels"


def to_example(row: Row, row_id: str, options: SimilarityOptions) -> SimilarityExample:  # noqa: ARG001 - contract
    """Read one text, a pair, or a triplet; whichever columns the row has."""
    if row.get("sentence1") is not None or row.get("sentence2") is not None:
        texts = (text_of(row, "sentence1"), text_of(row, "sentence2"))
        score = _score_of(row)
        return SimilarityExample(row_id, texts, score, _label_of(row) if score is None else None)
    if row.get("anchor") is not None:
        return SimilarityExample(row_id, (text_of(row, "anchor"), text_of(row, "positive"), *_negatives_of(row)))
    if row.get("text") is not None:
        return SimilarityExample(row_id, (text_of(row, "text"),))
    raise RowError("expected sentence1 and sentence2 (a pair), anchor and positive, or text (to be embedded)")


def _score_of(row: Row) -> float | None:
    value = row.get("score")
    if value is None:
        return None
    try:
        score = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise RowError(f"expected a number, found {value!r:.60}", column="score")
    return score


def _label_of(row: Row) -> str | None:
    if isinstance(row.get("label"), float):
        raise RowError(
            f"expected one of two labels, found the number {row['label']}; if it says how similar the texts are: "
            "data.columns.score=label",
            column="label",
        )
    return label_of(row)


def _negatives_of(row: Row) -> tuple[str, ...]:
    found = row.get("negatives")
    if found is None:
        return (text_of(row, "negative"),) if row.get("negative") is not None else ()
    entries = [found] if isinstance(found, str) else found
    if not isinstance(entries, (list, tuple)):
        raise RowError(f"expected a list of texts, found {found!r:.60}", column="negatives")
    return tuple(text_of({"negatives": entry}, "negatives") for entry in entries)


# ── what is learned ─────────────────────────────────────────────────────────────────────────────────────


def prepare(examples: Sequence[SimilarityExample], options: SimilarityOptions) -> TaskSetup:
    """Learn what the rows say (scores, labels, positives, triplets), the scale of scores, the two labels."""
    kind = _kind_of(examples)
    facts: dict[str, Any] = {"kind": kind, "loss": _loss_for(kind, options)}
    if kind == "scores":
        found = [example.score for example in examples if example.score is not None]
        low, high = options.scale or (min(found), max(found))
        if min(found) == max(found):
            raise DataError(f"all {len(found)} scores of the training data are {low:g}: there is nothing to learn")
        return TaskSetup(options, facts={**facts, "scale": [low, high]})
    labels: tuple[str, ...] = ()
    if kind == "labels":
        found_labels = [example.label for example in examples if example.label is not None]
        labels = negative_and_positive(found_labels, options.positive_label)
    return TaskSetup(options, labels, facts)


def _kind_of(examples: Sequence[SimilarityExample]) -> Kind:
    counts = Counter(example.kind for example in examples)
    if None in counts:
        raise DataError(
            f"{counts[None]} of {len(examples)} training rows hold a single text: training needs pairs or triplets"
        )
    kinds = {kind for kind in counts if kind is not None}
    if kinds == {"positives", "triplets"}:
        return "triplets"
    if len(kinds) != 1:
        found = ", ".join(f"{counts[kind]} with {kind}" for kind in sorted(kinds)) or "none"
        raise DataError(f"training rows must be of one kind: scores, labels, positives or triplets; found {found}")
    return kinds.pop()


def _loss_for(kind: Kind, options: SimilarityOptions) -> str:
    """Return the loss that is trained with: what ``auto`` stands for, or the one that was asked for, if it fits."""
    fitting = {
        "scores": ("cosent", "cosine", *CROSS_ENCODER_LOSSES),
        "labels": ("cosent", "cosine", *CROSS_ENCODER_LOSSES),
        "positives": ("multiple-negatives",),
        "triplets": ("multiple-negatives", "triplet", *CROSS_ENCODER_LOSSES),
    }[kind]
    if options.architecture == "cross-encoder" and kind == "positives":
        raise DataError("a cross-encoder cannot learn from positive pairs alone: give scores, labels or negatives")
    if options.loss not in ("auto", *fitting):
        raise DataError(
            f"options.loss={options.loss} does not fit training rows with {kind}: expected auto, {', '.join(fitting)}"
        )
    if options.loss != "auto":
        return options.loss
    return "binary-cross-entropy" if options.architecture == "cross-encoder" else fitting[0]


def setup_from_labels(labels: tuple[str, ...], options: SimilarityOptions) -> TaskSetup:
    """Take over a model that others fine-tuned: one that gives one or two labels of a text is a cross-encoder."""
    if not 1 <= len(labels) <= 2:
        return TaskSetup(options)
    if options.loss in BI_ENCODER_LOSSES:
        options = replace(options, loss="auto")
    setup = TaskSetup(replace(options, architecture="cross-encoder"))
    if len(labels) == 1:
        return setup
    positive = options.positive_label if options.positive_label in labels else known_positive(labels) or labels[1]
    return replace(setup, facts={"head_labels": list(labels), "positive": labels.index(positive)})


def setup_from_folder(folder: Path, setup: TaskSetup) -> TaskSetup:
    """Read pooling, normalisation, window and prompt from a ``sentence-transformers`` folder.

    Raises:
        BackboneError: Its model has a module or a pooling that is not supported here.

    """
    found = read_sentence_settings(folder)
    if found is None or setup.options.architecture == "cross-encoder":
        return setup
    learned = {"max_length": found.max_length, "lowercase": found.lowercase, "prompt": found.prompt}
    options = replace(setup.options, pooling=found.pooling, normalize=found.normalize)
    return replace(
        setup, options=options, facts={**setup.facts, **{key: fact for key, fact in learned.items() if fact}}
    )


def extra_files(setup: TaskSetup, model: ModelFacts) -> Mapping[str, str]:
    """Make the folder of a bi-encoder one that ``sentence-transformers`` loads.

    Of an encoder-decoder it reads T5's encoder only, and the decoder's states of others: these get no such files.
    """
    options, facts = setup.options, setup.facts
    if options.architecture == "cross-encoder" or not (model.family != "encoder-decoder" or "t5" in model.model_type):
        return {}
    longest = min(model.max_length, facts.get("max_length", model.max_length))
    settings = SentenceSettings(
        options.pooling, options.normalize, longest, facts.get("lowercase", False), facts.get("prompt", "")
    )
    return sentence_files(settings, model.hidden_size)


def check_example(example: SimilarityExample, setup: TaskSetup) -> None:
    """Refuse what cannot be scored: a single text, an unknown label, a score off the scale."""
    kind, scale = setup.facts.get("kind"), setup.options.scale
    if example.kind is None:
        raise RowError("a single text can be embedded, but not scored: expected a pair or a triplet")
    if example.kind == "positives" and kind in ("scores", "labels"):
        raise RowError(f"is missing, but the model was trained on pairs with {kind}", column=kind.removesuffix("s"))
    if example.label is not None and setup.labels and example.label not in setup.labels:
        raise RowError(
            f"unknown label '{example.label}'.{did_you_mean(example.label, setup.labels)} {available(setup.labels)}",
            column="label",
        )
    if example.score is not None and scale is not None and not scale[0] <= example.score <= scale[1]:
        raise RowError(f"{example.score:g} lies outside options.scale={list(scale)}", column="score")


# ── features ────────────────────────────────────────────────────────────────────────────────────────────


def encode(examples: Sequence[SimilarityExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise: each text by itself, all of an example in order; of a cross-encoder, each pair with its anchor.

    A text longer than a window gives several features; `offsets` tell where a text begins.
    """
    setup, facts = settings.setup, settings.setup.facts
    settings = replace(settings, max_length=min(settings.max_length, facts.get("max_length", settings.max_length)))
    texts = [tuple(_as_read(text, facts) for text in example.texts) for example in examples]
    if setup.options.architecture == "cross-encoder":
        return _encode_pairs(examples, texts, settings)
    found = []
    for window in windows_of_texts(texts, settings):
        labels: dict[str, float] = {}
        if not settings.predicting and _is_target(examples[window.example], setup):
            labels = {"text": window.text, "window": window.number}
            if facts["loss"] in ("cosine", "cosent"):
                labels["target"] = _target_of(examples[window.example], setup)
        found.append(Feature(window.example, window.inputs, labels, window.offsets))
    return found


def _encode_pairs(
    examples: Sequence[SimilarityExample], texts: Sequence[Sequence[str]], settings: EncodeSettings
) -> list[Feature]:
    pairs: list[tuple[int, str, str]] = []
    labels: list[Mapping[str, float]] = []
    for position, (example, found) in enumerate(zip(examples, texts, strict=True)):
        if len(found) < 2:
            raise RunError(
                f"example '{example.id}': a cross-encoder reads two texts at once and makes no vector of one; "
                "for vectors train with options.architecture=bi-encoder"
            )
        for number, other in enumerate(found[1:], 1):
            pairs.append((position, found[0], other))
            target = float(number == 1) if example.kind == "triplets" else _target_of(example, settings.setup)
            counted = not settings.predicting and _is_target(example, settings.setup)
            labels.append({"target": target} if counted else {})
    return list(features_of_pairs(pairs, settings, labels))


def _as_read(text: str, facts: Mapping[str, Any]) -> str:
    text = facts.get("prompt", "") + text
    return text.lower() if facts.get("lowercase") else text


def _is_target(example: SimilarityExample, setup: TaskSetup) -> bool:
    """Whether the loss can count an example: one of another kind than the training data has none."""
    trained, kind = setup.facts.get("kind"), example.kind
    if trained == "labels":
        return kind == "labels" and example.label in setup.labels
    if trained == "triplets":
        able = setup.facts["loss"] == "multiple-negatives"  # which can do without further negatives
        return kind == "triplets" or (kind == "positives" and able)
    return kind is not None and kind == trained


def _target_of(example: SimilarityExample, setup: TaskSetup) -> float:
    """Return how similar a pair is meant to be, from 0 to 1; 0 where nothing is said."""
    if example.score is not None and "scale" in setup.facts:
        low, high = setup.facts["scale"]
        return float((example.score - low) / (high - low))
    return float(bool(setup.labels) and example.label == setup.labels[-1])
