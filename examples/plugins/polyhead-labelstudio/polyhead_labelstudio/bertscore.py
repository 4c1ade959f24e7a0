"""BERTScore: how well the tokens of two texts match by their contextual embeddings.

Zhang, Kishore, Wu, Weinberger and Artzi 2020, BERTScore: Evaluating Text Generation with BERT, equation 1: every token
of the expected text is matched with the nearest token of the written one (recall), and the other way round (precision).
Tokens count alike (no idf), special tokens do not count, and nothing is rescaled.

Values are means over all texts. A text without a token has precision and recall 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from polyhead.registry import DataError, Scores, TaskSetup
from polyhead_labelstudio.written_pairs import Pairs, PairsOf

if TYPE_CHECKING:
    from polyhead_labelstudio.embedding import Embedder


def score(pairs_of: PairsOf, predictions: Sequence[Any], examples: Sequence[Any], setup: TaskSetup) -> Scores:  # noqa: ARG001
    """Compute precision, recall and F1, and which share of the expected tokens the model does not know.

    No values where no text was written, or none is known to compare with.
    """
    pairs = _pairs(pairs_of, predictions, examples)
    if not pairs:
        return Scores({}, "bertscore|nothing to compare")
    embedder = _embedder()
    texts = embedder.embed([text for pair in pairs for text in pair])
    found = [_matched(texts[at], texts[at + 1]) for at in range(0, len(texts), 2)]
    values = {
        **_means(found),
        "bertscore_unknown": embedder.unknown_share([expected for _, expected in pairs]),
    }
    return Scores(values, f"bertscore|{embedder.signature}|idf:no|special-tokens:no|rescaled:no")


def reference(
    pairs_of: PairsOf,
    predictions: Sequence[Any],
    examples: Sequence[Any],
    setup: TaskSetup,  # noqa: ARG001 - the contract's form
) -> Mapping[str, float]:
    """Compute the same by the definition: one text at a time, one token at a time."""
    pairs = _pairs(pairs_of, predictions, examples)
    if not pairs:
        return {}
    embedder = _embedder()
    found = []
    for written, expected in pairs:
        (ones,), (others,) = (embedder.embed([text]) for text in (written, expected))
        precision, recall = _nearest(ones.tolist(), others.tolist()), _nearest(others.tolist(), ones.tolist())
        found.append((precision, recall))
    return _means(found)


def _pairs(pairs_of: PairsOf, predictions: Sequence[Any], examples: Sequence[Any]) -> Pairs:
    if not predictions:
        raise DataError("bertscore: there is nothing to score")
    return pairs_of(predictions, examples)


def _embedder() -> Embedder:
    from polyhead_labelstudio.embedding import minilm  # torch: kept out of plugin discovery

    return minilm()


def _matched(written_TD: Any, expected_TD: Any) -> tuple[float, float]:
    """Return precision and recall of one text; of vectors of length 1 the product is the cosine."""
    if not len(written_TD) or not len(expected_TD):
        return 0.0, 0.0
    cosine_TT = written_TD @ expected_TD.T
    return float(cosine_TT.amax(1).mean()), float(cosine_TT.amax(0).mean())


def _means(found: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return the means over texts of precision, recall and their harmonic mean."""
    f1 = [2 * p * r / (p + r) if p + r > 0 else 0.0 for p, r in found]
    return {
        "bertscore_precision": fmean(p for p, _ in found),
        "bertscore_recall": fmean(r for _, r in found),
        "bertscore_f1": fmean(f1),
    }


def _nearest(ones: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> float:
    """Return how near each vector's nearest is among others, on average."""
    if not ones or not others:
        return 0.0
    return fmean(max(_cosine(one, other) for other in others) for one in ones)


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return float(product / (sum(a * a for a in one) * sum(b * b for b in other)) ** 0.5)
