"""Heads, loss and decoding: one label per text."""

from polyhead.registry.toolkit.single_label import (
    count_targets,
    decode,
    default_head,
    label_fields,
    loss,
    pooled_head,
)

__all__ = ["count_targets", "decode", "default_head", "label_fields", "loss", "pooled_head"]
