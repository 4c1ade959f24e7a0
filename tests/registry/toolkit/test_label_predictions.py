"""Outputs become labels with probabilities, merged over the windows of a text."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from polyhead.registry import Feature, TaskSetup, Window
from polyhead.registry.toolkit.label_predictions import labels_above, likeliest_label

SETUP = TaskSetup(None, ("差", "中", "好"))
PAIR = TaskSetup(None, ("差", "好"))


def windows(*logits: list[float]) -> list[Window]:
    return [Window(Feature(0, {}), {"logits": np.array(row, dtype=np.float32)}) for row in logits]


def test_the_likeliest_label_is_the_softmax_s():
    found = likeliest_label("x", windows([0.0, 1.0, 2.0]), SETUP)
    total = sum(math.exp(value) for value in (0, 1, 2))
    assert found.scores == pytest.approx({name: math.exp(n) / total for n, name in enumerate(SETUP.labels)})
    assert (found.id, found.label, found.score) == ("x", "好", found.scores["好"])


def test_windows_are_merged_by_their_mean_logits():
    several = likeliest_label("x", windows([0.0, 4.0, 0.0], [3.0, 0.0, 0.0], [3.0, 0.0, 0.0]), SETUP)
    one = likeliest_label("x", windows([2.0, 4 / 3, 0.0]), SETUP)
    assert several.label == one.label == "差"
    assert several.scores == pytest.approx(one.scores, abs=1e-6)


def test_large_logits_overflow_nothing():
    assert likeliest_label("x", windows([1e4, -1e4, 0.0]), SETUP).score == 1.0


@pytest.mark.parametrize(("threshold", "expected"), [(0.5, ("中", "好")), (0.6, ("好",)), (0.99, ())])
def test_all_labels_above_the_threshold(threshold, expected):
    found = labels_above("x", windows([-1.0, 0.0, 2.0]), SETUP, threshold)
    assert found.labels == expected
    assert found.scores == pytest.approx({"差": 1 / (1 + math.e), "中": 0.5, "好": 1 / (1 + math.exp(-2))})


def test_windows_of_label_sets_are_merged_too():
    assert labels_above("x", windows([4.0, -4.0, 0.1], [-5.0, 6.0, 0.1]), SETUP, 0.5).labels == ("中", "好")


def test_extreme_logits_of_label_sets_overflow_nothing():
    assert labels_above("x", windows([-800.0, 800.0, 0.0]), SETUP, 0.5).scores == {"差": 0.0, "中": 1.0, "好": 0.5}


def test_predictions_are_plain_json():
    one, several = likeliest_label("x", windows([0.0, 1.0]), PAIR), labels_above("x", windows([0.0, 1.0]), PAIR, 0.4)
    for found in (one, several):
        assert json.loads(json.dumps(dataclasses.asdict(found)))["id"] == "x"


def test_a_temperature_divides_the_logits():
    warm = likeliest_label("x", windows([0.0, 2.0, 4.0]), SETUP, temperature=2.0)
    assert warm.scores == pytest.approx(likeliest_label("x", windows([0.0, 1.0, 2.0]), SETUP).scores)


def test_each_label_may_have_its_threshold():
    thresholds = {"差": 0.2, "中": 0.6, "好": 0.95}
    assert labels_above("x", windows([-1.0, 0.0, 2.0]), SETUP, thresholds).labels == ("差",)
