"""What is written: the same in every batch, as `transformers` writes it alone, with its probability."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from polyhead.backbone.inference.writing import write
from polyhead.backbone.model.loading import quiet_transformers
from polyhead.registry import DataError, Feature, Generated, GenerationSettings, RunError

TEXTS = (
    "the cat",
    "a gripping story, told with warmth and wit by people who know how it is done",
    "这部电影很好看",
    "once upon a time there was a king",
    "no",
    "full-width ＡＢＣ and an emoji 🙂 in one line",
)
KINDS = ("llama", "gpt2", "t5", "bart", "marian", "pair")
DECODERS = ("llama", "gpt2")
CPU = torch.device("cpu")


class Model:
    """A model with what `write` and the plain comparison need."""

    def __init__(self, kind: str, folders: dict[str, Path]) -> None:
        torch.manual_seed(3)
        self.family: Any = "decoder" if kind in DECODERS else "encoder-decoder"
        folder = folders["bert" if kind == "pair" else kind]
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        if kind == "pair":
            self.model = transformers.EncoderDecoderModel.from_encoder_decoder_pretrained(
                folder, folder, tie_encoder_decoder=False
            )
            self.model.generation_config.update(decoder_start_token_id=101, eos_token_id=102, pad_token_id=0)
        else:
            auto = transformers.AutoModelForCausalLM if kind in DECODERS else transformers.AutoModelForSeq2SeqLM
            self.model = auto.from_pretrained(folder)
        self.model.eval()
        self.model.generation_config.forced_eos_token_id = None
        late = {token for prompt in self.prompts() for token in self._late_tokens(prompt)}
        self.ends = [102, *sorted(late)[:1]]  # chance alone would never end a text
        self.model.generation_config.eos_token_id = self.ends

    def _late_tokens(self, prompt: Feature) -> set[int]:
        tokens = self.plainly(prompt, max_new_tokens=8)
        return set(tokens[3:]) - set(tokens[:3])

    def prompts(self, texts: tuple[str, ...] = TEXTS) -> list[Feature]:
        special = self.family != "decoder"
        ids = [self.tokenizer(text, add_special_tokens=special)["input_ids"] for text in texts]
        return [Feature(n, {"input_ids": found}) for n, found in enumerate(ids)]

    def write(self, prompts: list[Feature], settings: GenerationSettings, **more: Any) -> list[tuple[Generated, ...]]:
        arguments: dict[str, Any] = {"family": self.family, "max_tokens": 10_000, "device": CPU, **more}
        return write(self.model, self.tokenizer, prompts, settings, **arguments)

    def plainly(self, prompt: Feature, **settings: Any) -> list[int]:
        """Return what `transformers` writes for one prompt by itself."""
        ids = torch.tensor([prompt.inputs["input_ids"]])
        found = self.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **settings)
        return found[0, ids.shape[1] if self.family == "decoder" else 1 :].tolist()

    def log_probability(self, prompt: Feature, tokens: list[int]) -> float:
        """Return the log-probability of some tokens behind a prompt by one plain forward pass."""
        source = list(prompt.inputs["input_ids"])
        start = source if self.family == "decoder" else [self.model.generation_config.decoder_start_token_id]
        whole = torch.tensor([[*start, *tokens]])
        with torch.no_grad():
            logits = (
                self.model(input_ids=whole).logits
                if self.family == "decoder"
                else self.model(input_ids=torch.tensor([source]), decoder_input_ids=whole).logits
            )
        scores = logits[0, len(start) - 1 : -1].double().log_softmax(-1)
        return float(scores.gather(1, torch.tensor(tokens)[:, None]).sum())


@pytest.fixture(scope="module")
def models(tiny_backbones: dict[str, Path]) -> dict[str, Model]:
    with quiet_transformers():
        return {kind: Model(kind, tiny_backbones) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        (GenerationSettings(12), {"max_new_tokens": 12}),
        (
            GenerationSettings(12, min_new_tokens=6, repetition_penalty=1.7, no_repeat_ngram=2),
            {"max_new_tokens": 12, "min_new_tokens": 6, "repetition_penalty": 1.7, "no_repeat_ngram_size": 2},
        ),
        (
            GenerationSettings(12, beams=3, length_penalty=0.5),
            {"max_new_tokens": 12, "num_beams": 3, "length_penalty": 0.5},
        ),
        (
            GenerationSettings(9, beams=3, no_repeat_ngram=1, repetition_penalty=1.3),
            {"max_new_tokens": 9, "num_beams": 3, "no_repeat_ngram_size": 1, "repetition_penalty": 1.3},
        ),
    ],
)
def test_a_batch_gives_what_transformers_writes_for_each_prompt_alone(models, kind, settings, plain):
    model = models[kind]
    prompts = model.prompts()
    found = model.write(prompts, settings)
    for prompt, (text,) in zip(prompts, found, strict=True):
        tokens = model.plainly(prompt, **plain)
        stops = [n + 1 for n, token in enumerate(tokens) if token in model.ends]
        tokens = tokens[: stops[0] if stops else None]
        assert (text.tokens, text.finished) == (len(tokens), bool(stops))
        assert text.log_probability == pytest.approx(model.log_probability(prompt, tokens), rel=1e-4)
        assert text.text.split() == model.tokenizer.decode(tokens, skip_special_tokens=True).split() or (
            model.family == "decoder"  # there the first piece may belong to the prompt's last word
        )


def test_the_models_do_end_some_texts_and_are_cut_off_in_others(models):
    ends = {
        text.finished
        for model in models.values()
        for (text,) in model.write(model.prompts(), GenerationSettings(12, beams=3))
    }
    assert ends == {True, False}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_depends_on_seed_and_prompt_only(models, kind):
    model, settings = models[kind], GenerationSettings(8, sample=True, temperature=0.7, top_k=50, top_p=0.9, seed=5)
    prompts = model.prompts()
    together = model.write(prompts, settings)
    alone = [model.write([replace(prompt, example=0)], settings)[0] for prompt in prompts]
    assert [[text.text for text in texts] for texts in together] == [[text.text for text in texts] for texts in alone]
    assert together[0][0].log_probability == pytest.approx(alone[0][0].log_probability, rel=1e-4)
    other = model.write(prompts, replace(settings, seed=6))
    assert [texts[0].text for texts in other] != [texts[0].text for texts in together]
    state = torch.get_rng_state()
    model.write(prompts, settings)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("beams", [1, 3])
def test_an_end_that_is_the_padding_too_changes_nothing(models, beams):
    model, settings = models["llama"], GenerationSettings(10, beams=beams, repetition_penalty=1.2, no_repeat_ngram=1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model.tokenizer.name_or_path)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(model.ends[0])
    prompts = model.prompts()
    found = write(model.model, tokenizer, prompts, settings, family=model.family, max_tokens=10_000, device=CPU)
    assert [text.text for (text,) in found] == [text.text for (text,) in model.write(prompts, settings)]


def test_candidates_differ_and_the_likeliest_is_first(models):
    for settings in (GenerationSettings(8, sample=True, candidates=4), GenerationSettings(8, beams=4, candidates=4)):
        for texts in models["gpt2"].write(models["gpt2"].prompts(), settings):
            assert len({text.text for text in texts}) == 4
            likely = [text.log_probability for text in texts]
            if settings.sample:
                assert likely == sorted(likely, reverse=True)
            else:
                lengths = [value / text.tokens for value, text in zip(likely, texts, strict=True)]
                assert lengths == sorted(lengths, reverse=True)


def test_what_is_drawn_follows_the_models_distribution(models):
    model, count = models["llama"], 600
    with torch.no_grad():
        prompt = model.prompts(("the cat",))[0]
        logits = model.model(input_ids=torch.tensor([prompt.inputs["input_ids"]])).logits[0, -1]
    likely = (logits / 0.5).softmax(-1).topk(3).values
    settings = GenerationSettings(1, sample=True, temperature=0.5, top_k=3, candidates=count)
    ((*drawn,),) = model.write([prompt], settings, max_tokens=10**9)
    found = torch.tensor(sorted((sum(a.text == b for a in drawn) for b in {a.text for a in drawn}), reverse=True))
    torch.testing.assert_close(found / count, likely / likely.sum(), atol=0.06, rtol=0.0)


@pytest.mark.parametrize("budget", [1, 60, 10_000])
def test_the_budget_changes_batches_not_texts(models, budget):
    model, done = models["t5"], []
    prompts = [
        replace(p, inputs={**p.inputs, "decoder_input_ids": [0, 7][: 1 + n % 2]}) for n, p in enumerate(model.prompts())
    ]
    found = model.write(prompts, GenerationSettings(8), max_tokens=budget, progress=done.append)
    assert sum(done) == len(prompts)
    expected = [model.write([prompt], GenerationSettings(8))[0] for prompt in prompts]
    assert [[text.text for text in texts] for texts in found] == [[text.text for text in texts] for texts in expected]
    assert len(done) == {1: 6, 60: len(done), 10_000: 2}[budget]


def test_writing_goes_on_from_the_beginning_of_the_target(models):
    model = models["bart"]
    (prompt,) = model.prompts(("the cat",))
    ((free,),) = model.write([prompt], GenerationSettings(6))
    first = 2003  # a token that it would not choose
    begun = replace(prompt, inputs={**prompt.inputs, "decoder_input_ids": [102, first]})
    ((bound,),) = model.write([begun], GenerationSettings(6))
    ids = torch.tensor([prompt.inputs["input_ids"]])
    plain = model.model.generate(
        ids, attention_mask=torch.ones_like(ids), decoder_input_ids=torch.tensor([[102, first]]), max_new_tokens=6
    )
    assert (
        bound.text.split()
        == model.tokenizer.decode(plain[0, 2:], skip_special_tokens=True).split()
        != free.text.split()
    )


@pytest.mark.parametrize("beams", [1, 3])
def test_a_stop_text_ends_the_text_and_is_no_part_of_it(models, beams):
    model = models["llama"]
    for prompt in model.prompts():
        ((whole,),) = model.write([prompt], GenerationSettings(12))
        stop = whole.text[4:7]
        ((text,),) = model.write([prompt], GenerationSettings(12, stop=(stop, "never there"), beams=beams))
        assert stop not in text.text
        if beams == 1:
            assert text.text == whole.text[: whole.text.index(stop)]
            assert text.finished
            assert text.tokens < 12


def test_prompt_and_text_join_without_a_seam(models):
    model = models["gpt2"]
    for prompt in model.prompts():
        ((text,),) = model.write([prompt], GenerationSettings(6))
        tokens, asked = model.plainly(prompt, max_new_tokens=6), prompt.inputs["input_ids"]
        before, whole = (
            model.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for ids in (asked, [*asked, *tokens])
        )
        assert before + text.text == whole


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_come_as_they_are_written(models, kind):
    model, pieces = models[kind], []
    (prompt,) = model.prompts(("the cat",))
    settings = GenerationSettings(9, min_new_tokens=9, no_repeat_ngram=1)
    ((text,),) = model.write([prompt], settings, stream=pieces.append)
    assert "".join(pieces) == text.text
    assert len(pieces) > 3
    cut, stop = [], text.text[5:9]
    ((short,),) = model.write([prompt], replace(settings, stop=(stop,)), stream=cut.append)
    assert "".join(cut) == short.text == text.text[: text.text.index(stop)]


def test_nothing_of_the_model_is_changed_and_nothing_is_said(models, caplog):
    model = models["bart"].model
    model.generation_config.update(max_length=17, num_beams=2, do_sample=True, temperature=0.3, min_length=4)
    before, config = model.generation_config, model.generation_config.to_dict()
    model.train()
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        found = models["bart"].write(models["bart"].prompts(), GenerationSettings(20))
    finally:
        logger.removeHandler(caplog.handler)
        was_training = model.training
        model.eval()
        model.generation_config = transformers.GenerationConfig.from_dict(
            {
                **config,
                "max_length": None,
                "num_beams": None,
                "do_sample": None,
                "temperature": None,
                "min_length": None,
            }
        )
    assert max(texts[0].tokens for texts in found) == 20
    assert was_training
    assert before.to_dict() == config
    assert caplog.records == []


def test_a_prompt_without_room_is_refused(models):
    prompt = Feature(4, {"input_ids": [7] * 120})
    with pytest.raises(
        DataError, match=r"example 5: a prompt of 120 tokens and options.max_new_tokens=64 .* 128 tokens"
    ):
        models["llama"].write([prompt], GenerationSettings())
    with pytest.raises(DataError, match=r"example 5: options.max_new_tokens=128 and a start of 1"):
        models["bart"].write([prompt], GenerationSettings(128))
    with pytest.raises(DataError, match="example 5: a text of 129 tokens"):
        models["pair"].write([Feature(4, {"input_ids": [7] * 129})], GenerationSettings())
    models["t5"].write([Feature(4, {"input_ids": [7] * 200})], GenerationSettings(2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (GenerationSettings(sample=True, beams=2), "options.sample and options.beams=2"),
        (GenerationSettings(candidates=2), "options.candidates=2"),
    ],
)
def test_settings_that_exclude_one_another_are_refused(models, settings, message):
    with pytest.raises(RunError, match=message):
        models["llama"].write(models["llama"].prompts(), settings)
    with pytest.raises(RunError, match="one prompt"):
        models["llama"].write(models["llama"].prompts(), GenerationSettings(), stream=print)
