"""The objectives of pretraining: rows, options, what is taken from a window, and short runs that learn."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from polyhead.backbone.evaluation.evaluate import Request, evaluate
from polyhead.backbone.options import build_options
from polyhead.backbone.training.finetune import finetune
from polyhead.configs.load import load_config
from polyhead.registry import DataError, EncodeSettings, Feature, Registry, RowError, RunError, TaskSetup, Window
from polyhead.registry.toolkit.language_model import restoration

SAMPLES = Path(__file__).parents[3] / "configs" / "samples"
TEXTS = ("The actors are wonderful. 我学中国文学！文学美。", "Unbelievably boring, 古文学。" * 12)
OBJECTIVES = {"causal-lm": "decoder", "masked-lm": "encoder", "span-corruption": "encoder-decoder"}
OBJECTIVES |= {"denoising": "encoder-decoder"}
MASK, CLS, SEP = 103, 101, 102


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(tiny_bert)


@pytest.fixture
def settings(registry: Registry, tokenizer: Any) -> Any:
    """Return what gives a task, with its settings and its features of `TEXTS`."""

    def of(name: str, length: int = 40, **options: Any) -> tuple[Any, EncodeSettings, list[Feature]]:
        task = registry.task(name)
        chosen = task.options(**options)
        examples = [task.to_example({"text": text}, str(n), chosen) for n, text in enumerate(TEXTS)]
        setup = task.prepare(examples, chosen)
        start = CLS if OBJECTIVES[name] == "encoder-decoder" else None
        found = EncodeSettings(tokenizer, length, length // 4, setup, family=OBJECTIVES[name], decoder_start=start)
        return task, found, task.encode(examples, found)

    return of


@pytest.fixture
def word_list(tmp_path: Path) -> Path:
    """Return a file of Chinese words."""
    path = tmp_path / "words.txt"
    path.write_text("文学 9\n中 3\n国 3\n", encoding="utf-8")
    return path


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"text": " a film ", "label": "good"}, "a film"),
        ({"sentence1": "one", "sentence2": "two", "score": 1.0}, "one\ntwo"),
        ({"translation": {"en": "tea", "zh": "茶", "de": "Tee"}}, "tea\n茶"),
        ({"document": ["first", "second"], "summary": "short"}, "first\nsecond"),
        ({"title": "T", "text": None, "context": "c", "question": "q"}, "T\nc"),
    ],
)
def test_a_document_is_what_stands_in_the_fields_of_a_row(row: Mapping[str, Any], text: str, registry: Registry):
    for name in OBJECTIVES:
        task = registry.task(name)
        assert task.to_example(row, "1", task.options()).text == text


def test_fields_can_be_chosen(registry: Registry):
    task = registry.task("masked-lm")
    options = build_options(task, {"fields": ["translation.zh", "note"]})
    row = {"translation": {"en": "tea", "zh": "茶"}, "note": "n", "text": "t"}
    assert task.to_example(row, "1", options).text == "茶\nn"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "7", "label": "good"}, r"none of the fields .* columns found: 'label'; say options.fields=\[NAME\]"),
        ({"text": 3}, "expected a text, or a list of texts, found 3"),
        ({"text": "  "}, "none of the fields"),
    ],
)
def test_a_row_without_a_text_is_refused(row, message, registry: Registry):
    task = registry.task("denoising")
    with pytest.raises(RowError, match=message):
        task.to_example(row, "1", task.options())


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("masked-lm", {"mask_probability": 0.0}, "mask_probability must be above 0 to 1, not 0"),
        ("masked-lm", {"mask_share": 0.9, "random_share": 0.2}, "must not be more than 1 together"),
        ("span-corruption", {"mean_span": 0.5}, "mean_span must be at least 1, not 0.5"),
        ("denoising", {"infill_probability": 1.5}, "infill_probability must be from 0 to 1, not 1.5"),
        ("causal-lm", {"fields": []}, "fields must name at least one field"),
        ("causal-lm", {"whole_words": True}, "task 'causal-lm' has no such option"),
    ],
)
def test_options_out_of_range_are_refused(task, options, message, registry: Registry):
    with pytest.raises(RunError, match=message):
        build_options(registry.task(task), options)


# ── what the model gets to see ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["masked-lm", "span-corruption", "denoising"])
def test_the_same_generator_takes_the_same_and_another_something_else(name, settings):
    task, found, features = settings(name)
    seen = [task.corrupt(feature, draw(7), found) for feature in features]
    assert seen == [task.corrupt(feature, draw(7), found) for feature in features]
    assert seen != [task.corrupt(feature, draw(8), found) for feature in features]
    for before, after in zip(features, seen, strict=True):
        assert after.example == before.example
        assert len(after.inputs["input_ids"]) <= len(before.inputs["input_ids"]) <= 40
        if "decoder_input_ids" in before.inputs:  # the budget of a batch is counted before anything is drawn
            assert len(after.inputs["decoder_input_ids"]) == len(before.inputs["decoder_input_ids"]) <= 40
        assert not before.labels


def test_words_are_hidden_whole_in_chinese_too(word_list, settings):
    more = {"mask_probability": 0.4, "mask_share": 1.0, "random_share": 0.0}
    task, found, features = settings("masked-lm", chinese_words=str(word_list), **more)
    wholes = set()
    for seed in range(30):
        for feature in features:
            ids, numbers = (np.array(feature.inputs[name]) for name in ("input_ids", "words"))
            seen = task.corrupt(feature, draw(seed), found)
            hidden = np.array(seen.inputs["input_ids"]) == MASK
            assert np.array_equal(hidden, np.array(seen.labels["labels"]) != -100)
            assert not hidden[[0, -1]].any()
            for number in set(numbers[hidden].tolist()):
                assert hidden[numbers == number].all()
                wholes.add(found.tokenizer.decode(ids[numbers == number]))
    assert {"文 学", "中", "unbelievably"} <= wholes


def test_single_tokens_are_hidden_where_words_do_not_matter(settings):
    _, _, features = settings("masked-lm", whole_words=False)
    assert all(len(set(feature.inputs["words"])) == len(feature.inputs["words"]) - 1 for feature in features)


def test_what_a_chinese_word_is_can_be_said_or_learned(word_list, tmp_path, settings):
    def words_of(**options: Any) -> set[str]:
        _, found, features = settings("denoising", **options)
        ids, numbers = (np.array(features[1].inputs[name]) for name in ("input_ids", "words"))
        return {found.tokenizer.decode(ids[numbers == number]) for number in set(numbers.tolist())}

    assert {"古", "文 学"} <= words_of(chinese_words=str(word_list))
    assert {"古", "文", "学"} <= words_of(chinese_words="characters")
    _, found, _ = settings("denoising")
    assert {word for word, _ in found.setup.facts["chinese_words"]} >= set("我学中国文古")
    with pytest.raises(DataError, match="cannot be read"):
        settings("denoising", chinese_words=str(tmp_path / "none.txt"))


def test_spans_stand_behind_their_sentinels(settings):
    task, found, features = settings("span-corruption")
    first = found.tokenizer.convert_tokens_to_ids("[unused0]")
    for feature in features:
        seen = task.corrupt(feature, draw(3), found)
        read, target = list(seen.inputs["input_ids"]), [int(token) for token in seen.labels["labels"]]
        assert (read[0], read[-1], target[0], target[-1]) == (CLS, SEP, first, SEP)
        assert list(seen.inputs["decoder_input_ids"]) == [CLS, *target[:-1]]
        spans: list[list[int]] = []
        for token in target[:-1]:
            if token == first + len(spans):
                spans.append([])
            else:
                spans[-1].append(token)
        text = [token for each in read for token in (spans[each - first] if 0 <= each - first < len(spans) else [each])]
        assert text == list(feature.inputs["input_ids"])


def test_too_few_sentinels_are_refused(settings, monkeypatch):
    monkeypatch.setattr("polyhead.registry.toolkit.span_corruption.sentinels_of", lambda _: np.array([1]))
    with pytest.raises(DataError, match="needs 2 sentinels, and the tokenizer has 1"):
        settings("span-corruption")


def test_the_whole_text_is_written_again(settings):
    task, found, features = settings("denoising")
    for feature in features:
        seen = task.corrupt(feature, draw(3), found)
        assert MASK in seen.inputs["input_ids"]
        assert list(seen.labels["labels"]) == list(feature.inputs["input_ids"][1:])  # the start stands for [CLS]
        assert list(seen.inputs["decoder_input_ids"]) == list(feature.inputs["input_ids"][:-1])


def test_a_decoder_learns_every_token_once_and_where_texts_end(settings):
    _, found, features = settings("causal-lm", length=16)
    for example, text in enumerate(TEXTS):
        labels = [label for each in features if each.example == example for label in each.labels["labels"]]
        assert labels == [*found.tokenizer(text)["input_ids"][1:]]  # its own last token ends a text
    assert all(feature.inputs["position_ids"][0] == 0 for feature in features)


# ── scores ──────────────────────────────────────────────────────────────────────────────────────────────


def test_scores_are_sums_over_all_windows(registry: Registry):
    task, setup = registry.task("masked-lm"), TaskSetup(None)
    labels = torch.tensor([[-100, 2, 1], [0, -100, -100]])
    logits = torch.tensor([[[9.0, 0, 0]] * 3, [[9.0, 0, 0]] * 3])
    nll, targets, right = restoration.apply((logits,), (labels,), setup)
    assert (targets.tolist(), right.tolist()) == ([2, 0 + 1], [0, 1])
    kept = [{"nll": nll[n].numpy(), "targets": targets[n].numpy(), "right": right[n].numpy()} for n in range(2)]
    example = task.to_example({"text": "a"}, "1", task.options())
    prediction = task.decode(example, [Window(Feature(0, {}), outputs) for outputs in kept], setup)
    values = task.metrics[0].compute([prediction], [example], setup).values
    loss = task.loss((logits,), (labels,), setup)
    assert values["perplexity"] == pytest.approx(float((loss.total / loss.targets).exp()))
    assert values["accuracy"] == pytest.approx(1 / 3)
    assert values["scored_tokens"] == 3
    with pytest.raises(DataError, match="nothing to score"):
        task.metrics[0].compute([task.decode(example, [], setup)], [example], setup)


# ── runs ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of Chinese and English documents."""
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    with gzip.open(SAMPLES / "tatoeba_en_zh" / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        path.write_text("".join(line for line, _ in zip(file, range(40), strict=False)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "backbone"),
    [("causal-lm", "llama"), ("masked-lm", "bert"), ("span-corruption", "bert"), ("denoising", "bart")],
)
def test_an_objective_learns_and_is_scored_alike_whatever_the_batches(
    name: str,
    backbone: str,
    texts: Path,
    tiny_backbones: dict[str, Path],
    registry: Registry,
    events: Any,
    tmp_path: Path,
):
    config = load_config(
        name,
        [
            f"backbone={tiny_backbones[backbone]}",
            f"output={tmp_path / 'run'}",
            f"data.train={texts}",
            f"data.validation={texts}",
            "data.max_length=64",
            "data.cache=false",
            "training.max_steps=10",
            "training.learning_rate=1e-2",
            "training.metric=accuracy",
        ],
        tasks=registry.tasks(),
    )
    result = finetune(config, registry)
    losses = [step["loss"] for step in events(config.output, "step")]
    assert losses[-1] < 0.9 * losses[0], losses
    again = config.model_copy(update={"data": config.data.model_copy(update={"max_tokens": 256})})
    scores = evaluate(Request(str(config.output), again, "validation"), registry)
    assert scores is not None
    assert result.evaluation is not None
    assert dict(scores.values) == pytest.approx(dict(result.evaluation.values), rel=1e-4)
    assert scores.baseline["perplexity"] > 1
    model = json.loads((config.output / "model" / "config.json").read_text(encoding="utf-8"))
    assert model["architectures"] == [
        {"llama": "LlamaForCausalLM", "bert": "BertForMaskedLM", "bart": "BartForConditionalGeneration"}[backbone]
        if name != "span-corruption"
        else "EncoderDecoderModel"
    ]


def test_each_epoch_hides_other_words_and_a_resumed_run_the_same(
    texts: Path, tiny_bert: Path, registry: Registry, events: Any, tmp_path: Path
):
    def losses(folder: str, steps: int, *, resume: bool = False) -> list[float]:
        """Train whole epochs of one batch each, with steps too small to change the model."""
        config = load_config(
            "masked-lm",
            [
                f"backbone={tiny_bert}",
                f"data.train={texts}",
                "data.cache=false",
                "training.batch_size=40",
                f"training.max_steps={steps}",
                "training.learning_rate=1e-12",
                "training.dropout=0",
                f"output={tmp_path / folder}",
            ],
            tasks=registry.tasks(),
        )
        finetune(config, registry, resume=resume)
        return [step["loss"] for step in events(config.output, "step")]

    whole = losses("whole", 3)
    assert len({round(loss, 4) for loss in whole}) == 3
    assert losses("part", 1) == pytest.approx(whole[:1], abs=1e-5)
    assert losses("part", 3, resume=True) == pytest.approx(whole, abs=1e-5)
