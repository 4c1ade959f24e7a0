"""Loading backbones with a head, and what is said when there is none, or when the weights are broken."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from polyhead.backbone.model.loading import HEAD_FILE, Backbone, bears_head, find_backbone, load_with_head
from polyhead.registry import BackboneError, HeadSpec, Registry
from polyhead.registry.toolkit.pooled_head import build_pooled_head

CLASSIFIER = HeadSpec(size=2, labels=("负面", "正面"), auto_class="AutoModelForSequenceClassification")
POOLED = HeadSpec(size=2, labels=("负面", "正面"), build=build_pooled_head)
WRITER = HeadSpec(size=1, auto_class="AutoModelForCausalLM")
PAIR = HeadSpec(size=1, auto_class="AutoModelForSeq2SeqLM")


@pytest.fixture
def copied(tiny_bert: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny BERT that a test may change."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def test_the_head_of_transformers_gets_the_labels(tiny_bert: Path, registry: Registry) -> None:
    model, head = load_with_head(find_backbone(str(tiny_bert), registry), CLASSIFIER, dropout=None)
    assert (type(model).__name__, head) == ("BertForSequenceClassification", None)
    assert model.config.id2label == {0: "负面", 1: "正面"}
    assert model.config.label2id == {"负面": 0, "正面": 1}
    assert model.classifier.out_features == 2


def test_weights_are_float32_whatever_the_folder_says(copied: Path, registry: Registry) -> None:
    transformers.AutoModel.from_pretrained(copied, dtype=torch.bfloat16).save_pretrained(copied)
    model, _ = load_with_head(find_backbone(str(copied), registry), CLASSIFIER, dropout=None)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_new_weights_come_from_the_seed(tiny_bert: Path, registry: Registry) -> None:
    backbone = find_backbone(str(tiny_bert), registry)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(load_with_head(backbone, CLASSIFIER, dropout=None)[0].classifier.weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(("dropout", "expected"), [(None, {0.1}), (0.0, {0.0}), (0.3, {0.3})])
def test_dropout_can_be_replaced(
    tiny_bert: Path, registry: Registry, dropout: float | None, expected: set[float]
) -> None:
    model, _ = load_with_head(find_backbone(str(tiny_bert), registry), CLASSIFIER, dropout=dropout)
    assert expected == {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}


def test_the_pooled_head_has_no_pooler_beside_it(tiny_bert: Path, registry: Registry) -> None:
    trunk, head = load_with_head(find_backbone(str(tiny_bert), registry), POOLED, dropout=0.2)
    assert [name for name, _ in trunk.named_parameters() if "pooler" in name] == []
    assert head is not None
    assert head.linear.weight.shape == (2, 32)
    assert head.dropout.p == 0.2


def test_the_pooled_head_finds_its_saved_weights(copied: Path, registry: Registry) -> None:
    from safetensors.torch import save_file

    saved = {"linear.weight": torch.full((2, 32), 0.5), "linear.bias": torch.tensor([1.0, 2.0])}
    save_file(saved, copied / HEAD_FILE)
    _, head = load_with_head(find_backbone(str(copied), registry), POOLED, dropout=None)
    assert head is not None
    assert all(torch.equal(saved[name], tensor) for name, tensor in head.state_dict().items())


def test_a_head_of_another_size_is_drawn_anew(copied: Path, registry: Registry) -> None:
    config = transformers.AutoConfig.from_pretrained(copied, num_labels=5)
    before = transformers.AutoModelForSequenceClassification.from_pretrained(copied, config=config)
    before.save_pretrained(copied)
    model, _ = load_with_head(find_backbone(str(copied), registry), CLASSIFIER, dropout=None)
    assert model.classifier.weight.shape == (2, 32)
    assert torch.equal(before.bert.pooler.dense.weight, model.bert.pooler.dense.weight)


def test_a_head_that_nobody_has_is_refused(tiny_bert: Path, registry: Registry) -> None:
    spec = HeadSpec(size=1, auto_class="AutoModelForSpeechSeq2Seq")
    with pytest.raises(BackboneError, match=r"^transformers has no AutoModelForSpeechSeq2Seq for architecture 'bert'$"):
        load_with_head(find_backbone(str(tiny_bert), registry), spec, dropout=None)


def test_a_folder_without_weights_is_refused(copied: Path, registry: Registry) -> None:
    (copied / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=rf"^backbone '{copied}' cannot be read from {copied}: .*safetensors"):
        load_with_head(find_backbone(str(copied), registry), CLASSIFIER, dropout=None)


def test_damaged_weights_are_refused(copied: Path, registry: Registry) -> None:
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BackboneError, match=rf"^backbone '{copied}' cannot be read from {copied}: "):
        load_with_head(find_backbone(str(copied), registry), CLASSIFIER, dropout=None)


# ── rates of dropout ────────────────────────────────────────────────────────────────────────────────────


def rates(model: torch.nn.Module) -> set[float]:
    """Return every rate of dropout in a model: of modules, and the numbers that attention and stacks keep."""
    found = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
    for module in model.modules():
        named = {name: value for name, value in vars(module).items() if "drop" in name}
        found |= {value for value in named.values() if isinstance(value, float)}
    return found


def test_dropout_can_be_replaced_in_every_architecture(architecture: str, saved: Callable[[str], Any]) -> None:
    model, _ = load_with_head(saved(architecture), POOLED, dropout=0.3)
    assert rates(model) - {0.0} == {0.3}
    model, head = load_with_head(saved(architecture), POOLED, dropout=0.0)
    assert rates(model) == {0.0}
    assert head is not None
    assert head.dropout.p == 0.0


def test_dropout_can_be_replaced_in_both_halves_of_a_pair(saved: Callable[[str], Any]) -> None:
    for name in ("bert", "encoder-decoder"):
        model, _ = load_with_head(saved(name), PAIR, dropout=0.3)
        assert rates(model.encoder) - {0.0} == rates(model.decoder) - {0.0} == {0.3}


def test_whole_blocks_are_not_dropped_where_dropout_is_set(saved: Callable[[str], Any]) -> None:
    backbone = saved("bart")
    backbone = dataclasses.replace(backbone, config=transformers.BartConfig.from_dict(backbone.config.to_dict()))
    backbone.config.encoder_layerdrop = 0.5
    model, _ = load_with_head(backbone, PAIR, dropout=0.1)
    assert (model.model.encoder.layerdrop, model.model.decoder.layerdrop) == (0.0, 0.0)


# ── families ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_head_of_our_own_sees_the_width_of_what_it_reads(architecture: str, saved: Callable[[str], Any]) -> None:
    _, head = load_with_head(saved(architecture), POOLED, dropout=None)
    assert head is not None
    assert head.linear.in_features == 32


def test_a_language_model_says_what_it_pads_with(tmp_path: Path) -> None:
    config = transformers.GPT2Config(vocab_size=60, n_embd=32, n_layer=1, n_head=4, n_positions=40, eos_token_id=2)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    config.pad_token_id = 2  # as `find_backbone` settles it
    backbone = Backbone("gpt2", str(tmp_path), "decoder", config, SimpleNamespace())
    model, _ = load_with_head(backbone, WRITER, dropout=None)
    assert (model.config.pad_token_id, model.generation_config.pad_token_id) == (2, 2)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert model.config.num_labels == 2  # what every config says by itself


@pytest.mark.parametrize(("name", "head"), [("bert", WRITER), ("bart", WRITER), ("t5", WRITER), ("llama", PAIR)])
def test_a_head_that_makes_no_sense_for_the_family_is_refused(
    name: str, head: HeadSpec, saved: Callable[[str], Any]
) -> None:
    with pytest.raises(BackboneError, match=rf"^transformers has no {head.auto_class} for architecture '{name}'$"):
        load_with_head(saved(name), head, dropout=None)


def test_a_causal_mask_that_was_off_comes_back(saved: Callable[[str], Any]) -> None:
    backbone = saved("llama")
    off = dataclasses.replace(POOLED, causal=False)
    model, _ = load_with_head(backbone, off, dropout=None)
    assert model.config.is_causal is False
    again = dataclasses.replace(backbone, config=model.config)
    assert load_with_head(again, POOLED, dropout=None)[0].config.is_causal is True
    assert not hasattr(load_with_head(backbone, POOLED, dropout=None)[0].config, "is_causal")


def test_a_causal_mask_that_nobody_has_tried_to_switch_off_is_refused() -> None:
    config = transformers.OPTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, ffn_dim=48)
    backbone = Backbone("opt", "opt", "decoder", config, SimpleNamespace())
    with pytest.raises(BackboneError, match=r"'opt' can be switched off; it can for gemma3_text, gpt2, llama, "):
        load_with_head(backbone, dataclasses.replace(POOLED, causal=False), dropout=None)


# ── whether the head is there ───────────────────────────────────────────────────────────────────────────


def without_parameters(config: Any, spec: HeadSpec) -> torch.nn.Module:
    return torch.nn.Identity()


@pytest.mark.parametrize(
    ("named", "head", "expected"),
    [
        ("BertForSequenceClassification", CLASSIFIER, True),
        ("BertModel", CLASSIFIER, False),
        ("BertForTokenClassification", CLASSIFIER, False),
        ("BertModel", POOLED, False),
        ("BertModel", HeadSpec(1, build=without_parameters), True),
        ("BertModel", PAIR, False),
        (None, CLASSIFIER, False),
    ],
)
def test_whether_a_folder_bears_a_head(
    named: str | None, head: HeadSpec, expected: bool, copied: Path, registry: Registry
) -> None:
    backbone = find_backbone(str(copied), registry)
    backbone.config.architectures = None if named is None else [named]
    assert bears_head(backbone, head) is expected


def test_a_folder_with_the_weights_of_our_own_head_bears_it(copied: Path, registry: Registry) -> None:
    (copied / HEAD_FILE).touch()
    assert bears_head(find_backbone(str(copied), registry), POOLED)
    assert not bears_head(find_backbone(str(copied), registry), CLASSIFIER)


@pytest.mark.parametrize(
    ("name", "named", "head"),
    [
        ("t5", "T5ForConditionalGeneration", PAIR),
        ("marian", "MarianMTModel", PAIR),
        ("encoder-decoder", "EncoderDecoderModel", PAIR),
        ("gemma3_text", "Gemma3ForCausalLM", WRITER),
    ],
)
def test_models_that_write_bear_their_head(name: str, named: str, head: HeadSpec, saved: Callable[[str], Any]) -> None:
    backbone = saved(name)
    config = type(backbone.config).from_dict({**backbone.config.to_dict(), "architectures": [named]})
    assert bears_head(dataclasses.replace(backbone, config=config), head)
    assert not bears_head(dataclasses.replace(backbone, config=config), CLASSIFIER)
