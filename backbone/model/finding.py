"""Find a backbone: a registered name, a folder or a name on the hub; its config and tokenizer, weights not yet read."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from safetensors import SafetensorError

from polyhead.backbone.model.architectures import family_of
from polyhead.backbone.model.fresh import first_position, fresh_config, settle_special_tokens
from polyhead.registry import BackboneError, Family, HeadSpec, Registry, available, did_you_mean

LONGEST_WINDOW = 512
UNLIMITED = 1_000_000_000
"""Stands for models whose positions are relative; tokenizers that know no limit say far more."""
PAIR_TYPE = "encoder-decoder"
"""The model type of a pair of two models (``EncoderDecoderModel``)."""
PAIR = "AutoModelForSeq2SeqLM"
"""The head for which an encoder is doubled into a pair."""


@dataclass(frozen=True)
class Own:
    """What a backbone's weights were trained with, where another tokenizer has taken the place of its own."""

    tokenizer: Any
    config: Any


@dataclass(frozen=True)
class Backbone:
    """A backbone that was found: config and tokenizer, weights not yet read."""

    reference: str
    """The name that the user gave."""
    path: str
    """A folder, or a name on the hub."""
    family: Family
    config: Any
    tokenizer: Any
    trust_remote_code: bool = False
    revision: str | None = None
    is_fresh: bool = False
    """Whether the weights are random: nothing is read from ``path``."""
    own: Own | None = None
    """What to bring the embeddings over from, where ``tokenizer`` is another one than the weights were trained with."""

    @property
    def longest_window(self) -> int:
        """The most tokens that one window holds where nobody asks for more: at most 512."""
        return min(LONGEST_WINDOW, self.most_positions)

    @property
    def most_positions(self) -> int:
        """The most tokens that the model can read at once: what its positions and its tokenizer allow."""
        halves = halves_of(self.config)
        return min(UNLIMITED, int(self.tokenizer.model_max_length), *(_positions(half) for half in halves))


def halves_of(config: Any) -> tuple[Any, ...]:
    """Return the configs of encoder and decoder of a pair, or the one config of any other model."""
    return (config.encoder, config.decoder) if config.model_type == PAIR_TYPE else (config,)


def _positions(config: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None) or UNLIMITED
    return int(positions) - first_position(config)


def reading_family(backbone: Backbone, spec: HeadSpec) -> Family:
    """Return how the model reads under a head: a pair made of an encoder reads as an encoder-decoder."""
    if backbone.family == "encoder" and spec.auto_class == PAIR:
        return "encoder-decoder"
    return backbone.family


def decoder_start(backbone: Backbone, spec: HeadSpec) -> int | None:
    """Return the token that a decoder's own sequence begins with; None where the head uses no decoder of its own."""
    if spec.auto_class != PAIR:
        return None
    config, tokenizer = backbone.config, backbone.tokenizer
    own = [getattr(config, "decoder_start_token_id", None)] if backbone.family == "encoder-decoder" else []
    found = (*own, tokenizer.cls_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    return next(int(token) for token in found if token is not None)


def find_backbone(
    reference: str,
    registry: Registry,
    *,
    trust_remote_code: bool = False,
    revision: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    tokenizer: Path | None = None,
) -> Backbone:
    """Return config and tokenizer of a registered name, a folder (a run's or a model's), a GGUF file, or a hub name.

    Padding is on the right; a tokenizer without a token for it pads with its end token.

    Args:
        reference: The name.
        registry: What plugins bring.
        trust_remote_code: Whether code beside the weights may run.
        revision: Of a repository on the hub.
        architecture: Keys of a config: random weights; only a tokenizer is taken from ``reference``.
        tokenizer: The folder of a tokenizer to take instead of the backbone's own.

    Raises:
        BackboneError: There is no such backbone, or it cannot be read; says which names there are.

    """
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "revision": revision}
    if architecture is not None:
        return _fresh_backbone(reference, registry, options, architecture, tokenizer)
    path = _path_of(reference, registry)
    with readable_errors(reference, path, registry), quiet_transformers():
        config = transformers.AutoConfig.from_pretrained(path, **options)
    found = _tokenizer_of(reference, path, registry, options)
    own = None
    if tokenizer is None:
        _settle_padding(config, found)
    else:
        other = _other_tokenizer(tokenizer)
        own, found = _settle_other_tokens(config, found, other), other
    return Backbone(reference, path, family_of(config), config, found, trust_remote_code, revision, own=own)


def find_tokenizer(reference: str, registry: Registry) -> Any:
    """Return the tokenizer of a folder, a registered backbone or a hub name; raises as `find_backbone` does."""
    path = _path_of(reference, registry, wanted="tokenizer_config.json")
    return _tokenizer_of(reference, path, registry, {})


