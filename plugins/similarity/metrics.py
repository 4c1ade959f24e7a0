"""How predictions are scored, what they are compared with, and how thresholds are chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from polyhead.plugins.similarity.data import SimilarityExample
from polyhead.plugins.similarity.head import (
    LabelledPairPrediction,
    PairPrediction,
    SimilarityPrediction,
    TripletPrediction,
)
from polyhead.registry import DataError, Scores, TaskSetup
from polyhead.registry.toolkit.binary_labels import negative_and_positive

Pairs = Sequence[tuple[PairPrediction, SimilarityExample]]

HEADLINES = {"labels": "average_precision", "triplets": "triplet_accuracy", "positives": "mrr"}


def score(
    predictions: Sequence[SimilarityPrediction], examples: Sequence[SimilarityExample], setup: TaskSetup
) -> Scores:
    """Score each kind of example that there is: correlation, labels, triplets, and ranks of positive pairs."""
    pairs: dict[str, list[Any]] = {}
    for prediction, example in zip(predictions, examples, strict=True):
        if example.kind is not None:
            pairs.setdefault(example.kind, []).append((prediction, example))
    scorers: dict[str, Callable[[Any, TaskSetup], Scores]] = {
        "scores": _correlation,
        "labels": _labels,
        "triplets": _triplets,
        "positives": _ranks,
    }
    found = [scorers[kind](pairs[kind], setup) for kind in scorers if kind in pairs]
    if not found:
        raise DataError("nothing to score: there are no pairs or triplets")
    values = {name: value for scores in found for name, value in scores.values.items()}
    return Scores(values, " ".join(scores.signature for scores in found))


def headline(setup: TaskSetup) -> str:
    """Name the value that decides which model is best."""
    return HEADLINES.get(setup.facts.get("kind", ""), "spearman")


def calibrate(
    predictions: Sequence[SimilarityPrediction], examples: Sequence[SimilarityExample], setup: TaskSetup
) -> TaskSetup:
    """Choose the threshold of labelled pairs by F1; fit the line from similarities to the scale of scores."""
    import numpy as np  # heavy: kept out of plugin discovery

    from polyhead.registry.toolkit.similarity_metrics import best_threshold

    kind = setup.facts.get("kind")
    pairs = [
        (prediction.similarity, example)
        for prediction, example in zip(predictions, examples, strict=True)
        if isinstance(prediction, PairPrediction) and example.kind == kind
    ]
    similarities = [similarity for similarity, _ in pairs]
    if kind == "labels" and pairs:
        positive = [example.label == setup.labels[-1] for _, example in pairs]
        return replace(setup, facts={**setup.facts, "threshold": best_threshold(similarities, positive)})
    if kind == "scores" and len(set(similarities)) > 1:
        slope, start = np.polyfit(similarities, [example.score or 0.0 for _, example in pairs], 1)
        if slope > 0:  # else the model knows nothing yet, and a falling line would turn it round
            return replace(setup, facts={**setup.facts, "line": [float(slope), float(start)]})
    return setup


def baseline(examples: Sequence[SimilarityExample], setup: TaskSetup) -> list[SimilarityPrediction]:
    """Compare texts by the cosine of their TF-IDF vectors of 1 to 3 characters; 1 + log of counts, fitted here."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # heavy: kept out of plugin discovery

    del setup
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)
    rows = vectorizer.fit_transform([text for example in examples for text in example.texts])
    found: list[SimilarityPrediction] = []
    at = 0
    for example in examples:
        own, at = rows[at : at + len(example.texts)], at + len(example.texts)
        similarities = (own[1:] @ own[0].T).toarray()[:, 0].tolist()
        if len(similarities) > 1:
            found.append(TripletPrediction(example.id, tuple(similarities)))
            continue
        prediction = PairPrediction(example.id, similarities[0] if similarities else 1.0)
        object.__setattr__(prediction, "vectors", (own[0], own[-1]))
        found.append(prediction)
    return found


def _correlation(pairs: Pairs, setup: TaskSetup) -> Scores:
    from polyhead.registry.toolkit.similarity_metrics import correlation_scores  # heavy: imports evaluate

    del setup
    gold = [example.score for _, example in pairs if example.score is not None]
    return correlation_scores([prediction.similarity for prediction, _ in pairs], gold)


def _labels(pairs: Pairs, setup: TaskSetup) -> Scores:
    from polyhead.registry.toolkit.similarity_metrics import pair_label_scores  # heavy: imports evaluate

    labels = [example.label for _, example in pairs if example.label is not None]
    positive = (setup.labels or negative_and_positive(labels, setup.options.positive_label))[-1]
    labelled = all(isinstance(prediction, LabelledPairPrediction) for prediction, _ in pairs)
    threshold = setup.facts.get("threshold", 0.5) if labelled else None  # the baseline has no threshold of its own
    similarities = [prediction.similarity for prediction, _ in pairs]
    return pair_label_scores(similarities, [label == positive for label in labels], threshold)


def _triplets(pairs: Sequence[tuple[TripletPrediction, SimilarityExample]], setup: TaskSetup) -> Scores:
    from polyhead.registry.toolkit.similarity_metrics import triplet_scores  # heavy: imports evaluate

    del setup
    compared = [(found.similarities[0], negative) for found, _ in pairs for negative in found.similarities[1:]]
    return triplet_scores([positive for positive, _ in compared], [negative for _, negative in compared])


def _ranks(pairs: Pairs, setup: TaskSetup) -> Scores:
    from polyhead.registry.toolkit.similarity_metrics import retrieval_scores  # heavy: imports evaluate

    vectors = [prediction.vectors for prediction, _ in pairs if prediction.vectors is not None]
    if setup.options.architecture == "cross-encoder" or len(vectors) < len(pairs):
        raise DataError("pairs without a score or a label are ranked by their vectors, and a cross-encoder has none")
    texts = [example.texts[1] for _, example in pairs]
    return retrieval_scores([first for first, _ in vectors], [second for _, second in vectors], texts)
