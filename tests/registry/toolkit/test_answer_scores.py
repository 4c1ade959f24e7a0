"""Scores of answers against the definitions of the official scripts, written down again here."""

from __future__ import annotations

import collections
import gzip
import itertools
import json
import re
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nltk
import numpy as np
import pytest

from polyhead.registry import DataError
from polyhead.registry.toolkit import answer_metrics
from polyhead.registry.toolkit.answer_scores import answer_score, best_threshold, language_of, normalised, segments
from polyhead.registry.toolkit.question_answering import Answer, AnswerPrediction, FoundSpan, QuestionExample

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"

# ── evaluate-v2.0.py of SQuAD ───────────────────────────────────────────────────────────────────────────


def normalize_answer(s: str) -> str:
    def remove_articles(text: str) -> str:
        regex = re.compile(r"\b(a|an|the)\b", re.UNICODE)
        return re.sub(regex, " ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def get_tokens(s: str) -> list[str]:
    if not s:
        return []
    return normalize_answer(s).split()


def compute_exact(a_gold: str, a_pred: str) -> int:
    return int(normalize_answer(a_gold) == normalize_answer(a_pred))


def compute_f1(a_gold: str, a_pred: str) -> float:
    gold_toks = get_tokens(a_gold)
    pred_toks = get_tokens(a_pred)
    common = collections.Counter(gold_toks) & collections.Counter(pred_toks)
    num_same = sum(common.values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(pred_toks)
    recall = 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


def get_raw_scores(dataset: Sequence[Any], preds: dict[str, str]) -> tuple[dict[str, float], dict[str, float]]:
    exact_scores, f1_scores = {}, {}
    for qa in dataset:
        gold_answers = [a for a in qa["answers"]["text"] if normalize_answer(a)]
        if not gold_answers:
            gold_answers = [""]
        a_pred = preds[qa["id"]]
        exact_scores[qa["id"]] = max(compute_exact(a, a_pred) for a in gold_answers)
        f1_scores[qa["id"]] = max(compute_f1(a, a_pred) for a in gold_answers)
    return exact_scores, f1_scores


def apply_no_ans_threshold(scores, na_probs, qid_to_has_ans, na_prob_thresh):
    new_scores = {}
    for qid, s in scores.items():
        pred_na = na_probs[qid] > na_prob_thresh
        if pred_na:
            new_scores[qid] = float(not qid_to_has_ans[qid])
        else:
            new_scores[qid] = s
    return new_scores


def make_eval_dict(exact_scores, f1_scores, qid_list=None):
    if not qid_list:
        total = len(exact_scores)
        return {
            "exact": 100.0 * sum(exact_scores.values()) / total,
            "f1": 100.0 * sum(f1_scores.values()) / total,
        }
    total = len(qid_list)
    return {
        "exact": 100.0 * sum(exact_scores[k] for k in qid_list) / total,
        "f1": 100.0 * sum(f1_scores[k] for k in qid_list) / total,
    }


def find_best_thresh(preds, scores, na_probs, qid_to_has_ans):
    num_no_ans = sum(1 for k in qid_to_has_ans if not qid_to_has_ans[k])
    cur_score = num_no_ans
    best_score = cur_score
    best_thresh = 0.0
    qid_list = sorted(na_probs, key=lambda k: na_probs[k])
    for qid in qid_list:
        if qid not in scores:
            continue
        if qid_to_has_ans[qid]:
            diff = scores[qid]
        elif preds[qid]:
            diff = -1
        else:
            diff = 0
        cur_score += diff
        if cur_score > best_score:
            best_score = cur_score
            best_thresh = na_probs[qid]
    return 100.0 * best_score / len(scores), best_thresh


def squad_v2(dataset, preds, na_probs, threshold):
    """Return what the script's main prints, for predictions that are never empty."""
    has_ans = {qa["id"]: bool(qa["answers"]["text"]) for qa in dataset}
    exact_raw, f1_raw = get_raw_scores(dataset, preds)
    exact = apply_no_ans_threshold(exact_raw, na_probs, has_ans, threshold)
    f1 = apply_no_ans_threshold(f1_raw, na_probs, has_ans, threshold)
    out = make_eval_dict(exact, f1)
    for prefix, wanted in (("HasAns", True), ("NoAns", False)):
        qids = [k for k, v in has_ans.items() if v == wanted]
        if qids:
            out |= {f"{prefix}_{k}": v for k, v in make_eval_dict(exact, f1, qids).items()}
    for name, raw in (("exact", exact_raw), ("f1", f1_raw)):
        out[f"best_{name}"], out[f"best_{name}_thresh"] = find_best_thresh(preds, raw, na_probs, has_ans)
    return out


# ── cmrc2018_evaluate.py ────────────────────────────────────────────────────────────────────────────────

SP_CHAR = [
    *"-:_*^/\\~`+=，。：？！“”；’《》",
    "……",
    *"·、「」（）－～『』",
]  # two dots are one entry: no character equals it


def mixed_segmentation(in_str: str, rm_punc: bool = False) -> list[str]:
    in_str = in_str.lower().strip()
    segs_out = []
    temp_str = ""
    for char in in_str:
        if rm_punc and char in SP_CHAR:
            continue
        if re.search("[\u4e00-\u9fa5]", char) or char in SP_CHAR:
            if temp_str != "":
                segs_out.extend(nltk.word_tokenize(temp_str, preserve_line=True))
                temp_str = ""
            segs_out.append(char)
        else:
            temp_str += char
    if temp_str != "":
        segs_out.extend(nltk.word_tokenize(temp_str, preserve_line=True))
    return segs_out


def remove_punctuation(in_str: str) -> str:
    return "".join(char for char in in_str.lower().strip() if char not in SP_CHAR)


def find_lcs(s1, s2):
    m = [[0 for _ in range(len(s2) + 1)] for _ in range(len(s1) + 1)]
    mmax = 0
    p = 0
    for i in range(len(s1)):
        for j in range(len(s2)):
            if s1[i] == s2[j]:
                m[i + 1][j + 1] = m[i][j] + 1
                if m[i + 1][j + 1] > mmax:
                    mmax = m[i + 1][j + 1]
                    p = i + 1
    return s1[p - mmax : p], mmax


def calc_f1_score(answers, prediction):
    f1_scores = []
    for ans in answers:
        ans_segs = mixed_segmentation(ans, rm_punc=True)
        prediction_segs = mixed_segmentation(prediction, rm_punc=True)
        _, lcs_len = find_lcs(ans_segs, prediction_segs)
        if lcs_len == 0:
            f1_scores.append(0)
            continue
        precision = 1.0 * lcs_len / len(prediction_segs)
        recall = 1.0 * lcs_len / len(ans_segs)
        f1_scores.append((2 * precision * recall) / (precision + recall))
    return max(f1_scores)


def calc_em_score(answers, prediction):
    prediction_ = remove_punctuation(prediction)
    return int(any(remove_punctuation(ans) == prediction_ for ans in answers))


# ── the tests ───────────────────────────────────────────────────────────────────────────────────────────


def answers_near(row: Any, draw: np.random.Generator) -> str:
    """Return an answer as a model might give it: right, cut, too long, or from elsewhere."""
    texts, context = row["answers"]["text"], row["context"]
    if texts and draw.random() < 0.7:
        start = int(row["answers"]["answer_start"][0]) + int(draw.integers(-4, 5))
        return context[max(0, start) : max(1, start + len(texts[0]) + int(draw.integers(-4, 9)))].strip() or "x"
    start = int(draw.integers(0, max(1, len(context) - 30)))
    return context[start : start + int(draw.integers(3, 30))].strip() or "x"


def predictions_for(rows: Sequence[Any], threshold: float) -> tuple[list[AnswerPrediction], list[QuestionExample]]:
    """Return predictions whose no-answer score says something, and their examples."""
    draw = np.random.default_rng(5)
    predictions, examples = [], []
    for row in rows:
        best = answers_near(row, draw)
        score = float(draw.normal() - 1.5 * bool(row["answers"]["text"]))
        given = score <= threshold
        predictions.append(
            AnswerPrediction(
                row["id"],
                best if given else "",
                *((0, len(best), 0) if given else (None, None, None)),
                0.5,
                score,
                (FoundSpan(best, 0, len(best), 0, 0.5),),
            )
        )
        examples.append(
            QuestionExample(
                row["id"], row["question"], (row["context"],), tuple(Answer(t, 0) for t in row["answers"]["text"])
            )
        )
    return predictions, examples


@pytest.fixture(scope="module")
def sample_rows() -> Callable[[str, int], list[Any]]:
    """Return the first rows of a test file of the shipped samples."""

    def read(name: str, count: int) -> list[Any]:
        with gzip.open(SAMPLES / name / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in itertools.islice(lines, count)]

    return read


@pytest.mark.parametrize("kinds", ["both", "answerable", "unanswerable"])
def test_english_scores_are_those_of_the_squad_script(sample_rows, kinds):
    rows = sample_rows("squad2_subset", 400)
    rows = [row for row in rows if kinds == "both" or bool(row["answers"]["text"]) == (kinds == "answerable")]
    assert len(rows) >= (150 if kinds != "both" else 400)
    threshold = -0.4
    predictions, examples = predictions_for(rows, threshold)
    expected = squad_v2(
        rows,
        {p.id: p.best_text for p in predictions},
        {p.id: p.no_answer_score for p in predictions},
        threshold,
    )
    found = answer_metrics.answer_scores(predictions, examples, "en", "test").values
    if kinds == "unanswerable":  # the script's 0 stands for "answer nothing"; scores may be negative here
        for name in ("best_exact_thresh", "best_f1_thresh"):
            assert expected.pop(name) == 0.0
            assert found[name] < min(p.no_answer_score for p in predictions)
            found = {key: value for key, value in found.items() if key != name}
    assert found == pytest.approx(expected)
    assert list(found) == list(expected)


def test_chinese_scores_are_those_of_the_cmrc_script(sample_rows):
    rows = sample_rows("cmrc2018", 400)
    predictions, examples = predictions_for(rows, float("inf"))
    pairs = list(zip(rows, predictions, strict=True))
    expected = {
        "exact": 100.0 * np.mean([calc_em_score(r["answers"]["text"], p.answer) for r, p in pairs]),
        "f1": 100.0 * np.mean([calc_f1_score(r["answers"]["text"], p.answer) for r, p in pairs]),
    }
    found = answer_metrics.answer_scores(predictions, examples, "zh", "test").values
    assert 20 < expected["f1"] < 90
    assert found["exact"] == pytest.approx(expected["exact"])
    assert found["f1"] == pytest.approx(expected["f1"])
    assert found["HasAns_f1"] == found["f1"]
    assert "NoAns_f1" not in found


@pytest.mark.parametrize("language", ["en", "zh"])
def test_all_right_all_wrong_and_nothing(sample_rows, language):
    rows = sample_rows("squad2_subset" if language == "en" else "cmrc2018", 60)
    examples = [
        QuestionExample(r["id"], "?", (r["context"],), tuple(Answer(t, 0) for t in r["answers"]["text"])) for r in rows
    ]

    def scored(texts: Sequence[str]) -> dict[str, float]:
        found = [
            AnswerPrediction(e.id, text, 0, len(text), 0, 1.0, 0.0, (FoundSpan(text, 0, len(text), 0, 1.0),))
            for e, text in zip(examples, texts, strict=True)
        ]
        return dict(answer_metrics.answer_scores(found, examples, language, "").values)

    right = scored([example.answers[0].text if example.answers else "" for example in examples])
    assert (right["exact"], right["f1"], right["best_f1"]) == (100.0, 100.0, 100.0)
    wrong = scored(["zzz"] * len(examples))
    assert (wrong["exact"], wrong["f1"]) == (0.0, 0.0)
    with pytest.raises(DataError, match="nothing to score"):
        answer_metrics.answer_scores([], [], language, "")


def test_signature_and_table_say_what_was_computed():
    examples = [QuestionExample("a", "?", ("b",), (Answer("b", 0),)), QuestionExample("c", "?", ("d",), ())]
    found = [
        AnswerPrediction("a", "b", 0, 1, 0, 0.9, -1.0, (FoundSpan("b", 0, 1, 0, 0.9),)),
        AnswerPrediction("c", "", None, None, None, 0.9, 1.0, ()),
    ]
    scores = answer_metrics.answer_scores(found, examples, "en", "null_threshold:0")
    assert scores.signature == "squad-v2|language:en|scale:0-100|references:best|null_threshold:0"
    assert scores.tables[0].rows == (("with an answer", 1, 1, 100.0, 100.0), ("without an answer", 1, 0, 100.0, 100.0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("The 3rd, “an” apple!", "3rd “ ” apple"), ("  A\tB  ", "b"), ("U.S.", "us"), ("", "")],
)
def test_normalisation(text, expected):
    assert normalised(text) == normalize_answer(text) == expected


def test_segments_mix_characters_and_words():
    assert segments("《EXILE CATCHY》精选 2008年！") == ("exile", "catchy", "精", "选", "2008", "年")
    assert segments("") == ()


@pytest.mark.parametrize(
    ("found", "given", "language", "exact", "f1"),
    [
        ("", [], "en", 1.0, 1.0),
        ("", [], "zh", 1.0, 1.0),
        ("x", [], "en", 0.0, 0.0),
        ("", ["x"], "zh", 0.0, 0.0),
        ("the cat sat", ["cat", "a cat sat down"], "en", 0.0, 0.8),
        ("李白字太白", ["李白", "太白。"], "zh", 0.0, 4 / 7),
        ("《李白》", ["李白"], "zh", 1.0, 1.0),
    ],
)
def test_single_scores(found, given, language, exact, f1):
    score = answer_score(found, given, language)
    assert (score.exact, score.f1) == (exact, pytest.approx(f1))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [(["李白 Bai"], "en"), (["李白", "2008年", "太白金星"], "zh"), (["Li Bai"], "en"), ([], "en"), (["，。"], "en")],
)
def test_the_language_is_that_of_most_letters(texts, expected):
    assert language_of(texts) == expected


def test_the_threshold_is_the_best_of_trying_all():
    draw = np.random.default_rng(3)
    for count in (1, 2, 5, 40):
        scores = draw.random(count).tolist()
        points = np.round(draw.normal(size=count), 1).tolist()  # ties
        answerable = (draw.random(count) < 0.6).tolist()

        def total(threshold: float, scores=scores, points=points, answerable=answerable) -> float:
            return sum(
                float(not has) if point > threshold else score * has
                for score, point, has in zip(scores, points, answerable, strict=True)
            )

        tried = [min(points) - 1, *points]
        assert total(best_threshold(scores, points, answerable)) == pytest.approx(max(map(total, tried)))
