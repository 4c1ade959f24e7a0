"""Heads, loss and decoding. Shapes: U units (words, mostly), L tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from polyhead.plugins.ner.data import NerExample
from polyhead.registry import HeadSpec, LabelField, LossSum, Output, TaskSetup, Window
from polyhead.registry.toolkit.spans import Span
from polyhead.registry.toolkit.tag_decoding import best_tags, log_softmax
from polyhead.registry.toolkit.tag_schemes import Chunk, read_chunks, tag_name, tag_set, write_tags
from polyhead.registry.toolkit.word_encoding import NO_WORD

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class Entity:
    """One entity that was found."""

    start: int
    end: int
    label: str
    text: str
    """The characters from ``start`` to ``end`` of the original text."""
    score: float
    """Mean probability of the tags of its words."""
    tokens: tuple[int, int] | None = None
    """The first of the row's tokens, and the one behind the last; None where the row was a text."""


@dataclass(frozen=True)
class NerPrediction:
    """The text and the entities in it, in order."""

    id: str
    text: str
    entities: tuple[Entity, ...]
    tags: tuple[str, ...] | None = None
    """The IOB2 tag of each of the row's tokens; None where the row was a text."""


def default_head(setup: TaskSetup) -> HeadSpec:
    """Score the tags of each token with the architecture's own token-classification head."""
    return HeadSpec(
        size=len(setup.labels),
        labels=setup.labels,
        auto_class="AutoModelForTokenClassification",
        build=_build_token_head,
        outputs=(Output("logits", per="token"),),
    )


def decoder_head(setup: TaskSetup) -> HeadSpec:
    """Do the same on a decoder; with ``options.causal`` false each token sees the whole text."""
    return replace(default_head(setup), causal=setup.options.causal)


def _build_token_head(config: Any, spec: HeadSpec) -> torch.nn.Module:
    from polyhead.registry.toolkit.token_head import build_token_head  # torch: kept out of plugin discovery

    return build_token_head(config, spec)


def label_fields(setup: TaskSetup) -> tuple[LabelField, ...]:  # noqa: ARG001 - the contract's form
    """Name the one label tensor: the tag of each token that a word begins with."""
    return (LabelField("labels", "int", "tokens"),)


def count_targets(labels: tuple[torch.Tensor, ...], setup: TaskSetup) -> torch.Tensor:  # noqa: ARG001 - likewise
    """Count the tokens that a word begins with."""
    from polyhead.registry.toolkit.losses import cross_entropy_count  # torch: kept out of plugin discovery

    return cross_entropy_count(labels[0], None)


def loss(
    outputs: tuple[torch.Tensor, ...],
    labels: tuple[torch.Tensor, ...],
    setup: TaskSetup,  # noqa: ARG001 - likewise
) -> LossSum:
    """Sum the cross-entropy of the words' tags."""
    from polyhead.registry.toolkit.losses import cross_entropy  # torch: kept out of plugin discovery

    return cross_entropy(outputs[0].flatten(0, 1), labels[0].flatten(), None)


def decode(example: NerExample, windows: Sequence[Window], setup: TaskSetup) -> NerPrediction:
    """Find the entities; a word that stands in several windows is read where most text surrounds it."""
    import numpy as np  # heavy: kept out of plugin discovery

    rows = _widest_view(windows)
    if not rows:
        return NerPrediction(example.id, example.text, (), ("O",) * len(example.words) if example.has_tokens else None)
    spans = sorted(rows)
    tags = tag_set(setup.labels)
    scores_UL = log_softmax(np.stack([rows[span] for span in spans]).astype(np.float64))
    chosen_U = best_tags(scores_UL, tags, constrained=setup.options.constrained)
    chances_U = np.exp(scores_UL[np.arange(len(spans)), chosen_U])
    word_from = {start: index for index, (start, end) in enumerate(example.words) if start < end}
    word_to = {end: index + 1 for index, (start, end) in enumerate(example.words) if start < end}
    entities, found = [], []
    for chunk in read_chunks([tags.tags[tag] for tag in chosen_U]):
        start, end = spans[chunk.first][0], spans[chunk.end - 1][1]
        first, behind = word_from[start], word_to[end]
        stray = chunk.stray and tags.scheme in {"IOB2", "BIOES"}
        found.append(Chunk(first, behind, chunk.type, stray))
        score = float(chances_U[chunk.first : chunk.end].mean())
        tokens = (first, behind) if example.has_tokens else None
        entities.append(Entity(start, end, chunk.type, example.text[start:end], score, tokens))
    written = write_tags(found, len(example.words), "IOB2") if example.has_tokens else None
    names = None if written is None else tuple(tag_name(tag) for tag in written)
    return NerPrediction(example.id, example.text, tuple(entities), names)


def _widest_view(windows: Sequence[Window]) -> dict[Span, np.ndarray]:
    """Return the logits of each unit where it stands farthest from a cut; the ends of the text are no cuts."""
    views: dict[Span, tuple[int, np.ndarray]] = {}
    for number, window in enumerate(windows):
        offsets = window.feature.offsets
        for position, span in enumerate(offsets):
            if span == NO_WORD:
                continue
            before = len(offsets) if number == 0 else position
            behind = len(offsets) if number == len(windows) - 1 else len(offsets) - 1 - position
            view = min(before, behind)
            if span not in views or view > views[span][0]:
                views[span] = (view, window.outputs["logits"][position])
    return {span: logits for span, (_, logits) in views.items()}
