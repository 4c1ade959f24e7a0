"""What ships with the engine itself, registered like any plugin: file readers and named backbones."""

from __future__ import annotations

from polyhead.backbone.data import readers
from polyhead.backbone.model import named
from polyhead.registry import Registry


def load_registry() -> Registry:
    """Return the registry with the engine's own parts and every installed plugin."""
    return Registry.load(builtins=(readers, named))
