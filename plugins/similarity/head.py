"""Heads, losses, decoding and search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from polyhead.plugins.similarity.data import SimilarityExample
from polyhead.registry import Feature, HeadSpec, LabelField, LossSum, Output, RunError, TaskSetup, Window
from polyhead.registry.toolkit.embedding_encoding import by_text
from polyhead.registry.toolkit.single_label import pooled_head as pooled_label_head

if TYPE_CHECKING:
    import numpy as np
    import torch

PERFECT_WIDTH, ALMOST_NONE = 32, 1e-9
"""Of the vectors, and the least share, that a perfect head gives."""
DECIMALS = 8
"""Of written vectors: float32 has no more."""


@dataclass(frozen=True)
class PairPrediction:
    """How similar two texts are: their cosine, or the probability that a cross-encoder gives."""

    id: str
    similarity: float

    vectors: ClassVar[tuple[Any, Any] | None] = None
    """The two vectors, where the pair is to be ranked among others: on the instance, but never written."""


@dataclass(frozen=True)
class ScoredPairPrediction(PairPrediction):
    """Likewise, with the score on the scale of the training data."""

    score: float


@dataclass(frozen=True)
class LabelledPairPrediction(PairPrediction):
    """Likewise, with the label that the threshold gives."""

    label: str


@dataclass(frozen=True)
class TripletPrediction:
    """How similar the anchor is to its positive, and to each negative."""

    id: str
    similarities: tuple[float, ...]


@dataclass(frozen=True)
class EmbeddingPrediction:
    """The vector of a text."""

    id: str
    embedding: tuple[float, ...]

    text: ClassVar[str] = ""
    """The text, for whoever finds it by its vector: on the instance, but never written."""


@dataclass(frozen=True)
class Neighbour:
    """A text of the corpus, and its cosine with the query."""

    id: str
    text: str
    score: float


@dataclass(frozen=True)
class SearchPrediction:
    """The nearest texts of a corpus, nearest first."""

    id: str
    nearest: tuple[Neighbour, ...]


SimilarityPrediction = PairPrediction | TripletPrediction | EmbeddingPrediction | SearchPrediction


# ── heads ───────────────────────────────────────────────────────────────────────────────────────────────


def default_head(setup: TaskSetup) -> HeadSpec:
    """Pool the token states; of a cross-encoder, the architecture's own sequence-classification head."""
    if setup.options.architecture == "bi-encoder":
        build = partial(_build_embedding_head, pooling=setup.options.pooling)
        return HeadSpec(size=1, build=build, outputs=(Output("embedding"), Output("weight")))
    labels = tuple(setup.facts.get("head_labels", ()))  # of a model that others fine-tuned
    return HeadSpec(
        size=len(labels) or 1,
        labels=labels,
        auto_class="AutoModelForSequenceClassification",
        build=pooled_label_head(setup).build,
    )


def encoder_decoder_head(setup: TaskSetup) -> HeadSpec:
    """Pool the encoder's states; of a cross-encoder, with one linear layer on top."""
    if setup.options.architecture == "bi-encoder":
        return default_head(setup)
    labels = tuple(setup.facts.get("head_labels", ()))
    return HeadSpec(size=len(labels) or 1, labels=labels, build=pooled_label_head(setup).build)


def _build_embedding_head(config: Any, spec: HeadSpec, *, pooling: Any) -> torch.nn.Module:
    from polyhead.registry.toolkit.embedding_head import EmbeddingHead  # torch: kept out of plugin discovery

    del config, spec
    return EmbeddingHead(pooling)


# ── loss ────────────────────────────────────────────────────────────────────────────────────────────────


def label_fields(setup: TaskSetup) -> tuple[LabelField, ...]:
    """Name which text of its example a feature belongs to, which window of it it is, and how similar it is meant to be.

    A cross-encoder's feature holds the pair: only the last is needed.
    """
    target = LabelField("target", "float")
    if setup.options.architecture == "cross-encoder":
        return (target,)
    places = (LabelField("text"), LabelField("window"))
    return (*places, target) if _loss_name(setup) in ("cosine", "cosent") else places


def together(setup: TaskSetup) -> int:
    """Return how many examples the loss compares with one another; all windows of an example belong together."""
    return int(setup.options.group) if _loss_name(setup) in ("cosent", "multiple-negatives") else 1


