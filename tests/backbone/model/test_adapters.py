"""LoRA: what trains and what does not, and that merged weights are the model that was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from polyhead.backbone.model.adapters import add_lora, merged_weights
from polyhead.backbone.model.stages import Stage
from polyhead.configs.schema import LoraSettings
from polyhead.registry import HeadSpec, RunError

SETTINGS = LoraSettings(rank=4, alpha=8)
IDS = torch.tensor([[101, 2023, 2003, 1037, 3231, 102], [101, 1996, 2203, 102, 0, 0]])
MASK = (IDS != 0).long()


def load(folder: Path, auto_class: str = "AutoModelForSequenceClassification", **options: Any) -> Any:
    torch.manual_seed(3)
    return getattr(transformers, auto_class).from_pretrained(folder, **options).eval()


def disturb(model: nn.Module) -> None:
    """Stand in for training: change whatever trains."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)


def plain(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name.replace(".base_layer.", "."): value.detach().clone() for name, value in model.named_parameters()}


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def whole(model: Any) -> Stage:
    return Stage(model, None, HeadSpec(size=2), ("input_ids", "attention_mask"))


CASES = [
    ("bert", "AutoModelForSequenceClassification"),
    ("bert", "AutoModelForTokenClassification"),
    ("llama", "AutoModelForCausalLM"),
    ("llama", "AutoModelForTokenClassification"),
    ("gpt2", "AutoModelForSequenceClassification"),
    ("t5", "AutoModelForQuestionAnswering"),
    ("t5", "AutoModelForSeq2SeqLM"),
    ("bart", "AutoModelForSeq2SeqLM"),
    ("marian", "AutoModelForSeq2SeqLM"),
]


