"""Turn a GGUF file into a folder that ``transformers`` loads, once; afterwards it comes from a cache.

Quantised weights become float32, value by value as they stand in the file. The tokenizer that ``transformers`` reads
out of the file lacks its split at digits, which is put back, and a limit of its length.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock
from tokenizers import pre_tokenizers

from polyhead.backbone.model.finding import quiet_transformers
from polyhead.registry import BackboneError

DIGIT_SPLITS = {"smollm"}
"""Values of GGUF's ``tokenizer.ggml.pre`` that stand for: each digit alone, then bytes as GPT-2 splits them."""


def folder_from_gguf(name: str, file: Path, *, key: str | None = None) -> Path:
    """Return a folder with the safetensors weights and the tokenizer of a GGUF file; convert it if there is none yet.

    Args:
        name: The backbone's name.
        file: The GGUF file; another one of the same name but of another size is converted anew.
        key: What the folder is called by; else the name.

    Raises:
        BackboneError: The package ``gguf`` is missing, the file cannot be read, or the cache cannot be written.

    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polyhead" / "backbones"
    folder = root / f"{key or name}-{file.stem}-{file.stat().st_size}"
    if (folder / "config.json").is_file():
        return folder
    if importlib.util.find_spec("gguf") is None:
        raise BackboneError(f"backbone '{name}' needs the package gguf to be converted: pip install 'polyhead[gguf]'")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):  # of several processes that begin together, one converts
            if not (folder / "config.json").is_file():
                _convert(file, folder)
    except OSError as error:
        raise BackboneError(f"backbone '{name}' cannot be converted from {file} into {folder}: {error}") from error
    except Exception as error:  # whatever the library's reader raises for a file that is broken, or of another kind
        told = next(iter(str(error).splitlines()), type(error).__name__)
        raise BackboneError(f"backbone '{name}' cannot be converted from {file}: {told}") from error
    return folder


def _convert(file: Path, folder: Path) -> None:
    """Write the folder under another name first: what is there is complete."""
    draft = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            model = _readable_model(file)
            model.save_pretrained(draft)
            _whole_tokenizer(file, model.config.max_position_embeddings).save_pretrained(draft)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _readable_model(file: Path) -> Any:
    """Return the model as if it had never been quantised: ``transformers`` does not save one that was."""
    found = transformers.AutoModelForCausalLM.from_pretrained(
        str(file.parent), gguf_file=file.name, dtype=torch.float32
    )
    config = type(found.config).from_dict(
        {key: value for key, value in found.config.to_dict().items() if key != "quantization_config"}
    )
    model = type(found)(config)
    model.load_state_dict(found.state_dict())
    model.generation_config = found.generation_config
    return model


def _whole_tokenizer(file: Path, longest: int) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    tokenizer.model_max_length = longest
    if _text_field(file, "tokenizer.ggml.pre") in DIGIT_SPLITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    return tokenizer


def _text_field(file: Path, key: str) -> str | None:
    from gguf import GGUFReader  # an extra

    field = GGUFReader(str(file)).get_field(key)
    return None if field is None else str(field.contents())
