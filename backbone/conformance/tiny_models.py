"""Make the models that a plugin is tried on where nobody names one: tiny, untrained, one for each family.

Each has four blocks of width 32, so that it can be cut in two, and the tokenizer of the embedded backbone, to which the
characters of the rows are added: Chinese text comes out as itself, not as unknown tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from polyhead.backbone.conformance.plugin_subject import PluginSubject
from polyhead.backbone.model.finding import find_backbone, find_tokenizer, quiet_transformers
from polyhead.backbone.model.fresh import fresh_config
from polyhead.backbone.model.vocabulary import extend_tokenizer
from polyhead.registry import Family, Registry, Row

TOKENIZER = "minilm"
LONGEST = 256
"""Most tokens in one window, and most that are read and written together."""
SEED = 7
_SIZE = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
_SPREAD = {"initializer_range": 0.15}
"""Wide enough that different texts get different answers."""
_ARCHITECTURES: Mapping[Family, Mapping[str, Any]] = {
    "encoder": {"model_type": "bert", **_SIZE, **_SPREAD},
    "decoder": {"model_type": "llama", **_SIZE, **_SPREAD, "num_key_value_heads": 2},
    "encoder-decoder": {"model_type": "t5", "d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4},
}


@dataclass(frozen=True)
class _Texts:
    """What `extend_tokenizer` takes for an example."""

    row: Row


def make_tiny_models(
    folder: Path, families: Iterable[Family], registry: Registry, rows: Sequence[Row] = ()
) -> dict[Family, Path]:
    """Write a tiny model of random weights for each family, and return their folders; the same ones every time.

    Args:
        folder: Where they are written, one folder each.
        families: The wanted ones, in this order.
        registry: Knows the embedded backbone.
        rows: What will be read: characters that the tokenizer does not know become tokens.

    Raises:
        BackboneError: The package of the embedded backbone is not installed.

    """
    found: dict[Family, Path] = {}
    tokenizer = find_tokenizer(TOKENIZER, registry)
    tokenizer.model_max_length = LONGEST
    extend_tokenizer(tokenizer, map(_Texts, rows), min_count=1)
    with quiet_transformers(), torch.random.fork_rng():
        for family in families:
            torch.manual_seed(SEED)
            model = transformers.AutoModel.from_config(fresh_config(_ARCHITECTURES[family], tokenizer))
            found[family] = folder / f"tiny-{_ARCHITECTURES[family]['model_type']}"
            model.save_pretrained(found[family])
            tokenizer.save_pretrained(found[family])
    return found


def models_for(
    plugin: PluginSubject, families: Iterable[Family], rows: Sequence[Row], folder: Path
) -> Mapping[Family, Path]:
    """Return a model for each family: tiny ones in ``folder``, or the user's own, for its family alone.

    Raises:
        BackboneError: There is no such model.

    """
    wanted = list(families)
    if plugin.model is None:
        return make_tiny_models(folder, wanted, plugin.registry, rows)
    family = find_backbone(plugin.model, plugin.registry).family
    return {family: Path(plugin.model)} if family in wanted else {}
