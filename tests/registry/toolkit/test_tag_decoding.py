"""Constrained decoding finds the best of all allowed sequences, and nothing else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import log_softmax as reference_log_softmax

from polyhead.registry.toolkit.tag_decoding import best_tags, log_softmax
from polyhead.registry.toolkit.tag_schemes import check_tags, tag_names, tag_set

LABELS = {
    "IOB2": tag_names(["X", "Y"], "IOB2"),
    "BIOES": tag_names(["X"], "BIOES"),
    "IOB1": ("O", "I-X", "B-Y", "I-Y"),
    "IO": ("O", "I-X", "I-Y"),
}


def is_allowed(names: tuple[str, ...], scheme: str) -> bool:
    try:
        check_tags(names, scheme)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("scheme", LABELS)
@pytest.mark.parametrize("length", [1, 2, 4])
def test_the_best_allowed_sequence_of_all(scheme: str, length: int) -> None:
    labels = LABELS[scheme]
    draw = np.random.default_rng(length)
    paths = itertools.product(range(len(labels)), repeat=length)
    allowed = [path for path in paths if is_allowed(tuple(labels[at] for at in path), scheme)]
    for _ in range(20):
        scores_NL = log_softmax(draw.normal(size=(length, len(labels)), scale=2))
        expected = max(allowed, key=lambda path: sum(scores_NL[at, tag] for at, tag in enumerate(path)))
        assert tuple(best_tags(scores_NL, tag_set(labels), constrained=True)) == expected


def test_unconstrained_takes_the_best_of_each() -> None:
    scores_NL = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    tags = tag_set(tag_names(["X"], "IOB2"))
    assert best_tags(scores_NL, tags, constrained=False) == [2, 2]
    assert best_tags(scores_NL, tags, constrained=True) == [1, 2]
    assert best_tags(scores_NL[:0], tags, constrained=True) == []


def test_a_set_in_which_nothing_can_end_still_gives_an_answer() -> None:
    tags = tag_set(("O", "B-X", "E-Y"))
    assert best_tags(np.array([[-9.0, 0.0, -1.0]]), tags, constrained=True) == [0]
    assert len(best_tags(np.full((3, 3), -np.log(3.0)), tags, constrained=True)) == 3


def test_log_probabilities() -> None:
    logits_NL = np.random.default_rng(0).normal(size=(5, 4), scale=30)
    np.testing.assert_allclose(log_softmax(logits_NL), reference_log_softmax(logits_NL, axis=1))
