"""Make the config of a model with random weights from a mapping of keys, and fit its special tokens to a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers

from polyhead.backbone.model.architectures import ARCHITECTURES
from polyhead.registry import BackboneError, available, did_you_mean

KEY = "backbone.architecture"
_POSITIONS_BEHIND_PAD = frozenset({"roberta", "xlm-roberta", "camembert"})
"""Architectures that count positions from the id of the pad token on."""
_STARTS_WITH_PAD = frozenset({"t5", "mt5", "umt5"})
_LONGEST_TOLD = 100_000
"""Tokenizers that know no limit say far more."""
_NO_SETTINGS = frozenset({"transformers_version", "architectures", "_name_or_path", "model_type", "dtype"})
_PAIR_TYPE = "encoder-decoder"


def fresh_config(architecture: Mapping[str, Any], tokenizer: Any) -> Any:
    """Return the ``transformers`` config of a mapping of keys, ``model_type`` among them.

    The vocabulary's size, the ids of special tokens and the number of positions are the tokenizer's where they are not
    given.

    Raises:
        BackboneError: An unknown key or model type, or values that no model can be made of.

    """
    given = {key: value for key, value in architecture.items() if key != "model_type"}
    default = _default_config(architecture.get("model_type"))
    _refuse_unknown_keys(default, given)
    names = type(default).attribute_map
    given = {names.get(key, key): value for key, value in given.items()}
    try:
        config = type(default)(**_from_tokenizer(default, given, tokenizer) | given)
        _refuse_small_vocabulary(config, tokenizer)
        with torch.device("meta"):  # costs nothing, and what no model can be made of shows now
            transformers.AutoModel.from_config(config)
    except BackboneError:
        raise
    except Exception as error:  # whatever a config class or a model class says of its arguments
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise BackboneError(f"{KEY}: no {default.model_type} can be made of it: {' '.join(lines)}") from error
    return config


def settle_special_tokens(config: Any, tokenizer: Any) -> None:
    """Give a config the ids that its special tokens have in a tokenizer, in place."""
    for key, value in special_tokens(config, tokenizer).items():
        setattr(config, key, value)


def special_tokens(config: Any, tokenizer: Any) -> dict[str, int | None]:
    """Return the ids of a tokenizer under a config's own keys; a decoder starts with the same kind of token as ever."""
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": begin, "eos_token_id": end}
    own = {key: getattr(config, key, None) for key in (*ids, "decoder_start_token_id")}
    writes = config.model_type not in ARCHITECTURES or ARCHITECTURES[config.model_type].family != "encoder"
    found = {key: value for key, value in ids.items() if key == "pad_token_id" or writes or own[key] is not None}
    rest = {
        "forced_eos_token_id": end,
        "forced_bos_token_id": begin,
        "cls_token_id": begin,
        "sep_token_id": end,
    }
    found |= {key: value for key, value in rest.items() if getattr(config, key, None) is not None}
    start = own["decoder_start_token_id"]
    if start is not None or config.model_type in _STARTS_WITH_PAD:
        kinds = ("pad_token_id", "eos_token_id", "bos_token_id")
        kind = next((key for key in kinds if start is not None and own[key] == start), "pad_token_id")
        found["decoder_start_token_id"] = ids[kind]
    return found


def first_position(config: Any) -> int:
    """Return how many of a model's positions lie before the first token: RoBERTa counts from its pad token on."""
    return int(config.pad_token_id) + 1 if config.model_type in _POSITIONS_BEHIND_PAD else 0


def _default_config(model_type: object) -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if model_type is None:
        raise BackboneError(f"{KEY}.model_type is missing: say which architecture, as in {KEY}.model_type=bert")
    if model_type == _PAIR_TYPE:
        raise BackboneError(
            f"{KEY}.model_type: a pair is made of an encoder by the tasks that need one: name the encoder's, as in bert"
        )
    if model_type not in CONFIG_MAPPING_NAMES:
        near = did_you_mean(str(model_type), CONFIG_MAPPING_NAMES)
        known = available(sorted(set(ARCHITECTURES) - {_PAIR_TYPE}))
        raise BackboneError(f"{KEY}.model_type: transformers knows no architecture '{model_type}'.{near} {known}")
    return transformers.AutoConfig.for_model(model_type)


def _refuse_unknown_keys(default: Any, given: Mapping[str, Any]) -> None:
    """Refuse keys that ``transformers`` would take without a word and never look at."""
    known = sorted({*default.to_dict(), *type(default).attribute_map} - _NO_SETTINGS)
    for key in given:
        if key not in known:
            raise BackboneError(
                f"{KEY}.{key}: architecture '{default.model_type}' has no key '{key}'."
                f"{did_you_mean(key, known)} {available(known)}"
            )


def _from_tokenizer(default: Any, given: Mapping[str, Any], tokenizer: Any) -> dict[str, Any]:
    """Return what a tokenizer says of a model's size and its special tokens."""
    found: dict[str, Any] = {"vocab_size": len(tokenizer), **special_tokens(default, tokenizer)}
    longest = type(default).attribute_map.get("max_position_embeddings", "max_position_embeddings")
    if hasattr(default, longest) and tokenizer.model_max_length <= _LONGEST_TOLD:
        pad = given.get("pad_token_id", found["pad_token_id"])
        behind = pad + 1 if default.model_type in _POSITIONS_BEHIND_PAD else 0
        found[longest] = tokenizer.model_max_length + behind
    return found


def _refuse_small_vocabulary(config: Any, tokenizer: Any) -> None:
    if config.vocab_size < len(tokenizer):
        raise BackboneError(
            f"{KEY}.vocab_size: {config.vocab_size} is less than the {len(tokenizer)} tokens of the tokenizer; "
            "leave it out to take these"
        )
