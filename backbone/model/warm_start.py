"""Make a sequence-to-sequence pair of one encoder: both halves begin with its weights, cross-attention is new."""

from __future__ import annotations

import inspect
from typing import Any

import torch
import transformers

from polyhead.backbone.model.architectures import ARCHITECTURES
from polyhead.backbone.model.finding import Backbone
from polyhead.backbone.model.weights import read_or_draw
from polyhead.registry import BackboneError


def pair_from_encoder(backbone: Backbone, config: Any, options: dict[str, Any], decoder_blocks: int | None) -> Any:
    """Return an ``EncoderDecoderModel``: the encoder without its pooler, and a decoder made of the same checkpoint.

    Args:
        backbone: An encoder.
        config: Its config, with the dropout that is wanted.
        options: How ``from_pretrained`` is to read it.
        decoder_blocks: How many of the encoder's blocks the decoder gets, spread evenly; None: all.

    Raises:
        BackboneError: ``transformers`` cannot make a decoder of this architecture, or has not as many blocks.

    """
    _refuse_what_cannot_decode(config)
    encoder = read_or_draw(transformers.AutoModel, backbone, config, options)
    architecture = ARCHITECTURES[config.model_type]
    if architecture.pooler is not None:
        setattr(encoder, architecture.pooler, None)
    decoder_config = type(config).from_dict(config.to_dict())
    decoder_config.is_decoder = decoder_config.add_cross_attention = True
    decoder = read_or_draw(transformers.AutoModelForCausalLM, backbone, decoder_config, options)
    if decoder_blocks is not None:
        _thin_out(decoder, architecture.stacks[0].blocks, decoder_blocks, backbone.reference)
    both = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(encoder.config, decoder.config)
    _settle_vocabulary(both, backbone.tokenizer)
    pair = transformers.EncoderDecoderModel(encoder=encoder, decoder=decoder, config=both)
    pair.generation_config = transformers.GenerationConfig(
        decoder_start_token_id=both.decoder_start_token_id,
        bos_token_id=both.decoder_start_token_id,
        eos_token_id=both.eos_token_id,
        pad_token_id=both.pad_token_id,
    )
    return pair


def _refuse_what_cannot_decode(config: Any) -> None:
    mapping = transformers.AutoModelForCausalLM._model_mapping  # noqa: SLF001 - no public road
    able = (
        type(config) in mapping
        and "encoder_hidden_states" in inspect.signature(mapping[type(config)].forward).parameters
    )
    if config.model_type in ARCHITECTURES and able:
        return
    raise BackboneError(
        f"architecture '{config.model_type}' has no decoder with cross-attention in transformers, so no pair of "
        "encoder and decoder can be made of it: take a BERT, RoBERTa, XLM-RoBERTa, CamemBERT or ELECTRA encoder, "
        "or a backbone that is an encoder-decoder, such as T5"
    )


def _thin_out(decoder: Any, path: str, wanted: int, reference: str) -> None:
    """Keep so many blocks, spread evenly from the first to the last."""
    trunk = decoder.base_model
    blocks = trunk.get_submodule(path)
    if not 1 <= wanted <= len(blocks):
        raise BackboneError(
            f"backbone.decoder_blocks: {wanted} is not between 1 and {len(blocks)}, "
            f"the blocks of backbone '{reference}'"
        )
    kept = [round(index * (len(blocks) - 1) / max(1, wanted - 1)) for index in range(wanted)]
    for number, index in enumerate(kept):
        for module in blocks[index].modules():
            if hasattr(module, "layer_idx"):  # its place in the cache of keys and values
                module.layer_idx = number
    parent, _, name = path.rpartition(".")
    setattr(trunk.get_submodule(parent), name, torch.nn.ModuleList([blocks[index] for index in kept]))
    decoder.config.num_hidden_layers = wanted


def _settle_vocabulary(config: Any, tokenizer: Any) -> None:
    """Say which tokens begin, end and fill a text that the pair writes."""
    start = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    config.vocab_size = config.decoder.vocab_size
    for part in (config, config.decoder):
        part.decoder_start_token_id = part.bos_token_id = start
        part.eos_token_id = end
        part.pad_token_id = tokenizer.pad_token_id
