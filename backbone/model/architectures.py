"""Where embeddings, blocks, final norm and pooler sit in each architecture: one row each.

Paths are relative to the trunk (``model.base_model`` in ``transformers``). With them any model can be cut into
stages (`polyhead.backbone.model.stages`). A new architecture of the same plan is one more row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polyhead.registry import BackboneError, Family


@dataclass(frozen=True, slots=True)
class Architecture:
    """Where the parts of a trunk sit."""

    embeddings: str
    """The module that turns ids into states (positions and their norm included)."""
    blocks: str
    """The list of transformer blocks."""
    final_norm: str | None = None
    """The norm behind the last block, where it stands outside the blocks."""
    pooler: str | None = None
    """What only a head needs."""
    extra_embeddings: tuple[str, ...] = ()
    """Further modules that only the first stage needs."""


ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture("embeddings", "encoder.layer", pooler="pooler"),
    "roberta": Architecture("embeddings", "encoder.layer", pooler="pooler"),
    "xlm-roberta": Architecture("embeddings", "encoder.layer", pooler="pooler"),
    "camembert": Architecture("embeddings", "encoder.layer", pooler="pooler"),
    "electra": Architecture("embeddings", "encoder.layer", extra_embeddings=("embeddings_project",)),
    "distilbert": Architecture("embeddings", "transformer.layer"),
    "modernbert": Architecture("embeddings", "layers", final_norm="final_norm"),
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

    if getattr(config, "is_encoder_decoder", False):
        return "encoder-decoder"
    writes_on = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    fills_in = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return "decoder" if writes_on and not fills_in else "encoder"
