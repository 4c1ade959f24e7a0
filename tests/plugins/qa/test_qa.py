"""Question answering: rows, windows, labels, loss and what is made of logits."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from polyhead.registry import DataError, EncodeSettings, RowError, TaskSetup, Window
from polyhead.registry.toolkit.question_answering import Answer, AnswerPrediction, FoundSpan, QuestionExample

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"
CONTEXT = "李白字太白，号青莲居士。 He was born in Suiye, and died in 762. " * 3
ROW = {"question": "Where?", "context": CONTEXT, "answers": {"text": ["Suiye"], "answer_start": [28]}}
NONE = {"text": [], "answer_start": []}


@pytest.fixture(scope="module")
def task(registry: Any) -> Any:
    return registry.task("qa")


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Any) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


@pytest.fixture
def setup(task: Any) -> TaskSetup:
    return TaskSetup(task.options(), facts={"no_answer": True})


def example(task: Any, **changes: Any) -> QuestionExample:
    made: QuestionExample = task.to_example({**ROW, **changes}, "a", task.options())
    return made


def windows_with(task: Any, features: Any, **at: tuple[int, int, float]) -> list[Window]:
    """Return the features as windows whose logits are 0 but where (window, token, value) says otherwise."""
    found = []
    for number, feature in enumerate(features):
        logits = {
            name: np.zeros(len(feature.inputs["input_ids"]), np.float32) for name in ("start_logits", "end_logits")
        }
        for name, (window, token, value) in at.items():
            if window == number:
                logits[f"{name}_logits"][token] = value
        found.append(Window(feature, logits))
    return found


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────


def test_rows(task):
    assert example(task, title="李白") == QuestionExample("a", "Where?", (CONTEXT,), (Answer("Suiye", 28),), "李白")
    assert example(task, answers=NONE).answers == ()
    assert example(task, answers=None).answers is None
    several = example(task, context=None, contexts=["甲乙", "丙 Suiye"], answers=["Suiye"])
    assert (several.contexts, several.answers) == (("甲乙", "丙 Suiye"), (Answer("Suiye", 2, 1),))


@pytest.mark.parametrize(
    ("changes", "column", "message"),
    [
        ({"context": None}, "context", "is missing: a row needs 'context'"),
        ({"contexts": ["a"]}, "contexts", "either 'context' or 'contexts'"),
        ({"context": None, "contexts": []}, "contexts", "expected a list of paragraphs"),
        ({"context": None, "contexts": ["a", " "]}, "contexts", "the text is empty"),
        ({"question": ""}, "question", "the text is empty"),
        ({"context": 7}, "context", "expected a text"),
        ({"title": 7}, "title", "expected a text"),
        ({"answers": {"text": ["Suiye"], "answer_start": [30]}}, "answers", "it stands 2 characters earlier, at 28"),
    ],
)
def test_rows_that_make_no_sense(task, changes, column, message):
    with pytest.raises(RowError, match=message) as error:
        example(task, **changes)
    assert error.value.column == column


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_best": 0}, "n_best must be at least 1, not 0"),
        ({"max_answer_length": 0}, "max_answer_length must be at least 1"),
        ({"template": "{question}"}, "template must hold {question} and {context} once each"),
        ({"template": "{context} {question}"}, "template must hold {question} before {context}"),
    ],
)
def test_options_that_make_no_sense(task, options, message):
    with pytest.raises(ValueError, match=message):
        task.options(**options)


def test_preparing_learns_whether_questions_may_stay_unanswered(task):
    answered, none = example(task), example(task, answers=NONE)
    assert task.prepare([answered, none], task.options()).facts == {"no_answer": True}
    assert task.prepare([answered], task.options()).facts == {"no_answer": False}
    with pytest.raises(DataError, match="no question with an answer"):
        task.prepare([none, none], task.options())


# ── windows and labels ──────────────────────────────────────────────────────────────────────────────────


def test_every_window_with_the_answer_points_to_it(task, tokenizer, setup):
    answered = example(task)
    features = task.encode([answered, example(task, answers=NONE)], EncodeSettings(tokenizer, 32, 16, setup))
    mine = [feature for feature in features if feature.example == 0]
    holding = [feature for feature in mine if feature.labels["start"]]
    assert len(mine) > len(holding) >= 1
    for feature in holding:
        span = [feature.offsets[feature.labels[name]] for name in ("start", "end")]
        assert answered.contexts[0][span[0][0] : span[1][1]] == "Suiye"
    for feature in features:
        if feature not in holding:
            assert (feature.labels["start"], feature.labels["end"]) == (0, 0)
        assert feature.labels["allowed"] == [int(n == 0 or start >= 0) for n, (start, _) in enumerate(feature.offsets)]
        assert sum(feature.labels["allowed"]) < len(feature.inputs["input_ids"])


def test_the_answer_most_people_gave_is_trained_on(task, tokenizer, setup):
    answers = {"text": ["born in Suiye", "Suiye", "Suiye"], "answer_start": [20, 28, 28]}
    (feature,) = task.encode([example(task, answers=answers)], EncodeSettings(tokenizer, 128, 16, setup))
    assert CONTEXT[feature.offsets[feature.labels["start"]][0] : feature.offsets[feature.labels["end"]][1]] == "Suiye"


def test_a_word_that_holds_the_answer_is_taken_whole(task, tokenizer, setup):
    answers = {"text": ["uiy"], "answer_start": [29]}
    (feature,) = task.encode([example(task, answers=answers)], EncodeSettings(tokenizer, 128, 16, setup))
    span = feature.offsets[feature.labels["start"]][0], feature.offsets[feature.labels["end"]][1]
    assert span[0] <= 29
    assert span[1] >= 32


def test_paragraphs_get_windows_and_places_of_their_own(task, tokenizer, setup):
    contexts = ["甲乙丙。", CONTEXT, "no Suiye here"]
    several = example(
        task, context=None, contexts=contexts, answers=[{"text": "Suiye", "answer_start": 3, "paragraph": 2}]
    )
    features = task.encode([several], EncodeSettings(tokenizer, 128, 16, setup))
    assert [bool(feature.labels["start"]) for feature in features] == [False, False, True]
    joined = "\n".join(contexts)
    for feature, context in zip(features, contexts, strict=True):
        spans = [span for span in feature.offsets if span[0] >= 0]
        assert joined[spans[0][0] : spans[-1][1]] == context.strip()


def test_without_answers_or_when_predicting_there_are_no_labels(task, tokenizer, setup):
    unknown, known = example(task, answers=None), example(task)
    assert task.encode([unknown], EncodeSettings(tokenizer, 128, 16, setup))[0].labels == {}
    assert task.encode([known], EncodeSettings(tokenizer, 128, 16, setup, predicting=True))[0].labels == {}
    assert task.encode([], EncodeSettings(tokenizer, 128, 16, setup)) == []


def test_an_answer_that_has_no_token_counts_for_nothing(task, tokenizer, setup):
    lost = example(task, context="a \u200b b", answers={"text": ["\u200b"], "answer_start": [2]})
    (feature,) = task.encode([lost], EncodeSettings(tokenizer, 32, 0, setup))
    assert (feature.labels["start"], feature.labels["end"]) == (-100, -100)


def test_a_question_that_fills_the_window_is_refused(task, tokenizer, setup):
    with pytest.raises(DataError, match=r"example 'a': the question has 30 tokens .* raise data.max_length"):
        task.encode([example(task, question="why " * 30)], EncodeSettings(tokenizer, 32, 8, setup))


# ── loss ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_loss_is_that_of_transformers_where_every_token_may_be_chosen(task, tiny_bert, setup):
    from transformers import AutoModelForQuestionAnswering

    model = AutoModelForQuestionAnswering.from_pretrained(tiny_bert).eval()
    ids_BT, starts_B, ends_B = torch.randint(1000, 2000, (4, 9)), torch.tensor([1, 0, 8, 3]), torch.tensor([2, 0, 8, 7])
    found = model(input_ids=ids_BT, start_positions=starts_B, end_positions=ends_B)
    labels = (starts_B, ends_B, torch.ones(4, 9, dtype=torch.long))
    total, targets = task.loss((found.start_logits, found.end_logits), labels, setup)
    torch.testing.assert_close(total / targets, found.loss)
    assert targets == task.count_targets(labels, setup) == 4


def test_question_and_padding_get_no_probability(task, setup):
    start_BT, end_BT = (torch.randn(2, 5, requires_grad=True) for _ in range(2))
    allowed = torch.tensor([[1, 0, 1, 1, -100], [1, 0, 0, 1, 1]])
    labels = (torch.tensor([2, 0]), torch.tensor([3, 0]), allowed)
    total, targets = task.loss((start_BT, end_BT), labels, setup)
    expected = 0.0
    for logits_BT, places in ((start_BT, labels[0]), (end_BT, labels[1])):
        for line in range(2):
            kept = [n for n in range(5) if allowed[line, n] == 1]
            expected -= torch.log_softmax(logits_BT[line, kept], 0)[kept.index(int(places[line]))] / 2
    torch.testing.assert_close(total, expected)
    total.backward()
    assert torch.equal(start_BT.grad != 0, allowed == 1)
    assert targets == 2


def test_an_unknown_place_is_no_target(task, setup):
    logits_BT = torch.randn(2, 3)
    labels = (torch.tensor([-100, 1]), torch.tensor([-100, 2]), torch.ones(2, 3, dtype=torch.long))
    total, targets = task.loss((logits_BT, logits_BT), labels, setup)
    alone = task.loss((logits_BT[1:], logits_BT[1:]), tuple(label[1:] for label in labels), setup)
    assert targets == alone.targets == 1
    torch.testing.assert_close(total, alone.total)


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_best_span_of_all_windows_is_answered(task, tokenizer, setup):
    asked = example(task)
    features = task.encode([asked], EncodeSettings(tokenizer, 32, 8, setup))
    which = next(number for number, feature in enumerate(features) if feature.labels["start"])
    places = {name: (which, features[which].labels[name], 4.0) for name in ("start", "end")}
    found = task.decode(asked, windows_with(task, features, **places), setup)
    assert (found.answer, found.start, found.end, found.paragraph) == ("Suiye", 28, 33, 0)
    assert found.no_answer_score == -8.0
    assert len(found.n_best) == 5
    assert found.n_best[0] == FoundSpan("Suiye", 28, 33, 0, found.score)
    others = [span.score for span in found.n_best[1:]]
    assert found.score == pytest.approx(np.exp(8) / (np.exp(8) + sum(np.exp([4.0] * 4)) + 1), rel=1e-3)
    assert others == sorted(others, reverse=True)


def test_no_answer_by_the_threshold(task, tokenizer, setup):
    asked = example(task)
    features = task.encode([asked], EncodeSettings(tokenizer, 128, 8, setup))
    windows = windows_with(task, features, start=(0, 0, 1.5))
    found = task.decode(asked, windows, setup)
    assert (found.answer, found.start, found.end, found.paragraph) == ("", None, None, None)
    assert found.no_answer_score == 1.5
    assert found.n_best
    assert found.score == pytest.approx(np.exp(1.5) / (np.exp(1.5) + 5))
    for options, facts in (
        (task.options(null_threshold=1.5), {}),
        (task.options(no_answer=False), {}),
        (task.options(), {"no_answer": False}),
        (task.options(), {"null_threshold": 2.0}),
    ):
        assert task.decode(asked, windows, TaskSetup(options, facts=facts)).answer


def test_longest_answer_and_number_of_spans(task, tokenizer):
    options = task.options(max_answer_length=2, n_best=3)
    setup = TaskSetup(options, facts={"no_answer": False})
    asked = example(task)
    features = task.encode([asked], EncodeSettings(tokenizer, 128, 8, setup))
    first = features[0].labels["start"]
    found = task.decode(asked, windows_with(task, features, start=(0, first, 9.0), end=(0, first + 9, 9.0)), setup)
    assert len(found.n_best) == 3
    assert max(span.end - span.start for span in found.n_best) <= len("Suiye,")


def test_a_context_without_tokens_has_no_answer(task, tokenizer, setup):
    asked = QuestionExample("a", "?", ("\u200b",))
    features = task.encode([asked], EncodeSettings(tokenizer, 32, 0, setup))
    found = task.decode(asked, windows_with(task, features), setup)
    assert (found.answer, found.score, found.n_best) == ("", 1.0, ())


# ── scores ──────────────────────────────────────────────────────────────────────────────────────────────


def answered(example: QuestionExample, text: str, points: float) -> AnswerPrediction:
    start = example.contexts[0].index(text)
    best = FoundSpan(text, start, start + len(text), 0, 1.0)
    return AnswerPrediction(example.id, text, best.start, best.end, 0, 1.0, points, (best,))


def test_calibrating_chooses_the_threshold_with_the_best_f1(task, setup):
    has, none = example(task), example(task, answers=NONE)
    examples = [has, none, has, none]
    predictions = [answered(e, "Suiye", points) for e, points in zip(examples, (-3.0, -1.0, -2.0, 4.0), strict=True)]
    new = task.calibrate(predictions, examples, setup)
    assert new.facts == {"no_answer": True, "null_threshold": -1.5}
    assert task.calibrate(predictions[::2], [has, has], setup) == setup  # nothing to learn it from
    for options in (task.options(null_threshold=3.0), task.options(no_answer=False)):
        fixed = TaskSetup(options, facts={"no_answer": True})
        assert task.calibrate(predictions, examples, fixed) == fixed


def test_scores_name_the_language_and_the_threshold(task, setup):
    (metric,) = task.metrics
    english, chinese = example(task), example(task, answers={"text": ["李白"], "answer_start": [0]})
    scores = metric.compute([answered(english, "Suiye", 0.0)], [english], setup)
    assert scores.values["f1"] == scores.values[task.headline(setup)] == 100.0
    assert scores.signature == ("squad-v2|language:en|scale:0-100|references:best|chosen:auto|null_threshold:0")
    fixed = TaskSetup(task.options(language="zh", null_threshold=1.25))
    signature = metric.compute([answered(chinese, "李白", 0.0)], [chinese], fixed).signature
    assert signature == "cmrc2018|language:zh|scale:0-100|references:best|chosen:set|null_threshold:1.25"


def test_the_baseline_is_the_better_of_silence_and_the_nearest_sentence(task, setup):
    contexts = "Rain fell. He was born in Suiye! Snow fell?", "下雨了。李白生于碎叶。下雪了！"
    for context, question, expected in zip(
        contexts, ("Where was he born?", "李白生于哪里"), ("He was born in Suiye!", "李白生于碎叶。"), strict=True
    ):
        asked = QuestionExample("a", question, (context,), (Answer(expected[:-1], context.index(expected)),))
        (found,) = task.baseline([asked], setup)
        assert found.answer == expected
        assert context[found.start : found.end] == expected
        silent = [asked, *(QuestionExample(str(n), question, (context,), ()) for n in range(3))]
        assert {found.answer for found in task.baseline(silent, setup)} == {""}


@pytest.mark.parametrize(("name", "f1", "exact"), [("squad2_subset", 47.0, 47.0), ("cmrc2018", 29.6, 4.6)])
def test_the_baseline_of_the_samples(task, setup, name, f1, exact):
    with gzip.open(SAMPLES / name / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
        examples = [task.to_example(row, row["id"], task.options()) for row in map(json.loads, lines)]
    values = task.metrics[0].compute(task.baseline(examples, setup), examples, setup).values
    assert values["f1"] == pytest.approx(f1, abs=0.1)
    assert values["exact"] == pytest.approx(exact, abs=0.1)
