"""Entity scores equal seqeval's own, on real rows with mistakes, English and Chinese."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from polyhead.registry import DataError
from polyhead.registry.toolkit.entity_metrics import entity_scores

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"


def real_tags(name: str, count: int = 300) -> list[list[str]]:
    with gzip.open(SAMPLES / name / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["ner_tags"] for _, line in zip(range(count), lines, strict=False)]


def corrupted(tags: list[list[str]], seed: int) -> list[list[str]]:
    """Return tags with one of ten replaced by any other, so that many entities break the rules of IOB2."""
    draw = random.Random(seed)
    choices = sorted({tag for row in tags for tag in row})
    return [[draw.choice(choices) if draw.random() < 0.1 else tag for tag in row] for row in tags]


@pytest.mark.parametrize("name", ["uner_en_ewt", "uner_zh_gsdsimp"])
def test_scores_are_seqevals(name: str) -> None:
    expected = real_tags(name)
    predicted = corrupted(expected, 5)
    assert len(expected) >= 200
    scores = entity_scores(predicted, expected)
    strict = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    for key, function in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert scores.values[key] == function(expected, predicted, **strict)
        assert scores.values[f"{key}_macro"] == function(expected, predicted, average="macro", **strict)
        assert scores.values[f"{key}_conlleval"] == function(expected, predicted, zero_division=0)
    assert 0.1 < scores.values["f1"] != scores.values["f1_conlleval"] < 1
    report = classification_report(expected, predicted, output_dict=True, **strict)
    rows = {
        row[0]: dict(zip(("precision", "recall", "f1-score", "support"), row[1:], strict=True))
        for row in scores.tables[0].rows
    }
    assert rows == {kind: report[kind] for kind in ("LOC", "ORG", "PER")}
    assert all(type(value) is float for value in scores.values.values())


def test_a_stray_inside_tag_counts_for_conlleval_only() -> None:
    values = entity_scores([["I-PER", "I-PER", "O"]], [["B-PER", "I-PER", "O"]]).values
    assert (values["f1"], values["f1_conlleval"]) == (0.0, 1.0)


def test_texts_without_tokens_or_entities() -> None:
    scores = entity_scores([[], ["O"]], [[], ["O"]])
    assert set(scores.values.values()) == {0.0}
    assert scores.tables == ()
    perfect = entity_scores([[], ["B-人"]], [[], ["B-人"]])
    assert set(perfect.values.values()) == {1.0}
    assert perfect.signature.startswith("entities|seqeval:1.")


def test_nothing_to_score() -> None:
    with pytest.raises(DataError, match="no examples"):
        entity_scores([], [])
