"""Put another tokenizer in the place of a model's own: tokens that both have keep their embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from tokenizers import decoders
from torch import nn

from polyhead.backbone.model.finding import halves_of
from polyhead.backbone.model.fresh import settle_special_tokens, special_tokens
from polyhead.backbone.model.vocabulary import change_tables

_ROLES = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")
_STAND_INS = {"cls": "bos", "bos": "cls", "sep": "eos", "eos": "sep"}
_WORD_SIGN = "\u2581"
_NO_TEXT = "\ufffd"

Spelling = tuple[bool | None, str]
"""Whether a token begins a word (None: it may or may not), and its text."""


def exchange_tokens(model: Any, old: Any, new: Any) -> None:
    """Bring the embeddings (and output embeddings) of a ``transformers`` model to another tokenizer, in place.

    A token that both tokenizers have keeps its rows, a special one those of its role; all others are drawn as the
    architecture draws them, from torch's current seed. Config and generation config get the new special tokens.
    """
    places = places_in(old, new)
    change_tables(model, lambda part: _exchange_one(part, places, new.pad_token_id))
    for config in {id(found): found for found in (model.config, *halves_of(model.config))}.values():
        settle_special_tokens(config, new)
    generation = getattr(model, "generation_config", None)
    if generation is not None:
        for key, value in special_tokens(model.config, new).items():
            if getattr(generation, key, None) is not None:
                setattr(generation, key, value)


def places_in(old: Any, new: Any) -> list[int | None]:
    """Return, for each token of a new tokenizer, its id in an old one, or None.

    Two tokens are the same where their texts are and both begin a word or both do not, however each tokenizer writes
    that (``##ing``, ``\u0120the``, ``\u2581the``); if there is none, where their texts are.
    """
    special = _special_places(old, new)
    spelled = _speller(old)
    known: dict[Spelling, int] = {}
    for token, place in sorted(old.get_vocab().items(), key=lambda item: item[1]):
        begins, text = spelled(token)
        known.setdefault((begins, text), place)
        known.setdefault((None, text), place)
    spelled = _speller(new)
    found: list[int | None] = [None] * len(new)
    for token, place in new.get_vocab().items():
        spelling = spelled(token)
        anywhere = known.get((None, spelling[1]))
        found[place] = special.get(place, known.get(spelling, anywhere))
    return found


def _special_places(old: Any, new: Any) -> dict[int, int]:
    """Return the old ids of special tokens by their new ones; begin and end may be called otherwise."""
    found = {}
    for role in reversed(_ROLES):  # where one token has two roles, the first of them counts
        own = getattr(new, f"{role}_token_id")
        roles = (role, _STAND_INS[role]) if role in _STAND_INS else (role,)
        before = next((place for name in roles if (place := getattr(old, f"{name}_token_id")) is not None), None)
        if own is not None and before is not None:
            found[own] = before
    return found


def _speller(tokenizer: Any) -> Callable[[str], Spelling]:
    """Return what tells the text of a token of this tokenizer, and whether it begins a word."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    added = set(tokenizer.get_added_vocab())
    prefix = rules["model"].get("continuing_subword_prefix") or ""
    if rules["model"]["type"] == "WordPiece" and prefix:
        return lambda token: (
            (None, token) if token in added else (not token.startswith(prefix), token.removeprefix(prefix))
        )
    if "ByteLevel" in json.dumps((rules["pre_tokenizer"], rules["decoder"])):
        decoder = decoders.ByteLevel()

        def of_bytes(token: str) -> Spelling:
            text = decoder.decode([token])
            return (None, token) if token in added or _NO_TEXT in text else (text.startswith(" "), text.strip(" "))

        return of_bytes
    return lambda token: (
        (None, token) if token in added else (token.startswith(_WORD_SIGN), token.removeprefix(_WORD_SIGN))
    )


def _exchange_one(model: Any, places: Sequence[int | None], pad: int) -> torch.Tensor:
    """Rearrange the tables of one model, and return which rows are freshly drawn.

    The table grows by as many fresh rows as the new tokenizer has tokens, each of which takes an old row or a fresh
    one; then the rest is cut off.
    """
    old, size = int(model.get_input_embeddings().weight.shape[0]), len(places)
    taken = [None if place is None or place >= old else place for place in places]
    order = torch.tensor([old + index if place is None else place for index, place in enumerate(taken)])
    model.resize_token_embeddings(old + size, mean_resizing=False)
    with torch.no_grad():
        for table in _tables(model):
            table[:size] = table[order]
    model.resize_token_embeddings(size, mean_resizing=False)
    weight = model.get_input_embeddings().weight
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.weight is weight and module.padding_idx is not None:
            module.padding_idx = pad  # the row that gets no gradient
    return torch.tensor([index for index, place in enumerate(taken) if place is None], dtype=torch.long)


def _tables(model: Any) -> Iterator[torch.Tensor]:
    """Yield each tensor with a row for every token once: input and output embeddings, biases."""
    output = model.get_output_embeddings()
    found = [model.get_input_embeddings().weight]
    if output is not None:
        found += [output.weight, getattr(output, "bias", None)]
    logits_bias = getattr(model, "final_logits_bias", None)
    if logits_bias is not None:
        found.append(logits_bias[0])  # a view
    yield from {tensor.data_ptr(): tensor for tensor in found if tensor is not None}.values()
