"""Pairs made of one encoder: whose weights they begin with, and that their folders load anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from polyhead.backbone.model.loading import bears_head, find_backbone, load_with_head, quiet_transformers
from polyhead.backbone.model.stages import Stage
from polyhead.registry import BackboneError, HeadSpec, Output, Registry
from polyhead.registry.toolkit.pooled_head import build_pooled_head

PAIR = HeadSpec(size=1, auto_class="AutoModelForSeq2SeqLM", outputs=(Output("logits", per="token"),))
ABLE = ["bert", "roberta", "xlm-roberta", "camembert", "electra", "electra-small"]


@pytest.mark.parametrize("architecture", ABLE)
def test_both_halves_begin_with_the_weights_of_the_encoder(architecture: str, saved: Callable[[str], Any]) -> None:
    backbone = saved(architecture)
    torch.manual_seed(1)
    pair, _ = load_with_head(backbone, PAIR, dropout=None)
    with quiet_transformers():
        original = transformers.AutoModel.from_pretrained(backbone.path).state_dict()
    encoder, decoder = pair.encoder.state_dict(), pair.decoder.base_model.state_dict()
    assert {name: None for name in original if "pooler" not in name}.keys() == encoder.keys()
    for name, tensor in encoder.items():
        assert torch.equal(tensor, original[name]), name
        assert torch.equal(tensor, decoder[name]), name
    new = decoder.keys() - encoder.keys()
    assert new
    assert all("crossattention" in name for name in new)
    assert pair.get_output_embeddings() is not None
    embeddings = pair.decoder.get_input_embeddings().weight
    assert embeddings is not pair.encoder.get_input_embeddings().weight
    if architecture != "electra-small":
        assert pair.get_output_embeddings().weight is embeddings


def test_cross_attention_comes_from_the_seed(saved: Callable[[str], Any]) -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        pair, _ = load_with_head(saved("bert"), PAIR, dropout=None)
        drawn.append(pair.decoder.bert.encoder.layer[0].crossattention.self.query.weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(("wanted", "kept"), [(1, [0]), (2, [0, 3]), (3, [0, 2, 3]), (4, [0, 1, 2, 3])])
def test_a_decoder_can_have_fewer_blocks(wanted: int, kept: list[int], saved: Callable[[str], Any]) -> None:
    pair, _ = load_with_head(saved("bert"), PAIR, dropout=None, decoder_blocks=wanted)
    blocks = pair.encoder.encoder.layer
    assert len(pair.decoder.bert.encoder.layer) == pair.config.decoder.num_hidden_layers == wanted
    assert len(blocks) == pair.config.encoder.num_hidden_layers == 4
    for mine, index in zip(pair.decoder.bert.encoder.layer, kept, strict=True):
        assert torch.equal(mine.output.dense.weight, blocks[index].output.dense.weight)


@pytest.mark.parametrize("wanted", [0, 5])
def test_more_blocks_than_there_are_are_refused(wanted: int, saved: Callable[[str], Any]) -> None:
    expected = rf"^backbone.decoder_blocks: {wanted} is not between 1 and 4, the blocks of backbone 'bert'$"
    with pytest.raises(BackboneError, match=expected):
        load_with_head(saved("bert"), PAIR, dropout=None, decoder_blocks=wanted)


@pytest.mark.parametrize("architecture", ["distilbert", "deberta-v2", "modernbert"])
def test_an_encoder_that_cannot_decode_is_refused(architecture: str, saved: Callable[[str], Any]) -> None:
    with pytest.raises(BackboneError, match=rf"^architecture '{architecture}' has no decoder .* take a BERT, .* T5$"):
        load_with_head(saved(architecture), PAIR, dropout=None)


@pytest.mark.parametrize("decoder_blocks", [None, 2])
def test_a_pair_writes_and_its_folder_loads_anywhere(
    decoder_blocks: int | None, tiny_bert: Path, registry: Registry, tmp_path: Path
) -> None:
    backbone = find_backbone(str(tiny_bert), registry)
    torch.manual_seed(1)
    pair, _ = load_with_head(backbone, PAIR, dropout=None, decoder_blocks=decoder_blocks)
    stage = Stage(pair.eval(), None, PAIR, ("input_ids", "attention_mask", "decoder_input_ids"))
    batch = backbone.tokenizer(["a good film", "bad"], padding=True, return_tensors="pt")
    asked = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    written = pair.generate(**asked, max_new_tokens=6, do_sample=False)
    assert (written[:, 0] == backbone.tokenizer.cls_token_id).all()
    assert pair.generation_config.eos_token_id == backbone.tokenizer.sep_token_id
    expected = stage((*asked.values(), written))[0]

    stage.library_config.save_pretrained(tmp_path)  # the folder as polyhead writes it: no generation_config.json
    from safetensors.torch import save_file

    tensors = {stage.library_name(name): tensor.detach() for name, tensor in stage.named_parameters()}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    backbone.tokenizer.save_pretrained(tmp_path)

    again = find_backbone(str(tmp_path), registry)
    assert (again.family, bears_head(again, PAIR)) == ("encoder-decoder", True)
    torch.manual_seed(2)
    with quiet_transformers():
        plain = transformers.EncoderDecoderModel.from_pretrained(tmp_path).eval()
    for model in (load_with_head(again, PAIR, dropout=None)[0].eval(), plain):
        assert torch.equal(expected, model(**asked, decoder_input_ids=written).logits)
        assert torch.equal(written, model.generate(**asked, max_new_tokens=6, do_sample=False))


def test_the_encoder_of_a_saved_pair_bears_other_heads(saved: Callable[[str], Any]) -> None:
    backbone = saved("encoder-decoder")
    head = HeadSpec(2, ("a", "b"), "AutoModelForSequenceClassification", build_pooled_head)
    model, own = load_with_head(backbone, head, dropout=None)
    assert own is not None
    assert model.decoder is None
    assert not [name for name in model.state_dict() if "pooler" in name]
