"""Where embeddings, blocks, final norm and pooler sit in each architecture: one row each.

Paths are relative to the trunk (``model.base_model`` in ``transformers``). With them any model can be cut into
stages (`polyhead.backbone.model.cutting`). A new architecture of the same plan is one more row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polyhead.registry import BackboneError, Family


@dataclass(frozen=True, slots=True)
class Stack:
    """Where the parts of one stack of blocks sit; paths are relative to the trunk."""

    blocks: str
    """The list of transformer blocks."""
    embeddings: tuple[str, ...]
    """The modules that turn ids into states: only the stage with the first block needs them."""
    positions: str | None = None
    """The table of positions that are added to the embeddings, where it is a module of its own."""
    final_norm: str | None = None
    """The norm behind the last block, where it stands outside the blocks."""
    everywhere: tuple[str, ...] = ()
    """Modules beside the blocks that every block reads (relative positions of DeBERTa)."""
    first_only: tuple[str, ...] = ()
    """Modules behind the first block, read nowhere else (the convolution of DeBERTa)."""
    position_bias: str | None = None
    """The table in the first block that every block reads (relative positions of T5), relative to a block."""
    dropout: str | None = None
    """The dropout behind the embeddings, where it stands outside them: a rate, or a module that serves behind the
    final norm too (T5)."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Where the parts of a trunk sit."""

    family: Family
    stacks: tuple[Stack, ...]
    """One, or encoder and decoder."""
    pooler: str | None = None
    """What only a head needs."""
    encoder_class: str | None = None
    """The class of ``transformers`` that is the encoder alone, where there is one."""
    starts_with_last_token: bool = False
    """Where nobody says what the decoder reads, it reads the text with its last token moved to the front (mBART)."""


_BERT = Architecture("encoder", (Stack("encoder.layer", ("embeddings",)),), pooler="pooler")
_LLAMA = Architecture("decoder", (Stack("layers", ("embed_tokens",), final_norm="norm"),))


def _t5(name: str) -> Architecture:
    def stack(side: str) -> Stack:
        return Stack(
            f"{side}.block",
            (f"{side}.embed_tokens",),
            final_norm=f"{side}.final_layer_norm",
            position_bias="layer.0.SelfAttention.relative_attention_bias",
            dropout=f"{side}.dropout",
        )

    return Architecture("encoder-decoder", (stack("encoder"), stack("decoder")), encoder_class=name)


def _bart(*, embedding_norm: bool = True, final_norm: bool = False, last_first: bool = False) -> Architecture:
    def stack(side: str) -> Stack:
        norm = (f"{side}.layernorm_embedding",) if embedding_norm else ()
        return Stack(
            f"{side}.layers",
            (f"{side}.embed_tokens", *norm),
            positions=f"{side}.embed_positions",
            final_norm=f"{side}.layer_norm" if final_norm else None,
            dropout=f"{side}.dropout",
        )

    stacks = (stack("encoder"), stack("decoder"))
    return Architecture("encoder-decoder", stacks, starts_with_last_token=last_first)


ARCHITECTURES: dict[str, Architecture] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "electra": Architecture("encoder", (Stack("encoder.layer", ("embeddings", "embeddings_project")),)),
    "distilbert": Architecture("encoder", (Stack("transformer.layer", ("embeddings",)),)),
    "deberta-v2": Architecture(
        "encoder",
        (
            Stack(
                "encoder.layer",
                ("embeddings",),
                everywhere=("encoder.rel_embeddings", "encoder.LayerNorm"),
                first_only=("encoder.conv",),
            ),
        ),
    ),
    "modernbert": Architecture("encoder", (Stack("layers", ("embeddings",), final_norm="final_norm"),)),
    "gpt2": Architecture("decoder", (Stack("h", ("wte", "drop"), positions="wpe", final_norm="ln_f"),)),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma3_text": _LLAMA,
    "t5": _t5("T5EncoderModel"),
    "mt5": _t5("MT5EncoderModel"),
    "bart": _bart(),
    "mbart": _bart(final_norm=True, last_first=True),
    "marian": _bart(embedding_norm=False),
    "encoder-decoder": Architecture("encoder-decoder", ()),  # a pair: the stacks are those of its two halves
}


def architecture_of(config: Any) -> Architecture:
    """Return where the parts of this model sit.

    Raises:
        BackboneError: Nobody has described this architecture yet, so it cannot be cut into stages.

    """
    try:
        return ARCHITECTURES[config.model_type]
    except KeyError:
        raise BackboneError(
            f"architecture '{config.model_type}' cannot be cut into pipeline stages yet; these can: "
            f"{', '.join(sorted(ARCHITECTURES))}. Use a layout without pipe, such as zero2"
        ) from None


def family_of(config: Any) -> Family:
    """Return the family of a ``transformers`` config: what its class of models was made for."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    known = ARCHITECTURES.get(config.model_type)  # a T5 saved with a token head says is_encoder_decoder: false
    if known is not None:
        return known.family
    if getattr(config, "is_encoder_decoder", False):
        return "encoder-decoder"
    writes_on = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    fills_in = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return "decoder" if writes_on and not fills_in else "encoder"
