"""Summarization: rows, prompts and lengths, long documents round by round, scores and the lead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from transformers import AutoTokenizer

from polyhead.backbone.options import build_options
from polyhead.registry import DataError, EncodeSettings, Feature, Generated, RowError, RunError, TaskSetup, Window

ROWS = [
    {"document": "We study pooling. It is dull. It works well. Nobody knows why.", "summary": "Pooling works."},
    {"document": "本文研究池化.结果很好.原因不明.", "summary": "池化研究"},
    {"document": "One. Two. Three.", "summary": "Just a sum of many numbers here."},
]


@pytest.fixture(scope="module")
def task(registry: Any) -> Any:
    return registry.task("summarization")


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Any) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def setup_of(task: Any, **options: Any) -> tuple[list[Any], TaskSetup]:
    given = build_options(task, options)
    examples = [task.to_example(row, f"r{at}", given) for at, row in enumerate(ROWS)]
    return examples, task.prepare(examples, given)


def settings(tokenizer: Any, setup: TaskSetup, family: Any = "decoder", max_length: int = 128) -> EncodeSettings:
    start = tokenizer.cls_token_id if family == "encoder-decoder" else None
    return EncodeSettings(tokenizer, max_length, 8, setup, family, start)


def prompts(task: Any, tokenizer: Any, family: Any = "decoder", **options: Any) -> list[str]:
    """Return what the model reads of the English and the Chinese row, known characters only."""
    examples, setup = setup_of(task, max_new_tokens=16, **options)
    features = task.encode_prompts(examples[:2], settings(tokenizer, setup, family))
    return [tokenizer.decode(feature.inputs["input_ids"], skip_special_tokens=True) for feature in features]


# ── rows and setup ──────────────────────────────────────────────────────────────────────────────────────


def test_rows(task):
    options = task.options()
    example = task.to_example({"document": "One.", "summary": "1"}, "a", options)
    assert (example.id, example.document, example.summary) == ("a", "One.", "1")
    assert task.to_example({"document": "One."}, "a", options).summary is None
    with pytest.raises(RowError, match="column 'document': expected a text, found"):
        task.to_example({"document": 5}, "a", options)


def test_the_training_summaries_tell_how_long_summaries_are(task):
    _, setup = setup_of(task)
    assert setup.facts == {"sentences": 1, "lengths": {"short": 3, "medium": 4, "long": 6}}


def test_what_has_no_summary_cannot_be_learned_or_scored(task):
    example = task.to_example({"document": "One."}, "row 4", task.options())
    with pytest.raises(DataError, match="example 'row 4' has no summary"):
        task.prepare([example], task.options())
    with pytest.raises(RowError, match="column 'summary': there is no summary"):
        task.check_example(example, TaskSetup(task.options()))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target_length": 0}, "target_length must be at least 1 word, not 0"),
        ({"target_length": "tiny"}, "target_length"),
        ({"template": "TL;DR:"}, "template must hold {document} once"),
        ({"instruction": "{document} {summary}"}, "unknown field {summary}"),
        ({"prefix": "{lenght}"}, "unknown field {lenght}. Available: {document}, {length}"),
        ({"language": "de"}, "language"),
    ],
)
def test_options_that_make_no_sense(task, options, said):
    with pytest.raises(RunError, match=said):
        build_options(task, options)


# ── prompts and lengths ─────────────────────────────────────────────────────────────────────────────────


def test_prompts_go_by_the_language_of_the_document(task, tokenizer):
    english, chinese = prompts(task, tokenizer)
    assert english.endswith("nobody knows why. tl ; dr :")
    assert "tl" not in chinese
    both_english = prompts(task, tokenizer, language="en")
    assert both_english[1].endswith("tl ; dr :")
    assert "tl" not in prompts(task, tokenizer, language="zh")[0]


def test_an_encoder_decoder_reads_the_document_alone(task, tokenizer):
    assert (
        prompts(task, tokenizer, "encoder-decoder")[0]
        == "we study pooling. it is dull. it works well. nobody knows why."
    )
    given = prompts(task, tokenizer, "encoder-decoder", prefix="summarize{length}: ", target_length=20)
    assert given[0].startswith("summarize in about 20 words : we study")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [(33, "about 35 words"), (7, "about 7 words"), (212, "about 210 words"), ("long", "about 6 words")],
)
@pytest.mark.parametrize("family", ["decoder", "encoder-decoder"])
def test_the_wanted_length_stands_in_the_prompt(task, tokenizer, family, wanted, said):
    english, chinese = prompts(task, tokenizer, family, target_length=wanted)
    assert said in english
    assert said.split()[1] in chinese
    assert "words" not in chinese


def test_a_model_can_learn_what_lengths_mean(task, tokenizer):
    examples, setup = setup_of(task, learn_length=True, max_new_tokens=16)
    features = task.encode(examples, settings(tokenizer, setup))
    texts = [tokenizer.decode(feature.inputs["input_ids"]) for feature in features]
    assert "about 2 words" in texts[0]
    assert "about 7 words" in texts[2]
    asked = [tokenizer.decode(f.inputs["input_ids"]) for f in task.encode_prompts(examples, settings(tokenizer, setup))]
    assert ["about 4 words" in text for text in asked] == [True, False, True]  # the median; Chinese has its own words


def test_a_chat_is_asked_by_the_instruction(task, tokenizer, monkeypatch):
    monkeypatch.setattr(
        tokenizer, "chat_template", "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
    )
    english, chinese = prompts(task, tokenizer, target_length="medium")
    assert english.startswith("[ user ] summarize this text in about 4 words : we study pooling.")
    assert chinese.startswith("[ user ]")
    assert "summarize" not in chinese
    assert prompts(task, tokenizer, chat=False)[0].endswith("tl ; dr :")


# ── long documents ──────────────────────────────────────────────────────────────────────────────────────


def predicted(task: Any, example: Any, setup: TaskSetup, *summaries: str) -> Any:
    found = [
        Window(Feature(0, {"input_ids": [1]}, {}, [(9 * at, 9 * at + 5)]), {}, (Generated(text, -1.5, 4),))
        for at, text in enumerate(summaries)
    ]
    return task.decode(example, found, setup)


def test_a_long_document_is_summarised_again_until_one_window_holds_it(task):
    (example, *_), setup = setup_of(task)
    prediction = predicted(task, example, setup, " Pooling .", "It works.")
    assert (prediction.summary, prediction.windows, prediction.rounds) == ("Pooling . It works.", 2, 1)
    again = task.follow_up(example, prediction, setup)
    assert (again.id, again.document, again.summary, again.rounds) == ("r0", "Pooling . It works.", None, 1)
    final = predicted(task, again, setup, "Pooling works.")
    assert (final.summary, final.rounds, final.log_probability) == ("Pooling works.", 2, -1.5)
    assert task.follow_up(again, final, setup) is None


def test_it_comes_to_an_end(task):
    (example, *_), setup = setup_of(task)
    rounds = 0
    while example is not None:
        example = task.follow_up(example, predicted(task, example, setup, "a b", "c d"), setup)
        rounds += 1
    assert rounds == 4  # once, and three times again
    (example, *_), joined = setup_of(task, long_documents="join")
    assert task.follow_up(example, predicted(task, example, joined, "a", "b"), joined) is None
    assert task.follow_up(example, predicted(task, example, setup, "", " "), setup) is None


def test_chinese_windows_are_joined_without_blanks(task):
    (_, example, _), setup = setup_of(task)
    assert predicted(task, example, setup, "池 化 研 究 。", "原 因 不 明").summary == "池化研究。原因不明"


def test_windows_of_a_document_are_whole_sentences(task, tokenizer):
    (example, *_), setup = setup_of(task, max_new_tokens=16)
    long = replace(example, document=ROWS[0]["document"] + " " + ROWS[0]["document"])
    features = task.encode_prompts([long], settings(tokenizer, setup, max_length=40))
    assert len(features) > 1
    for feature in features:
        text = tokenizer.decode(feature.inputs["input_ids"], skip_special_tokens=True)
        assert text.endswith(". tl ; dr :")
        assert len(feature.inputs["input_ids"]) <= 24


# ── scores ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_baseline_is_as_many_first_sentences_as_summaries_have(task):
    examples, setup = setup_of(task)
    lead = [prediction.summary for prediction in task.baseline(examples, setup)]
    assert lead == ["We study pooling.", "本文研究池化.", "One."]
    two = replace(setup, facts={**setup.facts, "sentences": 2})
    assert [p.summary for p in task.baseline(examples, two)] == [
        "We study pooling. It is dull.",
        "本文研究池化.结果很好.",
        "One. Two.",
    ]
    assert task.baseline(examples, task.setup_from_labels((), task.options()))[0].summary == "We study pooling."


def test_scores(task):
    examples, setup = setup_of(task)
    perfect = [predicted(task, example, setup, example.summary or "") for example in examples]
    scores = task.metrics[0].compute(perfect, examples, setup)
    assert scores.values[task.headline(setup)] == pytest.approx(100.0)
    assert set(scores.values) == {"rouge1", "rouge2", "rouge_l", "rouge_lsum", "length", "compression"}
    plain = replace(setup, options=replace(setup.options, stemmer=False, language="en"))
    assert "stemmer:no" in task.metrics[0].compute(perfect, examples, plain).signature


def test_every_family_has_a_head_and_a_way_to_write(task):
    setup = TaskSetup(build_options(task, {"max_new_tokens": 40, "min_new_tokens": 5, "beams": 4}))
    kinds = {family: factory(setup).auto_class for family, factory in task.heads.items()}
    pair, causal = "AutoModelForSeq2SeqLM", "AutoModelForCausalLM"
    assert kinds == {"encoder": pair, "decoder": causal, "encoder-decoder": pair}
    written = task.generation(setup)
    assert (written.max_new_tokens, written.min_new_tokens, written.beams) == (40, 5, 4)