def _fresh_backbone(
    reference: str,
    registry: Registry,
    options: dict[str, Any],
    architecture: Mapping[str, Any],
    tokenizer: Path | None,
) -> Backbone:
    """Return a backbone of random weights, with a tokenizer of its own or that of another backbone."""
    if tokenizer is None:
        path = _path_of(reference, registry, wanted="tokenizer_config.json")
        found = _tokenizer_of(reference, path, registry, options)
    else:
        path, found = str(tokenizer), _other_tokenizer(tokenizer)
    config = fresh_config(architecture, found)
    if getattr(config, "max_position_embeddings", None):  # a limit that the tokenizer had from another model is over
        found.model_max_length = _positions(config)
    name = f"{config.model_type} with random weights"
    return Backbone(name, path, family_of(config), config, found, is_fresh=True)


def _other_tokenizer(folder: Path) -> Any:
    if not (folder / "tokenizer.json").is_file():
        raise BackboneError(
            f"backbone.tokenizer: {folder} holds no tokenizer.json: expected the folder of a tokenizer, "
            "such as `polyhead tokenizer train` writes"
        )
    return _tokenizer_of(str(folder), str(folder), None, {})


def _tokenizer_of(reference: str, path: str, registry: Registry | None, options: dict[str, Any]) -> Any:
    with readable_errors(reference, path, registry), quiet_transformers():
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, use_fast=True, **options)
    if not tokenizer.is_fast:
        raise BackboneError(f"backbone '{reference}' has no fast tokenizer (tokenizer.json); polyhead needs one")
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise BackboneError(f"backbone '{reference}': its tokenizer has neither a pad nor an end token to pad with")
    return tokenizer


def _settle_other_tokens(config: Any, own: Any, other: Any) -> Own:
    """Give a config the special tokens of another tokenizer; return what was there before."""
    before = copy.deepcopy(config)
    _settle_padding(before, own)
    for part in {id(found): found for found in (config, *halves_of(config))}.values():
        settle_special_tokens(part, other)
    if any(
        first_position(old) != first_position(new)
        for old, new in zip(halves_of(before), halves_of(config), strict=True)
    ):
        raise BackboneError(
            f"backbone.tokenizer: architecture '{config.model_type}' counts positions from the id of its pad token, "
            f"which is {before.pad_token_id}, and {other.pad_token_id} in this tokenizer; both must be the same"
        )
    return Own(own, before)


def _settle_padding(config: Any, tokenizer: Any) -> None:
    """Let the model pad with the tokenizer's token where it knows none."""
    for half in {id(found): found for found in (config, *halves_of(config))}.values():
        if getattr(half, "pad_token_id", None) is None:
            half.pad_token_id = tokenizer.pad_token_id


def _path_of(reference: str, registry: Registry, wanted: str = "config.json") -> str:
    """Return the folder, or the name on the hub, that a reference stands for; ``wanted`` is a file of such a folder."""
    if reference in registry.backbones():
        named = registry.backbone(reference)
        found = named.locate()
        return str(found if named.convert is None else named.convert(found))
    folder = Path(reference)
    if folder.suffix == ".gguf":
        return str(_folder_of_gguf(folder))
    for inside in ("model", "0_Transformer"):  # of a run; of a folder of sentence-transformers, where it is not on top
        if not (folder / wanted).is_file() and (folder / inside / wanted).is_file():
            return str(folder / inside)
    if folder.is_dir() and not (folder / wanted).is_file():
        raise BackboneError(f"{folder} holds no {wanted}: expected a Hugging Face model folder or a run folder")
    return reference


def _folder_of_gguf(file: Path) -> Path:
    """Return the cached folder made of somebody's GGUF file; another file of that name is converted anew."""
    from polyhead.backbone.model.gguf_folder import folder_from_gguf

    try:
        written = file.stat().st_mtime_ns
    except OSError as error:
        raise BackboneError(f"backbone '{file}' cannot be read: {error.strerror}") from error
    key = hashlib.sha256(f"{file.resolve()} {written}".encode()).hexdigest()[:12]
    return folder_from_gguf(str(file), file, key=key)


@contextmanager
def readable_errors(reference: str, path: str, registry: Registry | None) -> Iterator[None]:
    """Turn what ``transformers`` raises for a wrong name or broken folder into one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        if "trust_remote_code" in str(error):
            raise BackboneError(
                f"backbone '{reference}' needs Python code that lies beside its weights, which does not run by itself: "
                "read it, and if you trust it say backbone.trust_remote_code=true"
            ) from error
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if Path(path).is_dir():
            raise BackboneError(f"backbone '{reference}' cannot be read from {path}: {first_line}") from error
        names: Mapping[str, Any] = registry.backbones() if registry is not None else {}
        reason = "the hub is off (HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE") == "1" else first_line
        raise BackboneError(
            f"backbone '{reference}' is no registered name, no folder, and could not be read from the hub: {reason}."
            f"{did_you_mean(reference, names)} {available(sorted(names))}"
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the loading reports and progress bars of ``transformers`` off the screen; errors still show."""
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
        transformers_logging.enable_progress_bar()
