"""The files by which `sentence-transformers` knows how a model makes vectors: read and written, no import needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from polyhead.registry.errors import BackboneError
from polyhead.registry.names import available

Pooling = Literal["mean", "cls", "last", "max"]

MODULES, POOLING, NORMALIZE = "modules.json", "1_Pooling", "2_Normalize"
TRANSFORMER_SETTINGS, MODEL_SETTINGS = "sentence_bert_config.json", "config_sentence_transformers.json"
SUPPORTED = ("Transformer", "Pooling", "Normalize")
FLAGS: Mapping[Pooling, str] = {
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "last": "pooling_mode_lasttoken",
}
"""The older form, which every version reads."""
NAMES: Mapping[str, Pooling] = {"mean": "mean", "cls": "cls", "max": "max", "lasttoken": "last"}
"""The form since version 6."""


@dataclass(frozen=True)
class SentenceSettings:
    """How a model makes vectors of texts."""

    pooling: Pooling = "mean"
    normalize: bool = True
    max_length: int | None = None
    """The window that it was trained with."""
    lowercase: bool = False
    prompt: str = ""
    """Put before every text."""


def read_sentence_settings(folder: Path) -> SentenceSettings | None:
    """Return what a folder says; None where it is none of `sentence-transformers`.

    Raises:
        BackboneError: A file is damaged, or the model has a module or a pooling that is not supported here.

    """
    if not (folder / MODULES).is_file():
        return None
    modules = {str(entry["type"]).rsplit(".", 1)[-1]: folder / str(entry["path"]) for entry in _read(folder / MODULES)}
    for name in modules:
        if name not in SUPPORTED:
            raise BackboneError(f"{folder / MODULES}: module '{name}' is not supported. {available(SUPPORTED)}")
    if not {"Transformer", "Pooling"} <= modules.keys():
        raise BackboneError(f"{folder / MODULES}: expected the modules Transformer and Pooling, found {list(modules)}")
    transformer, pooling = (
        _read(modules["Transformer"] / TRANSFORMER_SETTINGS),
        _read(modules["Pooling"] / "config.json"),
    )
    model = _read(folder / MODEL_SETTINGS)
    prompt = (model.get("prompts") or {}).get(model.get("default_prompt_name") or "", "")
    if prompt and not pooling.get("include_prompt", True):
        raise BackboneError(f"{modules['Pooling']}: pooling without the tokens of the prompt is not supported")
    return SentenceSettings(
        _pooling_of(pooling, modules["Pooling"]),
        "Normalize" in modules,
        transformer.get("max_seq_length"),
        bool(transformer.get("do_lower_case")),
        prompt,
    )


def sentence_files(settings: SentenceSettings, hidden_size: int) -> dict[str, str]:
    """Return the files, by relative path, that make a model folder one of `sentence-transformers`."""
    modules = [("", "Transformer"), (POOLING, "Pooling"), (NORMALIZE, "Normalize")][: 2 + settings.normalize]
    files: dict[str, Any] = {
        MODULES: [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
            for number, (path, name) in enumerate(modules)
        ],
        f"{POOLING}/config.json": {
            "word_embedding_dimension": hidden_size,
            **{flag: name == settings.pooling for name, flag in FLAGS.items()},
        },
        TRANSFORMER_SETTINGS: {"max_seq_length": settings.max_length, "do_lower_case": settings.lowercase},
        MODEL_SETTINGS: {
            "prompts": {"default": settings.prompt} if settings.prompt else {},
            "default_prompt_name": "default" if settings.prompt else None,
            "similarity_fn_name": "cosine",
        },
    }
    if settings.normalize:
        files[f"{NORMALIZE}/config.json"] = {}
    return {path: json.dumps(content, indent=2, ensure_ascii=False) for path, content in files.items()}


def _pooling_of(config: Mapping[str, Any], where: Path) -> Pooling:
    named = config.get("pooling_mode")
    if named is not None:
        found = [named] if isinstance(named, str) else [str(name) for name in named]
    else:
        ours = {flag: name for name, flag in FLAGS.items()}
        on = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
        found = [next((k for k, v in NAMES.items() if v == ours.get(flag)), flag) for flag in on] or ["mean"]
    if len(found) != 1 or found[0] not in NAMES:
        raise BackboneError(f"{where}: pooling '{'+'.join(found)}' is not supported. {available(sorted(NAMES))}")
    return NAMES[found[0]]


def _read(path: Path) -> Any:
    if not path.is_file():
        return {}
    try:
        return cast("Any", json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise BackboneError(f"{path} is damaged: {error}") from None