@pytest.mark.parametrize("targets", [("attention",), ("all-linear",)])
@pytest.mark.parametrize(("name", "auto_class"), CASES)
def test_merged_weights_are_the_model(
    name: str, auto_class: str, targets: tuple[str, ...], tiny_backbones: dict[str, Path], tmp_path: Path
) -> None:
    model = load(tiny_backbones[name], auto_class)
    model.config.pad_token_id = 0
    before = model(IDS, attention_mask=MASK, **_decoder_ids(model))[0]
    kept = plain(model)
    add_lora(model, LoraSettings(rank=4, alpha=8, targets=targets))
    with_zeros = model(IDS, attention_mask=MASK, **_decoder_ids(model))[0]  # B begins with zeros
    torch.testing.assert_close(with_zeros, before, atol=1e-5, rtol=1e-4)
    disturb(model)
    expected = model(IDS, attention_mask=MASK, **_decoder_ids(model))[0]
    assert not torch.allclose(expected, before, atol=1e-3)

    merged = dict(merged_weights(whole(model), plain(model).items()))
    assert merged.keys() == kept.keys()
    changed = {key for key in kept if not torch.equal(kept[key], merged[key])}
    linear = {f"{path}.weight" for path, module in model.named_modules() if hasattr(module, "lora_A")}
    assert changed == linear | {key for key in trained(model) if "lora_" not in key}
    model.config.save_pretrained(tmp_path)
    save_file(merged, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = load(tmp_path, auto_class)
    torch.testing.assert_close(
        loaded(IDS, attention_mask=MASK, **_decoder_ids(loaded))[0], expected, atol=1e-5, rtol=1e-5
    )


def _decoder_ids(model: Any) -> dict[str, torch.Tensor]:
    needs = model.config.is_encoder_decoder and "ForQuestionAnswering" not in type(model).__name__
    return {"decoder_input_ids": IDS} if needs else {}


@pytest.mark.parametrize(
    ("name", "auto_class", "targets", "layers"),
    [
        ("bert", "AutoModelForSequenceClassification", ("attention",), {"query", "key", "value", "dense"}),
        ("bert", "AutoModelForSequenceClassification", ("query", "attention.output.dense"), {"query", "dense"}),
        ("llama", "AutoModelForCausalLM", ("attention",), {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("llama", "AutoModelForCausalLM", ("q_proj", "v_proj"), {"q_proj", "v_proj"}),
        ("gpt2", "AutoModelForSequenceClassification", ("all-linear",), {"c_attn", "c_proj", "c_fc"}),
        ("t5", "AutoModelForSeq2SeqLM", ("attention",), {"q", "k", "v", "o"}),
        ("bart", "AutoModelForSeq2SeqLM", ("attention",), {"q_proj", "k_proj", "v_proj", "out_proj"}),
    ],
)
def test_targets_name_linear_layers(
    name: str, auto_class: str, targets: tuple[str, ...], layers: set[str], tiny_backbones: dict[str, Path]
) -> None:
    model = load(tiny_backbones[name], auto_class)
    add_lora(model, LoraSettings(targets=targets))
    wrapped = [path for path, module in model.named_modules() if hasattr(module, "lora_A")]
    assert {path.rpartition(".")[2] for path in wrapped} == layers
    attention_only = targets != ("all-linear",)
    assert not attention_only or not any("intermediate" in path or "mlp" in path or "fc" in path for path in wrapped)


@pytest.mark.parametrize(
    ("name", "auto_class", "head"),
    [
        ("bert", "AutoModelForSequenceClassification", {"bert.pooler.dense", "classifier"}),
        ("bert", "AutoModelForQuestionAnswering", {"qa_outputs"}),
        ("llama", "AutoModelForSequenceClassification", {"score"}),
        ("llama", "AutoModelForCausalLM", set()),
        ("t5", "AutoModelForQuestionAnswering", {"qa_outputs"}),
        ("t5", "AutoModelForTokenClassification", {"classifier"}),
        ("t5", "AutoModelForSeq2SeqLM", set()),
        ("bart", "AutoModelForSequenceClassification", {"classification_head.dense", "classification_head.out_proj"}),
        ("bert", "AutoModel", {"pooler.dense"}),
        ("gpt2", "AutoModel", set()),
    ],
)
def test_the_head_trains_and_the_trunk_is_frozen(
    name: str, auto_class: str, head: set[str], tiny_backbones: dict[str, Path]
) -> None:
    model = load(tiny_backbones[name], auto_class)
    add_lora(model, SETTINGS)
    assert {path.rpartition(".")[0] for path in trained(model) if "lora_" not in path} == head
    assert any("lora_A" in path for path in trained(model))


def test_an_untied_language_model_head_stays_frozen(tiny_backbones: dict[str, Path]) -> None:
    model = load(tiny_backbones["llama"], "AutoModelForCausalLM", tie_word_embeddings=False)
    add_lora(model, SETTINGS)
    assert all("lora_" in path for path in trained(model))


def test_embeddings_train_where_tokens_are_new(tiny_bert: Path) -> None:
    model = load(tiny_bert)
    add_lora(model, SETTINGS, train_embeddings=True)
    assert "bert.embeddings.word_embeddings.weight" in trained(model)
    assert "bert.embeddings.position_embeddings.weight" not in trained(model)


def test_the_cross_attention_of_a_pair_trains_whole(tiny_bert: Path) -> None:
    pair = transformers.EncoderDecoderModel.from_encoder_decoder_pretrained(tiny_bert, tiny_bert).eval()
    pair.encoder.pooler = None
    add_lora(pair, SETTINGS)
    whole = {path for path in trained(pair) if "lora_" not in path}
    assert {path.split(".")[0] for path in trained(pair) if "lora_" in path} == {"encoder", "decoder"}
    cross = {path for path, _ in pair.named_parameters() if "crossattention" in path}
    assert cross
    assert cross <= whole
    assert all(path.startswith("decoder.cls.") for path in whole - cross)
    assert "decoder.bert.embeddings.word_embeddings.weight" not in whole


def test_the_same_seed_gives_the_same_adapters(tiny_bert: Path) -> None:
    models = []
    for _ in range(2):
        model = load(tiny_bert)
        torch.manual_seed(11)
        add_lora(model, SETTINGS)
        models.append(plain(model))
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])


def test_without_lora_weights_stay_as_they_are(tiny_bert: Path) -> None:
    model = load(tiny_bert)
    weights = plain(model)
    assert dict(merged_weights(whole(model), weights.items())) == weights


def test_a_target_that_is_not_there_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(RunError) as caught:
        add_lora(load(tiny_bert), LoraSettings(targets=("query", "q_proj")))
    assert str(caught.value) == (
        "backbone.lora.targets: no linear layer of this backbone is called 'q_proj'. "
        "Available: attention, all-linear, dense, key, query, value."
    )
