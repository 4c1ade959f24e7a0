"""Register the head: ``head=crf`` asks for it."""

from __future__ import annotations

from polyhead.registry import NamedHead, hookimpl
from polyhead_crf.head import crf_head, decoder_crf_head

polyhead_api_version = 1

HEAD = NamedHead(
    name="crf",
    task="ner",
    summary="A linear-chain conditional random field: scores the tags of all words together.",
    factories={"encoder": crf_head, "decoder": decoder_crf_head, "encoder-decoder": crf_head},
)


@hookimpl
def polyhead_register_heads() -> list[NamedHead]:
    """Add the head."""
    return [HEAD]