def count_targets(labels: tuple[torch.Tensor, ...], setup: TaskSetup) -> torch.Tensor:
    """Count pairs; triplets for the triplet loss; windows of a cross-encoder."""
    import torch  # heavy: kept out of plugin discovery

    from polyhead.registry.toolkit import embedding_losses

    if setup.options.architecture == "cross-encoder":
        return torch.tensor(float(len(labels[0])), device=labels[0].device)
    count = embedding_losses.triplet_count if _loss_name(setup) == "triplet" else embedding_losses.pair_count
    return count(labels[0], labels[1])


def loss(outputs: tuple[torch.Tensor, ...], labels: tuple[torch.Tensor, ...], setup: TaskSetup) -> LossSum:
    """Sum the loss that the options name."""
    from polyhead.registry.toolkit import embedding_losses as losses  # torch: kept out of plugin discovery

    options, name = setup.options, _loss_name(setup)
    if options.architecture == "cross-encoder":
        return _cross_encoder_loss(outputs[0], labels[0], setup)
    texts = losses.merge_windows(outputs[0], outputs[1], labels[0], labels[1], options.pooling)
    if name == "cosine":
        return losses.cosine_squared_error(texts, labels[2])
    if name == "cosent":
        return losses.cosent(texts, labels[2], temperature=options.temperature, group=options.group)
    if name == "triplet":
        return losses.triplet(texts, margin=options.margin)
    return losses.multiple_negatives(texts, temperature=options.temperature, group=options.group)


def _loss_name(setup: TaskSetup) -> str:
    """Return the loss that was learned with; of a model that others trained, one that fits its head."""
    other = "binary-cross-entropy" if setup.options.architecture == "cross-encoder" else "cosent"
    return str(setup.facts.get("loss", other))


def _cross_encoder_loss(logits_BL: torch.Tensor, target_B: torch.Tensor, setup: TaskSetup) -> LossSum:
    from torch.nn import functional  # heavy: kept out of plugin discovery

    logit_B = _one_logit(logits_BL, setup)
    if _loss_name(setup) == "squared-error":
        total = (logit_B.sigmoid() - target_B).square().sum()
    else:
        total = functional.binary_cross_entropy_with_logits(logit_B, target_B, reduction="sum")
    return LossSum(total, count_targets((target_B,), setup))


def _one_logit(logits: Any, setup: TaskSetup) -> Any:
    """Return the log-odds of the pair meaning the same; a head with two labels gives them as a difference."""
    if logits.shape[-1] == 1:
        return logits[..., 0]
    positive = setup.facts["positive"]
    return logits[..., positive] - logits[..., 1 - positive]


# ── predictions ─────────────────────────────────────────────────────────────────────────────────────────


def decode(example: SimilarityExample, windows: Sequence[Window], setup: TaskSetup) -> SimilarityPrediction:
    """Merge the windows of each text, and compare it with the anchor."""
    if setup.options.architecture == "cross-encoder":
        return _told(example, [_probability(found, setup) for found in by_text(windows)], setup)
    vectors = [_vector(found, setup) for found in by_text(windows)]
    if len(vectors) == 1:
        vector = _unit(vectors[0]) if setup.options.normalize else vectors[0]
        embedding = EmbeddingPrediction(example.id, tuple(round(float(value), DECIMALS) for value in vector))
        object.__setattr__(embedding, "text", example.texts[0])
        return embedding
    units = [_unit(vector) for vector in vectors]
    prediction = _told(example, [float(min(1.0, max(-1.0, units[0] @ other))) for other in units[1:]], setup)
    if example.kind == "positives":
        object.__setattr__(prediction, "vectors", (units[0], units[1]))
    return prediction


