"""Translation: rows, directions, prefixes and templates, decoding over windows, scores by direction."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pytest
from transformers import AutoTokenizer

from polyhead.backbone.options import build_options
from polyhead.registry import DataError, EncodeSettings, Feature, Generated, RowError, RunError, TaskSetup, Window

BOTH = {"directions": "both", "source_language": "en", "target_language": "zh"}
ROWS = [
    {"translation": {"en": "I was at home.", "zh": "我刚才在家。"}},
    {"translation": {"en": "It is late.", "zh": "很晚了。"}},
]


@pytest.fixture(scope="module")
def task(registry: Any) -> Any:
    return registry.task("translation")


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Any) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def read(task: Any, rows: Any, **options: Any) -> list[Any]:
    given = build_options(task, options)
    return [task.to_example(row, f"r{at}", given) for at, row in enumerate(rows)]


def sides(task: Any, row: dict[str, Any], **options: Any) -> list[tuple[Any, ...]]:
    (example,) = read(task, [row], **options)
    return [(p.direction.name, p.source, p.target) for p in example.passages]


def setup_of(task: Any, rows: Any = ROWS, **options: Any) -> tuple[list[Any], TaskSetup]:
    examples = read(task, rows, **options)
    return examples, task.prepare(examples, build_options(task, options))


def settings(tokenizer: Any, setup: TaskSetup, family: Any = "encoder-decoder", **changes: Any) -> EncodeSettings:
    start = tokenizer.cls_token_id if family == "encoder-decoder" else None
    return EncodeSettings(tokenizer, changes.get("max_length", 64), 8, setup, family, start)


def texts(tokenizer: Any, features: Any) -> list[str]:
    return [tokenizer.decode(feature.inputs["input_ids"], skip_special_tokens=True) for feature in features]


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_row_says_its_direction_itself(task):
    assert sides(task, ROWS[0]) == [("en-zh", "I was at home.", "我刚才在家。")]
    assert sides(task, {"translation": {"zh": "好", "en": "good"}}) == [("zh-en", "好", "good")]
    assert sides(task, {"translation": {"en": "good"}}) == [("en-", "good", None)]
    assert sides(task, {"source": "good", "target": "好"}) == [("-", "good", "好")]
    row = {"source": "好", "target": "good", "source_language": "zh", "target_language": "en"}
    assert sides(task, row) == [("zh-en", "好", "good")]


@pytest.mark.parametrize("directions", [BOTH, {"directions": ["en-zh", "zh>en"]}])
def test_both_directions_of_one_row(task, directions):
    expected = [("en-zh", "I was at home.", "我刚才在家。"), ("zh-en", "我刚才在家。", "I was at home.")]
    assert sides(task, ROWS[0], **directions) == expected
    row = {"source": "I was at home.", "target": "我刚才在家。"}
    assert sides(task, row, **directions) == expected
    swapped = {"source": "我刚才在家。", "target": "I was at home."}
    assert sides(task, swapped, **directions) == expected


def test_a_text_alone_is_translated_from_the_language_of_its_script(task):
    assert sides(task, {"source": "你好"}, **BOTH) == [("zh-en", "你好", None)]
    assert sides(task, {"source": "hello"}, **BOTH) == [("en-zh", "hello", None)]
    assert sides(task, {"source": "hello"}, directions=["en-zh", "en-de"]) == [
        ("en-zh", "hello", None),
        ("en-de", "hello", None),
    ]


def test_options_choose_among_the_texts_of_a_row(task):
    row = {"translation": {"en": "good", "de": "gut", "zh-TW": "好"}}
    assert sides(task, row, source_language="de", target_language="en") == [("de-en", "gut", "good")]
    assert sides(task, row, directions="en>zh-TW") == [("en>zh-TW", "good", "好")]
    with pytest.raises(RowError, match=r"column 'translation': the row has en, de, zh-TW; wanted: fr-en"):
        sides(task, row, directions="fr-en")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"translation": "good"}, "column 'translation': expected texts by language"),
        ({"translation": {"en": " "}}, "column 'translation': holds no text"),
        ({"target": "好"}, "column 'source': expected a text"),
        ({"source": "good", "target": 5}, "column 'target': expected a text, found"),
    ],
)
def test_rows_that_make_no_sense(task, row, said):
    with pytest.raises(RowError, match=said):
        read(task, [row])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source_language": "en"}, "state both of them, or neither"),
        ({"directions": "both"}, "directions=both needs source_language and target_language"),
        ({"directions": "english"}, "expected such as 'en-zh', 'zh-TW>en' or 'both', not 'english'"),
        ({"directions": ["en-zh-TW"]}, "not 'en-zh-TW'"),
        ({"template": "{target}"}, "template must hold {source} once, not 0 times"),
        ({"prefix": "to {language}: "}, "unknown field {language}"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
        ({"bleu_tokenizer": "jieba"}, "bleu_tokenizer"),
    ],
)
def test_options_that_make_no_sense(task, options, said):
    with pytest.raises(RunError, match=said):
        build_options(task, options)


def test_what_has_no_translation_cannot_be_learned_or_scored(task):
    (example,) = read(task, [{"source": "good"}], **BOTH)
    with pytest.raises(DataError, match="example 'r0' has no translation"):
        task.prepare([example], build_options(task, BOTH))
    with pytest.raises(RowError, match="there is no translation into zh to compare with"):
        task.check_example(example, TaskSetup(None))
    task.check_example(read(task, ROWS)[0], TaskSetup(None))


# ── features ────────────────────────────────────────────────────────────────────────────────────────────


def test_one_direction_has_no_prefix_and_several_say_which(task, tokenizer):
    examples, setup = setup_of(task)
    assert setup.facts == {"directions": ["en-zh"]}
    assert texts(tokenizer, task.encode(examples, settings(tokenizer, setup)))[0] == "i was at home."
    examples, setup = setup_of(task, **BOTH)
    assert setup.facts == {"directions": ["en-zh", "zh-en"]}
    features = task.encode(examples, settings(tokenizer, setup))
    assert [feature.example for feature in features] == [0, 0, 1, 1]
    read_back = texts(tokenizer, features)
    assert read_back[0] == "translate english to chinese : i was at home."
    assert read_back[1].startswith("translate chinese to english : ")
    assert tokenizer.decode(features[1].labels["labels"]) == "i was at home. [SEP]"


def test_a_prefix_of_ones_own(task, tokenizer):
    examples, setup = setup_of(task, prefix="<2{target_code}> ")
    assert texts(tokenizer, task.encode(examples, settings(tokenizer, setup)))[0] == "< 2zh > i was at home."


def test_a_decoder_reads_the_template_and_writes_on(task, tokenizer):
    examples, setup = setup_of(task, max_new_tokens=16)
    given = settings(tokenizer, setup, "decoder")
    (prompt, _), (feature, _) = task.encode_prompts(examples, given), task.encode(examples, given)
    assert texts(tokenizer, [prompt]) == ["english : i was at home. chinese :"]
    length = len(prompt.inputs["input_ids"])
    assert feature.inputs["input_ids"][:length] == prompt.inputs["input_ids"]
    assert set(feature.labels["labels"][: length - 1]) == {-100}
    assert feature.labels["labels"][length - 1] == feature.inputs["input_ids"][length]


def test_a_chat_is_asked_by_the_instruction(task, tokenizer, monkeypatch):
    examples, setup = setup_of(task, max_new_tokens=16, system="Be brief.")
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", template)
    (prompt, _) = task.encode_prompts(examples, settings(tokenizer, setup, "decoder"))
    assert texts(tokenizer, [prompt]) == [
        "[ system ] be brief. [ user ] translate from english to chinese : i was at home."
    ]


@dataclass
class Multilingual:
    """A tokenizer with a source language, as those of mBART and NLLB have one."""

    inner: Any
    src_lang: str = "eng_Latn"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return self.inner(*arguments, **settings)

    def convert_tokens_to_ids(self, token: str) -> int:
        return {"eng_Latn": 1001, "zho_Hans": 1002}.get(token, self.inner.unk_token_id)


def test_a_multilingual_tokenizer_is_told_the_languages(task, tokenizer):
    examples, setup = setup_of(task, **BOTH)
    given = settings(Multilingual(tokenizer), setup)
    features = task.encode(examples[:1], given)
    start = tokenizer.cls_token_id
    assert [list(feature.inputs["decoder_input_ids"][:2]) for feature in features] == [[start, 1002], [start, 1001]]
    assert [feature.labels["labels"][0] for feature in features] == [1002, 1001]
    assert texts(tokenizer, features)[0] == "i was at home."  # its tokens tell: no prefix
    prompts = task.encode_prompts(examples[:1], given)
    assert [prompt.inputs["decoder_input_ids"] for prompt in prompts] == [[start, 1002], [start, 1001]]


# ── what was written ────────────────────────────────────────────────────────────────────────────────────


def written(prompts: list[Feature], *answers: str) -> list[Window]:
    return [Window(prompt, {}, (Generated(answer, -2.0, 3),)) for prompt, answer in zip(prompts, answers, strict=True)]


def test_windows_of_each_direction_are_joined(task, tokenizer):
    long = "我在家。你在哪里？" * 4
    examples, setup = setup_of(task, [{"translation": {"en": "I am at home. " * 12, "zh": long}}], **BOTH)
    prompts = task.encode_prompts(examples, settings(tokenizer, setup, max_length=24))
    answers = ["我 在 家 。" if "english to" in text else " At home." for text in texts(tokenizer, prompts)]
    chinese, english = (sum("家" in a for a in answers), sum("home" in a for a in answers))
    assert min(chinese, english) > 1
    without = Window(Feature(0, {"input_ids": [1]}), {"nll": 1.0})  # the feature that gave the loss
    found = task.decode(examples[0], [without, without, *written(prompts, *answers)], setup)
    assert found.translation == "我在家。" * chinese
    assert found.log_probability == -2.0 * chinese
    assert [asdict(one)["translation"] for one in found.translations] == [
        "我在家。" * chinese,
        " ".join(["At home."] * english),
    ]
    assert [one.windows for one in found.translations] == [chinese, english]


def test_where_nothing_was_written_the_translation_is_empty(task):
    examples, setup = setup_of(task, **BOTH)
    found = task.decode(examples[0], [], setup)
    assert (found.translation, found.finished, len(found.translations)) == ("", False, 2)


def test_candidates_are_given_where_there_are_several(task):
    examples, setup = setup_of(task, beams=2, candidates=2)
    both = (Generated("好", -1.0, 2), Generated("很好", -1.5, 3))
    found = task.decode(examples[0], [Window(Feature(0, {"input_ids": [1]}), {}, both)], setup)
    assert [text.text for text in found.translations[0].candidates] == ["好", "很好"]


# ── scores ──────────────────────────────────────────────────────────────────────────────────────────────


def answers_of(task: Any, examples: list[Any], setup: TaskSetup) -> list[Any]:
    """Return predictions that are right into Chinese and empty into English."""
    found = []
    for example in examples:
        features = [Feature(0, {"input_ids": [1]}) for _ in example.passages]
        right = [p.target if p.target_language == "zh" else "" for p in example.passages]
        found.append(task.decode(example, written(features, *right), setup))
    return found


def test_several_directions_are_scored_each_and_together(task):
    examples, setup = setup_of(task, **BOTH)
    scores = task.metrics[0].compute(answers_of(task, examples, setup), examples, setup)
    assert scores.values["chrf_en-zh"] == pytest.approx(100.0)
    assert scores.values["chrf_zh-en"] == 0.0
    assert scores.values["chrf"] == pytest.approx(50.0)
    assert {name for name in scores.values if name.startswith("ter")} == {"ter"}  # of each: in the table
    assert "en-zh: bleu|nrefs:1|case:mixed|eff:no|tok:zh" in scores.signature
    assert "zh-en: bleu|nrefs:1|case:mixed|eff:no|tok:13a" in scores.signature
    (table,) = scores.tables
    assert [row[0] for row in table.rows] == ["en-zh", "zh-en"]
    assert task.headline(setup) in scores.values


def test_one_direction_is_scored_plainly_and_the_baseline_is_the_source(task):
    examples, setup = setup_of(task)
    copied = task.baseline(examples, setup)
    assert [prediction.translation for prediction in copied] == ["I was at home.", "It is late."]
    values = task.metrics[0].compute(copied, examples, setup).values
    assert set(values) == {"bleu", "chrf", "chrf_pp", "ter"}
    assert values["chrf"] < 5
    right = task.metrics[0].compute(answers_of(task, examples, setup), examples, setup).values
    assert right == pytest.approx({"bleu": 100.0, "chrf": 100.0, "chrf_pp": 100.0, "ter": 0.0})
    assert task.metrics[0].lower_is_better == {"ter"}


def test_a_model_of_others_knows_the_directions_of_the_options(task):
    setup = task.setup_from_labels((), build_options(task, BOTH))
    assert setup.facts == {"directions": ["en-zh", "zh-en"]}
    assert task.generation(setup).max_new_tokens == 128


def test_every_family_has_a_head(task):
    setup = TaskSetup(task.options())
    kinds = {family: factory(setup).auto_class for family, factory in task.heads.items()}
    pair, causal = "AutoModelForSeq2SeqLM", "AutoModelForCausalLM"
    assert kinds == {"encoder": pair, "decoder": causal, "encoder-decoder": pair}
