"""Find a backbone, read its config and tokenizer, and load it with the head a task wants."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from polyhead.backbone.model.architectures import ARCHITECTURES, family_of
from polyhead.registry import BackboneError, Family, HeadSpec, Registry, available, did_you_mean

HEAD_FILE = "polyhead_head.safetensors"
LONGEST_WINDOW = 512


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

    @property
    def longest_window(self) -> int:
        """The most tokens that one window can hold: what positions and tokenizer allow, at most 512."""
        positions = getattr(self.config, "max_position_embeddings", None) or LONGEST_WINDOW
        if self.config.model_type in {
            "roberta",
            "xlm-roberta",
            "camembert",
        }:  # their positions start behind pad's id
            positions -= self.config.pad_token_id + 1
        return int(min(LONGEST_WINDOW, positions, self.tokenizer.model_max_length))


def find_backbone(
    reference: str, registry: Registry, *, trust_remote_code: bool = False, revision: str | None = None
) -> Backbone:
    """Return config and tokenizer of a registered name, a folder (a run's or a model's), or a hub name.

    Raises:
        BackboneError: There is no such backbone, or it cannot be read; says which names there are.

    """
    path = _path_of(reference, registry)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "revision": revision}
    with _readable_errors(reference, path, registry), quiet_transformers():
        config = transformers.AutoConfig.from_pretrained(path, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, use_fast=True, **options)
    if not tokenizer.is_fast:
        raise BackboneError(f"backbone '{reference}' has no fast tokenizer (tokenizer.json); polyhead needs one")
    return Backbone(reference, path, family_of(config), config, tokenizer, trust_remote_code, revision)


def load_with_head(backbone: Backbone, head: HeadSpec, *, dropout: float | None) -> tuple[Any, torch.nn.Module | None]:
    """Return the ``transformers`` model in float32 and, where it has no such head of its own, the toolkit's.

    Weights that the checkpoint lacks are drawn from torch's current seed.

    Args:
        backbone: What `find_backbone` gave.
        head: What the task wants.
        dropout: Set every dropout of the model to this, or None to leave them.

    Raises:
        BackboneError: The weights cannot be read, or neither ``transformers`` nor the task has such a head.

    """
    own_class = _auto_class_for(backbone.config, head)
    if own_class is None and head.build is None:
        raise BackboneError(f"transformers has no {head.auto_class} for architecture '{backbone.config.model_type}'")
    config = _config_for(backbone.config, head, dropout)
    options: dict[str, Any] = {
        "config": config,
        "dtype": torch.float32,
        "use_safetensors": True,
        "trust_remote_code": backbone.trust_remote_code,
        "revision": backbone.revision,
    }
    with _readable_errors(backbone.reference, backbone.path, None), quiet_transformers():
        if own_class is not None:
            return own_class.from_pretrained(backbone.path, ignore_mismatched_sizes=True, **options), None
        trunk = transformers.AutoModel.from_pretrained(backbone.path, **options)
    assert head.build is not None
    return _without_pooler(trunk), _with_saved_weights(head.build(config, head), backbone.path)


def _auto_class_for(config: Any, head: HeadSpec) -> Any | None:
    if head.auto_class is None:
        return None
    auto_class = getattr(transformers, head.auto_class)
    return auto_class if type(config) in auto_class._model_mapping else None  # noqa: SLF001 - no public road


def _config_for(config: Any, head: HeadSpec, dropout: float | None) -> Any:
    changed = type(config).from_dict(config.to_dict())
    if head.labels:
        changed.id2label = dict(enumerate(head.labels))
        changed.label2id = {label: index for index, label in enumerate(head.labels)}
    else:
        changed.num_labels = head.size
    for key, value in head.config.items():
        setattr(changed, key, value)
    if dropout is not None:
        for key, value in changed.to_dict().items():
            if "dropout" in key and isinstance(value, float):
                setattr(changed, key, dropout)
    return changed


def _without_pooler(trunk: Any) -> Any:
    architecture = ARCHITECTURES.get(trunk.config.model_type)
    if architecture is not None and architecture.pooler is not None:
        setattr(trunk, architecture.pooler, None)
    return trunk


def _with_saved_weights(head: torch.nn.Module, path: str) -> torch.nn.Module:
    from safetensors.torch import load_file

    saved = Path(path) / HEAD_FILE
    if saved.is_file():
        head.load_state_dict(load_file(saved))
    return head


def _path_of(reference: str, registry: Registry) -> str:
    if reference in registry.backbones():
        return str(registry.backbone(reference).locate())
    folder = Path(reference)
    if (folder / "model" / "config.json").is_file():
        return str(folder / "model")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise BackboneError(f"{folder} holds no config.json: expected a Hugging Face model folder or a run folder")
    return reference


@contextmanager
def _readable_errors(reference: str, path: str, registry: Registry | None) -> Iterator[None]:
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
