"""Similarity metrics: equal to scipy, scikit-learn, `sentence-transformers`; degenerate input is 0, and said."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from scipy.stats import pearsonr, spearmanr
from sentence_transformers.sentence_transformer.evaluation import BinaryClassificationEvaluator
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from polyhead.registry import DataError
from polyhead.registry.toolkit.similarity_metrics import (
    best_threshold,
    correlation_scores,
    pair_label_scores,
    retrieval_scores,
    triplet_scores,
)

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"


def gold_scores(language: str) -> list[float]:
    with gzip.open(SAMPLES / f"stsb_{language}" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line)["score"] for line in file]


def noisy(values: list[float], seed: int) -> list[float]:
    generator = random.Random(seed)
    return [value / 5 + generator.gauss(0, 0.3) for value in values]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_correlations_of_real_rows_are_scipys(language):
    gold = gold_scores(language)
    similarities = noisy(gold, 1)
    assert len(gold) >= 200
    found = correlation_scores(similarities, gold)
    assert found.values == pytest.approx(
        {"spearman": spearmanr(similarities, gold)[0], "pearson": pearsonr(similarities, gold)[0]}
    )
    assert "constant" not in found.signature


@pytest.mark.parametrize(
    ("similarities", "gold", "note"),
    [([0.5, 0.5], [1.0, 2.0], "predicted"), ([0.1, 0.5], [3.0, 3.0], "gold"), ([1.0], [1.0], "predicted+gold")],
)
def test_numbers_that_are_all_the_same_correlate_with_nothing(similarities, gold, note):
    found = correlation_scores(similarities, gold)
    assert found.values == {"spearman": 0.0, "pearson": 0.0}
    assert found.signature.endswith(f"|constant:{note}")


def test_labelled_pairs_are_scored_as_the_libraries_do():
    gold = [score >= 3 for score in gold_scores("en")]
    similarities = noisy([float(truth) for truth in gold], 2)
    given = pair_label_scores(similarities, gold, 0.25)
    answers = [similarity >= 0.25 for similarity in similarities]
    assert given.values == pytest.approx(
        {
            "average_precision": average_precision_score(gold, similarities),
            "accuracy": accuracy_score(gold, answers),
            "f1": f1_score(gold, answers),
        }
    )
    assert "threshold:0.2500:from-validation" in given.signature
    chosen = pair_label_scores(similarities, gold, None)
    best, _, _, _ = BinaryClassificationEvaluator.find_best_f1_and_threshold(
        np.array(similarities), np.array(gold, dtype=int), high_score_more_similar=True
    )
    assert chosen.values["f1"] == pytest.approx(best)
    assert "best-f1-on-these-pairs" in chosen.signature


def test_the_threshold_parts_two_similarities():
    assert best_threshold([0.1, 0.2, 0.6, 0.8], [False, False, True, True]) == pytest.approx(0.4)
    assert best_threshold([0.4, 0.4], [True, True]) == 0.4
    assert best_threshold([0.4, 0.9], [False, False]) > 0.9


def test_pairs_without_a_positive_one_have_no_precision():
    found = pair_label_scores([0.1, 0.2], [False, False], None)
    assert found.values == {"average_precision": 0.0, "accuracy": 1.0, "f1": 0.0}
    assert found.signature.endswith("|no-positive-pair")


def test_an_equally_near_negative_is_not_told_apart():
    found = triplet_scores([0.9, 0.5, 0.2, 0.4], [0.1, 0.5, 0.3, 0.3])
    assert found.values == {"triplet_accuracy": 0.5}


def test_ranks_count_what_is_nearer():
    queries = list(np.eye(3))
    candidates = [np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.8, 0.0]), np.array([0.0, 0.0, 0.5])]
    # nearest to the queries: tie of zeros but one (rank 1: both others are 0 too), rank 2, rank 1
    found = retrieval_scores(queries, candidates, ["a", "b", "c"])
    assert found.values == pytest.approx({"recall_at_1": 2 / 3, "mrr": (1 + 1 / 2 + 1) / 3})
    sparse = [[scipy.sparse.csr_array(row[None]) for row in rows] for rows in (queries, candidates)]
    assert retrieval_scores(*sparse, ["a", "b", "c"]).values == pytest.approx(found.values)


def test_a_text_that_reads_the_same_is_no_mistake():
    unit = np.eye(2)
    found = retrieval_scores([unit[0], unit[0]], [unit[0], unit[0]], ["同", "同"])
    assert found.values == {"recall_at_1": 1.0, "mrr": 1.0}


def test_ranks_in_portions_are_those_of_the_whole(monkeypatch):
    draw = np.random.default_rng(0)
    queries, candidates = list(draw.normal(size=(25, 4))), list(draw.normal(size=(25, 4)))
    whole = retrieval_scores(queries, candidates, [str(at) for at in range(25)])
    ranks = [int((np.stack(candidates) @ q > candidates[at] @ q + 1e-9).sum()) for at, q in enumerate(queries)]
    assert whole.values["mrr"] == pytest.approx(np.mean([1 / (1 + rank) for rank in ranks]))
    monkeypatch.setattr("polyhead.registry.toolkit.similarity_metrics.QUERIES_AT_ONCE", 7)
    assert retrieval_scores(queries, candidates, [str(at) for at in range(25)]).values == whole.values


def test_nothing_to_score_is_an_error():
    with pytest.raises(DataError, match="nothing to score"):
        correlation_scores([], [])
