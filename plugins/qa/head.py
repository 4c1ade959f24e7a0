"""Heads, loss and decoding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from polyhead.plugins.qa.data import UNKNOWN
from polyhead.registry import Feature, HeadSpec, LabelField, LossSum, Output, TaskSetup, Window
from polyhead.registry.toolkit.question_answering import (
    AnswerPrediction,
    FoundSpan,
    QuestionExample,
    no_answer_threshold,
    paragraph_at,
)
from polyhead.registry.toolkit.question_windows import NO_ANSWER

__all__ = ["count_targets", "decode", "default_head", "label_fields", "loss", "perfect_outputs", "span_head"]

if TYPE_CHECKING:
    import numpy as np
    import torch

START, END = "start_logits", "end_logits"
NOTHING_TO_POINT_AT = 1e6
"""The no-answer score where no token of the paragraphs could be the answer."""
SURE = 10.0
"""What a perfect head scores the right token with; all others have 0."""
CANDIDATES = 8
"""How many times more spans are taken from a window than are kept: overlapping windows find the same ones again."""


def default_head(setup: TaskSetup) -> HeadSpec:
    """Score each token as start and as end with the architecture's own question-answering head, else the toolkit's."""
    return HeadSpec(
        size=2,
        auto_class="AutoModelForQuestionAnswering",
        build=_build_span_head,
        outputs=(Output(START, per="token"), Output(END, per="token")),
        causal=setup.options.causal,
    )


def span_head(setup: TaskSetup) -> HeadSpec:
    """Score each token with the toolkit's head; of an encoder-decoder the encoder alone is read then."""
    return replace(default_head(setup), auto_class=None)


def _build_span_head(config: Any, spec: HeadSpec) -> torch.nn.Module:
    from polyhead.registry.toolkit.span_head import build_span_head  # torch: kept out of plugin discovery

    return build_span_head(config, spec)


def label_fields(setup: TaskSetup) -> tuple[LabelField, ...]:  # noqa: ARG001 - the contract's form
    """Name the label tensors: the tokens where the answer starts and ends, and 1 for each token that may be chosen."""
    return (LabelField("start"), LabelField("end"), LabelField("allowed", shape="tokens"))


def count_targets(labels: tuple[torch.Tensor, ...], setup: TaskSetup) -> torch.Tensor:  # noqa: ARG001 - likewise
    """Count the windows whose answer is known."""
    return (labels[0] != UNKNOWN).sum().float()


def loss(outputs: tuple[torch.Tensor, ...], labels: tuple[torch.Tensor, ...], setup: TaskSetup) -> LossSum:
    """Sum the mean of the cross-entropies of start and end, as ``transformers`` defines it.

    Only tokens that may be chosen share in the softmax: the paragraph's and the one for "no answer", not the question
    and not what fills a batch up.
    """
    from torch.nn import functional  # torch: kept out of plugin discovery

    barred_BT = labels[2] != 1
    starts, ends = (
        functional.cross_entropy(
            logits_BT.float().masked_fill(barred_BT, float("-inf")), places_B, reduction="sum", ignore_index=UNKNOWN
        )
        for logits_BT, places_B in zip(outputs, labels[:2], strict=True)
    )
    return LossSum((starts + ends) / 2, count_targets(labels, setup))


def decode(example: QuestionExample, windows: Sequence[Window], setup: TaskSetup) -> AnswerPrediction:
    """Take the best span over all windows and paragraphs, or say that there is no answer."""
    import numpy as np  # heavy: kept out of plugin discovery

    found, no_answer = _candidates(example, windows, setup)
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))[: setup.options.n_best]
    if not ranked:
        return AnswerPrediction(example.id, "", None, None, None, 1.0, NOTHING_TO_POINT_AT, ())
    logits = np.array([no_answer, *(score for _, score in ranked)])
    weights = np.exp(logits - logits.max())
    shares = (weights / weights.sum()).tolist()
    n_best = tuple(
        FoundSpan(example.contexts[paragraph][start:end], start, end, paragraph, share)
        for ((paragraph, start, end), _), share in zip(ranked, shares[1:], strict=True)
    )
    difference = float(no_answer - ranked[0][1])
    if difference > no_answer_threshold(setup):
        return AnswerPrediction(example.id, "", None, None, None, shares[0], difference, n_best)
    best = n_best[0]
    return AnswerPrediction(example.id, best.text, best.start, best.end, best.paragraph, best.score, difference, n_best)


def perfect_outputs(feature: Feature, setup: TaskSetup) -> Mapping[str, np.ndarray]:  # noqa: ARG001 - likewise
    """Be sure of the token where the answer starts and of the one where it ends, where this window holds them."""
    import numpy as np  # heavy: kept out of plugin discovery

    places = np.arange(len(feature.inputs["input_ids"]))
    return {START: SURE * (places == feature.labels["start"]), END: SURE * (places == feature.labels["end"])}


def _candidates(
    example: QuestionExample, windows: Iterable[Window], setup: TaskSetup
) -> tuple[dict[tuple[int, int, int], float], float]:
    """Return spans (paragraph, start, end) with their best score over the windows, and the score of "no answer".

    That is the lowest over the windows, as in the scripts of ``transformers``: one window with an answer is enough.
    """
    import numpy as np  # heavy: kept out of plugin discovery

    from polyhead.registry.toolkit.answer_spans import best_spans, tidy_span

    starts, options = example.paragraph_starts, setup.options
    found: dict[tuple[int, int, int], float] = {}
    no_answer = float("inf")
    for window in windows:
        offsets_T2 = np.array(window.feature.offsets, dtype=np.int64).reshape(-1, 2)
        start_T, end_T = window.outputs[START], window.outputs[END]
        place = int(np.flatnonzero(offsets_T2[:, 0] == NO_ANSWER[0])[0])
        no_answer = min(no_answer, float(start_T[place]) + float(end_T[place]))
        spans = best_spans(
            start_T, end_T, offsets_T2, longest=options.max_answer_length, most=CANDIDATES * options.n_best
        )
        for score, left, right in spans:
            paragraph = paragraph_at(starts, left)
            base = starts[paragraph]
            start, end = tidy_span(example.contexts[paragraph], left - base, right - base)
            if start < end and score > found.get((paragraph, start, end), float("-inf")):
                found[paragraph, start, end] = score
    return found, no_answer
