"""The generation task, function by function: rows, windows that predict every token once, scores and their meaning."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from polyhead.backbone.model.loading import quiet_transformers
from polyhead.registry import DataError, EncodeSettings, Generated, RowError, Window
from polyhead.registry.toolkit.language_model import reduction

WIKITEXT = Path(__file__).parents[3] / "configs" / "samples" / "wikitext2"
POEM = "床前明月光，疑是地上霜。\r\n举头望明月，低头思故乡。🙂 ＡＢＣ and the moon again"
CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}[SEP]{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)


@pytest.fixture(scope="module")
def task(registry: Any) -> Any:
    return registry.task("generation")


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Any) -> Any:
    return transformers.AutoTokenizer.from_pretrained(tiny_bert)


def read(task: Any, *rows: dict[str, Any], **options: Any) -> list[Any]:
    return [task.to_example(row, str(n), task.options(**options)) for n, row in enumerate(rows)]


def settings_for(task: Any, tokenizer: Any, length: int = 64, stride: int = 0, **more: Any) -> EncodeSettings:
    options = more.pop("options", {})
    setup = task.setup_from_labels((), task.options(**{"max_new_tokens": 8, **options}))
    more = {"family": "decoder", **more}
    return EncodeSettings(tokenizer, length, stride, setup, **more)


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_become_examples(task):
    document, asked, open_end, chat, question = read(
        task,
        {"text": POEM},
        {"prompt": "床前", "completion": "明月光"},
        {"prompt": "床前", "completion": None, "text": ""},
        {
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "hello"},
                {"role": "user", "content": "你是谁"},
                {"role": "assistant", "content": "我是诗人"},
            ]
        },
        {"messages": [{"role": "user", "content": "你是谁"}]},
    )
    assert (document.text, document.known, document.asked) == (POEM, POEM, POEM)
    assert (asked.asked, asked.known) == ("床前", "明月光")
    assert (open_end.asked, open_end.known) == ("床前", None)
    assert (chat.known, len(chat.messages)) == ("我是诗人", 3)
    assert chat.asked == "user: hi\nassistant: hello\nuser: 你是谁\nassistant: "
    assert (question.asked, question.known) == ("你是谁", None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"title": "x"}, "expected one of the columns text, prompt .* found none"),
        ({"text": "x", "prompt": "y"}, "found text and prompt"),
        ({"text": 3}, "column 'text': expected a text"),
        ({"prompt": "x", "completion": ["y"]}, "column 'completion'"),
        ({"messages": "hello"}, "column 'messages': expected"),
        ({"messages": [{"role": "user"}]}, "one message is"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "no message of the user"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(task, row, message):
    with pytest.raises(RowError, match=message):
        read(task, row)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "{completion}"}, "template must hold {prompt} once"),
        ({"template": "{prompt} {completion}."}, "must end with {completion}"),
        ({"template": "{promt} {prompt}{completion}"}, "unknown field {promt}"),
        ({"beams": 0}, "beams"),
    ],
)
def test_options_that_make_no_sense_are_refused(task, options, message):
    with pytest.raises(ValueError, match=message):
        task.options(**options)


def test_what_has_nothing_to_learn_or_score_is_refused(task):
    (example,) = read(task, {"prompt": "x"})
    setup = task.setup_from_labels((), task.options())
    with pytest.raises(DataError, match="example '0' has no completion"):
        task.prepare([example], task.options())
    with pytest.raises(RowError, match="no completion to score"):
        task.check_example(example, setup)
    task.check_example(replace(example, completion="y"), setup)


# ── documents ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("length", "stride"), [(64, 0), (16, 0), (16, 5), (16, 15), (9, 40)])
def test_a_decoder_predicts_every_token_but_the_first_once(task, tokenizer, length, stride):
    features = task.encode(read(task, {"text": POEM}, {"text": "x y"}), settings_for(task, tokenizer, length, stride))
    whole = tokenizer(POEM)["input_ids"]
    mine = [feature for feature in features if feature.example == 0]
    predicted = [label for feature in mine for label in feature.labels["labels"] if label != -100]
    assert predicted == whole[1:]
    for feature in features:
        ids, labels = feature.inputs["input_ids"], feature.labels["labels"]
        assert len(ids) == len(labels) == len(feature.offsets) <= length
        assert all(label in (-100, token) for label, token in zip(labels, ids[1:], strict=False))
        assert feature.inputs["position_ids"] == list(range(len(ids)))
    overlap = min(stride, length - 1)
    for before, after in pairwise(mine):
        assert (
            after.inputs["input_ids"][:overlap] == before.inputs["input_ids"][len(before.labels["labels"]) - overlap :]
        )
        assert after.labels["labels"][:overlap] == [-100] * overlap


def test_an_end_token_is_learned_where_it_is_wanted(task, tokenizer):
    bare = transformers.AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    bare.backend_tokenizer.post_processor = None
    for options, last in (({}, bare("moon")["input_ids"][-1]), ({"end_token": True}, bare.sep_token_id)):
        (feature,) = task.encode(read(task, {"text": "the moon"}), settings_for(task, bare, options=options))
        assert feature.labels["labels"][-1] == last
    twice = settings_for(task, tokenizer, options={"end_token": True})  # this tokenizer puts one itself
    (feature,) = task.encode(read(task, {"text": "the moon"}), twice)
    assert feature.labels["labels"].count(tokenizer.sep_token_id) == 1


def test_a_single_token_predicts_nothing(task, tokenizer):
    bare = transformers.AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    bare.backend_tokenizer.post_processor = None
    (example,) = read(task, {"text": "moon"})
    assert task.encode([example], settings_for(task, bare)) == []
    assert task.decode(example, [], task.setup_from_labels((), task.options())).likelihood is None


@pytest.mark.parametrize("length", [128, 20, 13])
def test_an_encoder_decoder_reads_the_first_half_of_a_window_and_writes_the_second(task, tokenizer, length):
    settings = settings_for(task, tokenizer, length, family="encoder-decoder", decoder_start=101)
    (example,) = read(task, {"text": POEM})
    features = task.encode([example], settings)
    ids = tokenizer(POEM, add_special_tokens=False)["input_ids"]
    joined = []
    for feature in features:
        source, target = feature.inputs["input_ids"], feature.labels["labels"]
        assert (source[0], source[-1]) == (101, 102)
        assert len(source) <= length
        assert feature.inputs["decoder_input_ids"] == [101, *target[:-1]]
        assert len(target) <= length
        assert set(feature.inputs) == {"input_ids", "attention_mask", "token_type_ids", "decoder_input_ids"}
        joined += [*source[1:-1], *target]
    assert joined == [*ids, 102]
    assert (len(features) == 1) == (length == 128)


# ── prompts ─────────────────────────────────────────────────────────────────────────────────────────────


def test_only_the_completion_counts(task, tokenizer):
    settings = settings_for(task, tokenizer, options={"template": "Q: {prompt}\nA: {completion}"})
    examples = read(task, {"text": "a document"}, {"prompt": "the moon", "completion": "the light"})
    document, pair = task.encode(examples, settings)
    assert (document.example, pair.example) == (0, 1)
    counted = [label for label in pair.labels["labels"] if label != -100]
    assert counted == tokenizer(" the light", add_special_tokens=False)["input_ids"] + [102]
    (prompt,) = task.encode_prompts(examples, settings)
    assert prompt.example == 1
    assert prompt.inputs["input_ids"] == pair.inputs["input_ids"][: len(prompt.inputs["input_ids"])]
    assert tokenizer.decode(prompt.inputs["input_ids"]) == "[CLS] q : the moon a :"


def test_when_predicting_a_document_is_a_prompt(task, tokenizer):
    settings = settings_for(task, tokenizer, predicting=True)
    examples = read(task, {"text": POEM}, {"prompt": "the moon", "completion": "the light"})
    assert task.encode(examples, settings) == []
    prompts = task.encode_prompts(examples, settings)
    assert [prompt.example for prompt in prompts] == [0, 1]
    assert tokenizer.decode(prompts[1].inputs["input_ids"]) == "[CLS] the moon"


def test_a_prompt_that_is_too_long_is_refused_not_cut(task, tokenizer):
    with pytest.raises(DataError, match=r"example '0': its prompt does not fit into 20 tokens beside options.max_new"):
        task.encode_prompts(read(task, {"prompt": POEM}), settings_for(task, tokenizer, 20))


def test_chat_templates_are_honoured(task, tokenizer):
    chatty = transformers.AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    chatty.chat_template = CHAT
    talk = [("user", "hi"), ("assistant", "hello"), ("user", "who"), ("assistant", "me")]
    rows = (
        {"prompt": "who", "completion": "me"},
        {"messages": [{"role": role, "content": content} for role, content in talk]},
    )
    settings = settings_for(task, chatty, options={"system": "be kind"})
    asked, talked = (
        chatty.decode(feature.inputs["input_ids"]) for feature in task.encode_prompts(read(task, *rows), settings)
    )
    assert asked == "< system > be kind [SEP] < user > who [SEP] < a >"
    assert talked == "< system > be kind [SEP] < user > hi [SEP] < assistant > hello [SEP] < user > who [SEP] < a >"
    for feature in task.encode(read(task, *rows), settings):
        counted = [label for label in feature.labels["labels"] if label != -100]
        assert chatty.decode(counted) == "me [SEP]"
    plain = settings_for(task, chatty, options={"chat": False})
    assert chatty.decode(task.encode_prompts(read(task, rows[0]), plain)[0].inputs["input_ids"]) == "[CLS] who"
    learned = task.prepare(read(task, {"text": POEM}), task.options(max_new_tokens=8))
    documents = replace(plain, setup=learned, predicting=True)
    assert chatty.decode(task.encode_prompts(read(task, rows[0]), documents)[0].inputs["input_ids"]) == "[CLS] who"


# ── scores ──────────────────────────────────────────────────────────────────────────────────────────────


def scored(task: Any, model: Any, examples: list[Any], settings: EncodeSettings) -> list[Any]:
    """Run a model over the features as the engine does, one at a time, and decode."""
    windows: dict[int, list[Window]] = {n: [] for n in range(len(examples))}
    for feature in task.encode(examples, settings):
        inputs = {name: torch.tensor([values]) for name, values in feature.inputs.items() if name != "token_type_ids"}
        with torch.inference_mode():
            logits = model(**inputs).logits
        nll, targets = reduction.apply((logits,), (torch.tensor([feature.labels["labels"]]),), settings.setup)
        windows[feature.example].append(Window(feature, {"nll": nll[0].numpy(), "targets": targets[0].numpy()}))
    return [task.decode(example, windows[n], settings.setup) for n, example in enumerate(examples)]


def first_rows(count: int) -> list[str]:
    with gzip.open(WIKITEXT / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(next(file))["text"][:220] for _ in range(count)]


def test_perplexity_and_bits_are_those_of_transformers_own_loss(task, tokenizer, tiny_backbones):
    with quiet_transformers():
        model = transformers.AutoModelForCausalLM.from_pretrained(tiny_backbones["llama"]).eval()
    texts = [*first_rows(200), POEM]
    settings = settings_for(task, tokenizer, 128)
    (metric,) = task.metrics
    examples = read(task, *({"text": text} for text in texts))
    values = metric.compute(scored(task, model, examples, settings), examples, settings.setup).values
    nll, tokens = 0.0, 0
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        assert ids.shape[1] <= 128
        with torch.inference_mode():
            loss = model(input_ids=ids, labels=ids).loss
        nll, tokens = nll + float(loss) * (ids.shape[1] - 1), tokens + ids.shape[1] - 1
    assert values["scored_tokens"] == tokens
    assert values["perplexity"] == pytest.approx(math.exp(nll / tokens), rel=1e-5)
    # [CLS] is the token that nothing predicts: all characters are scored
    assert values["bits_per_character"] == pytest.approx(nll / math.log(2) / sum(map(len, texts)), rel=1e-5)
    assert values["bits_per_byte"] == pytest.approx(
        nll / math.log(2) / sum(len(text.encode()) for text in texts), rel=1e-5
    )
    assert task.headline(settings.setup) in values
    assert task.headline(settings.setup) in metric.lower_is_better


@pytest.mark.parametrize("stride", [0, 6])
def test_windows_give_the_likelihood_of_each_token_behind_its_window(task, tokenizer, tiny_backbones, stride):
    with quiet_transformers():
        model = transformers.AutoModelForCausalLM.from_pretrained(tiny_backbones["gpt2"]).eval()
    settings = settings_for(task, tokenizer, 16, stride)
    (prediction,) = scored(task, model, read(task, {"text": POEM}), settings)
    ids = tokenizer(POEM, return_tensors="pt")["input_ids"]
    nll, starts = 0.0, list(range(0, ids.shape[1], 16 - stride))
    for target in range(1, ids.shape[1]):
        start = next(start for start in starts if target - 1 < start + 16)  # the first window that holds what precedes
        with torch.inference_mode():
            logits = model(input_ids=ids[:, start:target]).logits[0, -1]
        nll -= float(logits.log_softmax(-1)[ids[0, target]])
    assert prediction.likelihood.nll == pytest.approx(nll, rel=1e-5)
    assert prediction.perplexity == pytest.approx(math.exp(nll / (ids.shape[1] - 1)), rel=1e-5)


def test_what_is_scored_of_a_text_is_counted_in_characters_and_bytes(task, tokenizer):
    bare = transformers.AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    bare.backend_tokenizer.post_processor = None
    (document, completion) = read(task, {"text": "  月光 moon"}, {"prompt": "月", "completion": "光🙂"})

    def likelihood(example: Any, settings: EncodeSettings) -> Any:
        outputs = {"nll": np.array(2.0), "targets": np.array(3.0)}
        windows = [Window(feature, outputs) for feature in task.encode([example], settings)]
        return task.decode(example, windows, settings.setup).likelihood

    first = likelihood(document, settings_for(task, bare))
    assert (first.characters, first.bytes) == (len("光 moon"), len("光 moon".encode()))
    halves = settings_for(task, bare, family="encoder-decoder", decoder_start=101)
    assert likelihood(document, halves).characters == len("光 moon")
    several = replace(halves, max_length=10)
    long = replace(document, text="月 光 " * 9)
    windows = task.encode([long], several)
    assert len(windows) > 1
    read_again = sum(end - start for feature in windows for start, end in feature.offsets)
    assert likelihood(long, several).characters == pytest.approx(len(long.text) - 2 * read_again, abs=len(windows))
    found = likelihood(completion, settings_for(task, tokenizer))
    assert (found.characters, found.bytes, found.tokens) == (2, 7, 3)


def test_the_variety_of_what_is_written(task):
    setup = task.setup_from_labels((), task.options())
    examples = read(task, {"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"})
    outputs = {"nll": np.array(2.0), "targets": np.array(2.0)}
    texts = ("to be or not to be or not", "明月明月")
    predictions = [
        task.decode(
            example,
            [Window(None, outputs), Window(None, {}, (Generated(text, -1.0, 3), Generated("x", -2.0, 1)))],
            setup,
        )
        for example, text in zip(examples, texts, strict=True)
    ]
    assert [candidate.text for candidate in predictions[1].candidates] == ["明月明月", "x"]
    assert (predictions[0].log_probability, predictions[0].tokens, predictions[0].prompt) == (-1.0, 3, "a")
    values = task.metrics[0].compute(predictions, examples, setup).values
    assert values["distinct_1"] == pytest.approx((4 + 2) / (8 + 4))
    assert values["distinct_2"] == pytest.approx((4 + 2) / (7 + 3))
    assert values["repetition"] == pytest.approx((1 / 5 + 0) / 2)
    assert values["perplexity"] == pytest.approx(math.e)


@pytest.mark.parametrize(
    ("written", "expected"),
    [("明 月 光 。", "明月光。"), (" upon a time", " upon a time"), ("床前 明月", "床前 明月"), ("\n明月", "\n明月")],
)
def test_blanks_of_wordpiece_between_characters_go_and_all_else_stays(task, written, expected):
    setup = task.setup_from_labels((), task.options())
    found = task.decode(read(task, {"prompt": "a"})[0], [Window(None, {}, (Generated(written, -1.0, 3),))], setup)
    assert (found.text, found.candidates, found.likelihood) == (expected, (), None)


def test_the_baseline_is_the_entropy_of_characters(task):
    texts = ["明月光明", "ab"]
    examples = read(task, *({"text": text} for text in texts))
    setup = task.prepare(examples, task.options())
    assert json.loads(json.dumps(setup.facts)) == {
        "characters": {"明": 2, "月": 1, "光": 1, "a": 1, "b": 1, "": 0},
        "documents": True,
    }
    counts = Counter("".join(texts))
    bits = -sum(n * math.log2((n + 1) / (6 + 6)) for n in counts.values())
    for known in (setup, task.setup_from_labels((), task.options())):
        values = task.metrics[0].compute(task.baseline(examples, known), examples, known).values
        assert values == {
            "bits_per_character": pytest.approx(bits / 6),
            "bits_per_byte": pytest.approx(bits / len("".join(texts).encode())),
        }
    (unseen,) = task.baseline(read(task, {"text": "🙂"}), setup)
    assert unseen.likelihood.nll == pytest.approx(math.log(12) + math.log(0x110000 - 5))


def test_rare_characters_count_as_one_in_the_baseline(task, monkeypatch):
    monkeypatch.setattr("polyhead.registry.toolkit.character_frequencies.MOST_CHARACTERS", 2)
    setup = task.prepare(read(task, {"text": "aaabbcd"}), task.options())
    assert setup.facts["characters"] == {"a": 3, "b": 2, "": 2}


def test_nothing_to_score_is_said(task):
    with pytest.raises(DataError, match="nothing to score"):
        task.metrics[0].compute([], [], task.setup_from_labels((), task.options()))
