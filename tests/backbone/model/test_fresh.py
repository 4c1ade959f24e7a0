"""Random weights: the tokenizer fills in what is not given, wrong keys are refused, the seed tells the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from polyhead.backbone.data.tokenizer_training import TokenizerPlan, train_tokenizer
from polyhead.backbone.model.finding import find_backbone
from polyhead.backbone.model.loading import bears_head, load_with_head
from polyhead.registry import BackboneError, HeadSpec, Registry

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
MASKED = HeadSpec(1, auto_class="AutoModelForMaskedLM")
CAUSAL = HeadSpec(1, auto_class="AutoModelForCausalLM")
PAIR = HeadSpec(1, auto_class="AutoModelForSeq2SeqLM")


class Head(torch.nn.Module):
    """Stands for a task's own head."""

    def __init__(self, config: Any, spec: HeadSpec) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(config.hidden_size, spec.size)


OWN = HeadSpec(1, build=Head)


@pytest.mark.parametrize(
    ("architecture", "spec", "family"),
    [
        ({"model_type": "bert", **SMALL}, MASKED, "encoder"),
        ({"model_type": "bert", **SMALL}, PAIR, "encoder"),
        ({"model_type": "roberta", **SMALL}, MASKED, "encoder"),
        ({"model_type": "modernbert", **SMALL}, MASKED, "encoder"),
        ({"model_type": "gpt2", "hidden_size": 32, "n_layer": 2, "n_head": 4}, CAUSAL, "decoder"),
        ({"model_type": "llama", **SMALL, "num_key_value_heads": 2}, CAUSAL, "decoder"),
        (
            {"model_type": "t5", "d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 64},
            PAIR,
            "encoder-decoder",
        ),
        (
            {"model_type": "t5", "d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 64},
            OWN,
            "encoder-decoder",
        ),
        ({"model_type": "bart", **BART}, PAIR, "encoder-decoder"),
        ({"model_type": "marian", **BART}, PAIR, "encoder-decoder"),
    ],
)
def test_every_family_can_start_from_nothing(
    architecture: dict[str, Any], spec: HeadSpec, family: str, registry: Registry, tmp_path: Path
) -> None:
    backbone = find_backbone("minilm", registry, architecture=architecture)
    tokenizer, config = backbone.tokenizer, backbone.config
    assert (backbone.family, backbone.is_fresh, bears_head(backbone, OWN)) == (family, True, False)
    assert (config.vocab_size, config.pad_token_id) == (len(tokenizer), tokenizer.pad_token_id)
    assert backbone.most_positions == tokenizer.model_max_length
    if family != "encoder":
        assert (config.bos_token_id, config.eos_token_id) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    if family == "encoder-decoder":
        starts = {"t5": tokenizer.pad_token_id, "bart": tokenizer.sep_token_id, "marian": tokenizer.pad_token_id}
        assert config.decoder_start_token_id == starts[config.model_type]
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model, head = load_with_head(backbone, spec, dropout=0.0)
        drawn.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    assert (head is not None) == (spec is OWN)
    assert model.dtype == torch.float32
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert find_backbone(str(tmp_path), registry).family == ("encoder-decoder" if spec is PAIR else family)


def test_what_is_given_wins_over_the_tokenizer(registry: Registry) -> None:
    given = {"vocab_size": 30_592, "max_position_embeddings": 64, "pad_token_id": 5}
    config = find_backbone("minilm", registry, architecture={"model_type": "bert", **SMALL, **given}).config
    assert {key: getattr(config, key) for key in given} == given


@pytest.mark.parametrize(
    ("architecture", "most"),
    [
        ({"model_type": "gpt2", "n_positions": 2048, "n_embd": 32, "n_layer": 2, "n_head": 4}, 2048),
        ({"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4}, 512),  # as many as the tokenizer says
        ({"model_type": "roberta", **SMALL, "max_position_embeddings": 130, "pad_token_id": 0}, 129),
    ],
)
def test_the_positions_that_are_given_are_the_limit(
    architecture: dict[str, Any], most: int, registry: Registry
) -> None:
    backbone = find_backbone("minilm", registry, architecture=architecture)
    assert (backbone.most_positions, backbone.tokenizer.model_max_length) == (most, most)


def test_the_tokenizer_of_a_folder_alone_is_enough(registry: Registry, tmp_path: Path) -> None:
    plan = TokenizerPlan("wordpiece", 60, "encoder", min_count=1)
    train_tokenizer(plan, ["a film", "the end 电影"]).save_pretrained(tmp_path)
    architecture = {"model_type": "bert", **SMALL}
    found = find_backbone("nowhere at all", registry, architecture=architecture, tokenizer=tmp_path)
    assert found.tokenizer.tokenize("电影") == ["电", "影"]
    assert found.config.vocab_size == len(found.tokenizer)
    again = find_backbone(str(tmp_path), registry, architecture=architecture)
    assert again.tokenizer.get_vocab() == found.tokenizer.get_vocab()


def test_a_head_that_was_saved_beside_the_tokenizer_is_not_taken(registry: Registry, tiny_bert: Path) -> None:
    from polyhead.backbone.model.loading import HEAD_FILE

    backbone = find_backbone(str(tiny_bert), registry, architecture={"model_type": "bert", **SMALL})
    assert backbone.path == str(tiny_bert)
    file = tiny_bert / HEAD_FILE
    file.write_bytes(b"no safetensors")
    try:
        assert isinstance(load_with_head(backbone, OWN, dropout=None)[1], Head)
    finally:
        file.unlink()


@pytest.mark.parametrize(
    ("architecture", "problem"),
    [
        ({}, r"backbone\.architecture\.model_type is missing: .*model_type=bert"),
        ({"model_type": "brt"}, r"transformers knows no architecture 'brt'\. Did you mean 'bert'\? Available: bart"),
        ({"model_type": "encoder-decoder"}, "a pair is made of an encoder by the tasks that need one"),
        (
            {"model_type": "bert", "hiden_size": 3},
            r"architecture\.hiden_size: architecture 'bert' has no key 'hiden_size'\. Did you mean 'hidden_size'\?",
        ),
        ({"model_type": "gpt2", "hidden_sise": 3}, "Did you mean 'hidden_size'"),
        ({"model_type": "bert", "transformers_version": "5"}, "has no key 'transformers_version'"),
        ({"model_type": "bert", "hidden_size": "3"}, "no bert can be made of it: .*expected int, got str"),
        ({"model_type": "bert", "hidden_size": 30, "num_attention_heads": 7}, "is not a multiple of the number"),
        ({"model_type": "bert", "vocab_size": 30}, "30 is less than the 30522 tokens of the tokenizer"),
    ],
)
def test_an_architecture_that_makes_no_sense_is_refused(
    architecture: dict[str, Any], problem: str, registry: Registry
) -> None:
    with pytest.raises(BackboneError, match=problem) as caught:
        find_backbone("minilm", registry, architecture=architecture)
    assert "\n" not in str(caught.value)
