"""Load a backbone with the head that a task wants: of ``transformers`` where it has one, our own where not."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers

from polyhead.backbone.model.architectures import ARCHITECTURES, family_of
from polyhead.backbone.model.exchange import exchange_tokens
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
from polyhead.backbone.model.parts import Cut
from polyhead.backbone.model.warm_start import pair_from_encoder
from polyhead.backbone.model.weights import Choose, read_or_draw
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


class ChooseBlocks(Protocol):
    """What says which blocks a process is to hold."""

    def __call__(self, model: Any, *, bare: bool) -> Cut:
        """Return the blocks to hold of a model, whose weights may not be there yet; ``bare``: it has no head."""
        ...


def load_with_head(
    backbone: Backbone,
    head: HeadSpec,
    *,
    dropout: float | None,
    decoder_blocks: int | None = None,
    choose: ChooseBlocks | None = None,
) -> tuple[Any, torch.nn.Module | None]:
    """Return the ``transformers`` model in float32 and, where it has no such head of its own, the task's.

    Weights that the checkpoint lacks are drawn from torch's current seed. Of an encoder-decoder under a head of the
    task only the encoder is kept: nothing would train the decoder, or read it.

    Args:
        backbone: What `find_backbone` gave.
        head: What the task wants.
        dropout: Set every dropout of the model to this, or None to leave them.
        decoder_blocks: How many blocks the decoder of a pair gets that is made of an encoder; None: all.
        choose: Says which blocks to read where a process holds some of them only; pairs and random weights are whole.

    Raises:
        BackboneError: The weights cannot be read, or neither ``transformers`` nor the task has such a head.

    """
    config = _config_for(backbone.config if backbone.own is None else backbone.own.config, head, dropout)
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
            return _with_tokens(pair_from_encoder(backbone, config, options, decoder_blocks), backbone), None
        if own_class is not None:
            known = {**options, "ignore_mismatched_sizes": True}
            model = read_or_draw(own_class, backbone, config, known, _without_head(choose, bare=False))
            return _pad_when_writing(_with_tokens(_without_constants(_without_unused(model)), backbone)), None
        trunk = _trunk(backbone, config, options, _without_head(choose, bare=True))
        trunk = _with_tokens(_without_constants(trunk), backbone)
    assert head.build is not None
    own_head = head.build(halves_of(config)[0], head)
    return trunk, own_head if backbone.is_fresh else _with_saved_weights(own_head, backbone.path)


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
    elif head.auto_class not in {PAIR, "AutoModelForCausalLM", "AutoModelForMaskedLM"}:
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


def _without_head(choose: ChooseBlocks | None, *, bare: bool) -> Choose | None:
    return None if choose is None else partial(choose, bare=bare)


def _trunk(backbone: Backbone, config: Any, options: dict[str, Any], choose: Choose | None) -> Any:
    """Return the model without a head; of an encoder-decoder the encoder, under the names of the whole."""
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is not None and architecture.encoder_class is not None:
        encoder_class = getattr(transformers, architecture.encoder_class)
        return read_or_draw(encoder_class, backbone, config, options, choose)
    auto_class = transformers.AutoModelForSeq2SeqLM if len(halves_of(config)) == 2 else transformers.AutoModel
    trunk = read_or_draw(
        auto_class, backbone, config, options, None if backbone.family == "encoder-decoder" else choose
    )
    if backbone.family == "encoder-decoder":
        trunk.decoder = None
    return _without_pooler(trunk)


def _with_tokens(model: Any, backbone: Backbone) -> Any:
    """Bring the embeddings over to the tokenizer that has taken the place of the backbone's own."""
    if backbone.own is not None:
        exchange_tokens(model, backbone.own.tokenizer, backbone.tokenizer)
    return model


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