def perfect_outputs(feature: Feature, setup: TaskSetup) -> Mapping[str, np.ndarray]:
    """Give vectors whose cosines are what the texts' similarity is meant to be, or the log-odds of that.

    Without a target the second text is as the first, further ones have nothing of it, and other examples neither.
    """
    import numpy as np  # heavy: kept out of plugin discovery

    labels = {name: float(np.asarray(value)) for name, value in feature.labels.items()}
    target = labels.get("target", 1.0)
    if setup.options.architecture == "cross-encoder":
        log_odds = math.log(max(target, ALMOST_NONE) / max(1 - target, ALMOST_NONE))
        positive, count = setup.facts.get("positive", 0), len(setup.facts.get("head_labels", ())) or 1
        return {"logits": log_odds * (np.arange(count) == positive)}
    cosine = {0.0: 1.0, 1.0: target}.get(labels["text"], 0.0)
    axes = np.eye(2)  # the same for all: equal targets are to give equal cosines
    if "target" not in labels:
        axes = np.random.default_rng(feature.example).standard_normal((2, PERFECT_WIDTH))
        axes[1] -= axes[1] @ _unit(axes[0]) * _unit(axes[0])
    return {
        "embedding": cosine * _unit(axes[0]) + math.sqrt(1 - cosine**2) * _unit(axes[1]),
        "weight": np.ones(1),
    }


def _told(example: SimilarityExample, similarities: Sequence[float], setup: TaskSetup) -> SimilarityPrediction:
    if len(similarities) > 1:
        return TripletPrediction(example.id, tuple(similarities))
    (similarity,) = similarities
    if setup.facts.get("kind") == "scores":
        return ScoredPairPrediction(example.id, similarity, _score_of(similarity, setup))
    threshold = setup.facts.get("threshold", 0.5 if setup.options.architecture == "cross-encoder" else None)
    if setup.facts.get("kind") == "labels" and threshold is not None:
        return LabelledPairPrediction(example.id, similarity, setup.labels[int(similarity >= threshold)])
    return PairPrediction(example.id, similarity)


def _score_of(similarity: float, setup: TaskSetup) -> float:
    """Return the score on the training data's scale: by the line fitted on validation data, where there is one."""
    low, high = setup.facts["scale"]
    slope, start = setup.facts.get("line", (high - low, low))
    return float(min(high, max(low, start + slope * similarity)))


def _vector(windows: Sequence[Window], setup: TaskSetup) -> np.ndarray:
    """Merge the vectors of a text's windows as the training loss does."""
    import numpy as np  # heavy: kept out of plugin discovery

    vectors = np.stack([window.outputs["embedding"] for window in windows]).astype(np.float64)
    if setup.options.pooling == "max":
        return np.asarray(vectors.max(0))
    weights = [float(window.outputs["weight"][0]) for window in windows]
    return np.asarray(np.average(vectors, axis=0, weights=weights))


def _probability(windows: Sequence[Window], setup: TaskSetup) -> float:
    """Return the sigmoid of the windows' mean log-odds."""
    mean = sum(float(_one_logit(window.outputs["logits"], setup)) for window in windows) / len(windows)
    return 1.0 / (1.0 + math.exp(-mean)) if mean > -700 else 0.0


def _unit(vector: np.ndarray) -> np.ndarray:
    import numpy as np  # heavy: kept out of plugin discovery

    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))


def search(
    queries: Sequence[SimilarityPrediction], corpus: Sequence[SimilarityPrediction], k: int
) -> list[SimilarityPrediction]:
    """Return for each query the ``k`` texts of the corpus with the highest cosine, nearest first.

    Raises:
        RunError: A query or an entry of the corpus is no single text.

    """
    import numpy as np  # heavy: kept out of plugin discovery

    texts = [_embedding_of(entry, "the corpus") for entry in corpus]
    asked = [_embedding_of(query, "the queries") for query in queries]
    if not texts:
        raise RunError("--corpus: there is nothing to search")
    corpus_ND = np.stack([_unit(np.array(entry.embedding)) for entry in texts])
    found: list[SimilarityPrediction] = []
    for query in asked:
        cosine_N = corpus_ND @ _unit(np.array(query.embedding))
        best = np.argsort(-cosine_N, kind="stable")[:k].tolist()
        nearest = tuple(Neighbour(texts[at].id, texts[at].text, float(cosine_N[at])) for at in best)
        found.append(SearchPrediction(query.id, nearest))
    return found


def _embedding_of(prediction: SimilarityPrediction, where: str) -> EmbeddingPrediction:
    if not isinstance(prediction, EmbeddingPrediction):
        raise RunError(f"--corpus: '{prediction.id}' of {where} is a pair: searching takes one text a row, column text")
    return prediction
