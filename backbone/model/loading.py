"""Load a backbone with the head that a task wants: of ``transformers`` where it has one, our own where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from polyhead.backbone.model.architectures import ARCHITECTURES, family_of
from polyhead.backbone.model.finding import (
    PAIR,
    Backbone,
    decoder_start,
    find_backbone,
    halves_of,
    quiet_transformers,
    readable_errors,
    reading_family,
)
from polyhead.backbone.model.warm_start import pair_from_encoder
from polyhead.registry import BackboneError, HeadSpec

__all__ = [
    "HEAD_FILE",
    "Backbone",
    "bears_head",
    "decoder_start",
    "find_backbone",
    "load_with_head",
    "quiet_transformers",
    "reading_family",
]
HEAD_FILE = "polyhead_head.safetensors"


def load_with_head(
    backbone: Backbone, head: HeadSpec, *, dropout: float | None, decoder_blocks: int | None = None
) -> tuple[Any, torch.nn.Module | None]:
    """Return the ``transformers`` model in float32 and, where it has no such head of its own, the task's.

    Weights that the checkpoint lacks are drawn from torch's current seed. Of an encoder-decoder under a head of the
    task only the encoder is kept: nothing would train the decoder, or read it.

    Args:
        backbone: What `find_backbone` gave.
        head: What the task wants.
        dropout: Set every dropout of the model to this, or None to leave them.
        decoder_blocks: How many blocks the decoder of a pair gets that is made of an encoder; None: all.

    Raises:
        BackboneError: The weights cannot be read, or neither ``transformers`` nor the task has such a head.

    """
    config = _config_for(backbone.config, head, dropout)
    options: dict[str, Any] = {
        "dtype": torch.float32,
        "use_safetensors": True,
        "trust_remote_code": backbone.trust_remote_code,
        "revision": backbone.revision,
    }
    own_class = _own_class(backbone.config, head)
    makes_pair = backbone.family == "encoder" and head.auto_class == PAIR
    if own_class is None and head.build is None and not makes_pair:
        raise BackboneError(f"transformers has no {head.auto_class} for architecture '{backbone.config.model_type}'")
    with readable_errors(backbone.reference, backbone.path, None), quiet_transformers():
        if makes_pair:
            return pair_from_encoder(backbone, config, options, decoder_blocks), None
        if own_class is not None:
            model = own_class.from_pretrained(backbone.path, config=config, ignore_mismatched_sizes=True, **options)
            return _pad_when_writing(_without_constants(_without_unused(model))), None
        trunk = _without_constants(_trunk(backbone, config, options))
    assert head.build is not None
    return trunk, _with_saved_weights(head.build(halves_of(config)[0], head), backbone.path)


def bears_head(backbone: Backbone, spec: HeadSpec) -> bool:
    """Return whether the weights of a folder hold this head already: somebody fine-tuned it."""
    own_class = _own_class(backbone.config, spec)
    if own_class is None:
        if spec.build is None:
            return False
        has_weights = any(True for _ in spec.build(halves_of(backbone.config)[0], spec).parameters())
        return not has_weights or (Path(backbone.path) / HEAD_FILE).is_file()
    mapped = own_class._model_mapping[type(backbone.config)]  # noqa: SLF001 - no public road
    classes = mapped if isinstance(mapped, tuple) else (mapped,)
    return any(found.__name__ in (backbone.config.architectures or ()) for found in classes)


def _own_class(config: Any, head: HeadSpec) -> Any | None:
    """Return the Auto class of ``transformers`` that has this head for this architecture."""
    if head.auto_class is None:
        return None
    if head.auto_class == "AutoModelForCausalLM" and family_of(config) != "decoder":
        return (
            None  # there it is half a model: BartForCausalLM has no encoder, BertLMHeadModel is no checkpoint's class
        )
    auto_class = getattr(transformers, head.auto_class)
    return auto_class if type(config) in auto_class._model_mapping else None  # noqa: SLF001 - no public road


def _config_for(config: Any, head: HeadSpec, dropout: float | None) -> Any:
    changed = type(config).from_dict(config.to_dict())
    if head.labels:
        changed.id2label = dict(enumerate(head.labels))
        changed.label2id = {label: index for index, label in enumerate(head.labels)}
    elif head.auto_class not in {PAIR, "AutoModelForCausalLM"}:
        changed.num_labels = head.size
    for key, value in head.config.items():
        setattr(changed, key, value)
    if family_of(changed) == "decoder":
        _set_causal(changed, head.causal)
    if dropout is not None:
        for part in {id(found): found for found in (changed, *halves_of(changed))}.values():
            _set_dropout(part, dropout)
    return changed


def _set_causal(config: Any, causal: bool) -> None:
    """Say whether a token may see those behind it; ``transformers`` obeys, in the saved folder too.

    ``config.is_causal`` decides on the mask (`transformers.masking_utils`), and is handed to the attention, which would
    otherwise be causal by itself where nothing is padded and so no mask is needed.
    """
    known = sorted(name for name, found in ARCHITECTURES.items() if found.family == "decoder")
    if not causal and config.model_type not in known:
        raise BackboneError(
            f"nobody has tried whether the causal mask of architecture '{config.model_type}' can be switched off; "
            f"it can for {', '.join(known)}"
        )
    if not causal or not getattr(config, "is_causal", True):
        config.is_causal = causal


def _set_dropout(config: Any, dropout: float) -> None:
    """Set every rate of dropout; whole blocks are not dropped then, which ZeRO could not follow."""
    for key, value in config.to_dict().items():
        if ("dropout" in key or key.endswith("_pdrop")) and isinstance(value, int | float) and value is not True:
            setattr(config, key, dropout)
        elif key.endswith("layerdrop"):
            setattr(config, key, 0.0)


def _trunk(backbone: Backbone, config: Any, options: dict[str, Any]) -> Any:
    """Return the model without a head; of an encoder-decoder the encoder, under the names of the whole."""
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is not None and architecture.encoder_class is not None:
        return getattr(transformers, architecture.encoder_class).from_pretrained(
            backbone.path, config=config, **options
        )
    auto_class = transformers.AutoModelForSeq2SeqLM if len(halves_of(config)) == 2 else transformers.AutoModel
    trunk = auto_class.from_pretrained(backbone.path, config=config, **options)
    if backbone.family == "encoder-decoder":
        trunk.decoder = None
    return _without_pooler(trunk)


def _without_unused(model: Any) -> Any:
    """Drop what the encoder of a pair was built with and no head reads."""
    if model.config.model_type == "encoder-decoder":
        _without_pooler(model.encoder)
    return model


def _without_pooler(trunk: Any) -> Any:
    model = trunk.encoder if trunk.config.model_type == "encoder-decoder" else trunk
    architecture = ARCHITECTURES.get(model.config.model_type)
    if architecture is not None and architecture.pooler is not None:
        setattr(model, architecture.pooler, None)
    return trunk


def _without_constants(model: Any) -> Any:
    """Take tables of sines for what they are: ``transformers`` counts them as parameters, but no gradient reaches them.

    An optimizer would let weight decay eat them. Like ``transformers`` itself, the folder does not hold them.
    """
    for module in model.modules():
        if type(module).__name__.endswith("SinusoidalPositionalEmbedding"):
            table = module.weight.detach()
            del module.weight
            module.register_buffer("weight", table, persistent=False)
    return model


def _pad_when_writing(model: Any) -> Any:
    generation = getattr(model, "generation_config", None)
    if generation is not None and generation.pad_token_id is None:
        generation.pad_token_id = model.config.pad_token_id
    return model


def _with_saved_weights(head: torch.nn.Module, path: str) -> torch.nn.Module:
    from safetensors.torch import load_file

    saved = Path(path) / HEAD_FILE
    if saved.is_file():
        head.load_state_dict(load_file(saved))
    return head
