"""Which prompts are written on together, how they are padded, and whether the model has room for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from polyhead.registry import DataError, Family, Feature, GenerationSettings


def groups_of(prompts: Sequence[Feature], settings: GenerationSettings, max_tokens: int) -> Iterator[list[int]]:
    """Yield positions of prompts that go together, longest first; starts of targets in a group are equally long."""
    side_by_side = settings.beams * (settings.candidates if settings.sample else 1)

    def size(position: int) -> tuple[int, int]:
        return len(start_of(prompts[position])), len(prompts[position].inputs["input_ids"])

    group: list[int] = []
    for position in sorted(range(len(prompts)), key=size, reverse=True):
        if group:
            start, source = size(group[0])
            tokens = (start + source + settings.max_new_tokens) * side_by_side
            if start != size(position)[0] or tokens * (len(group) + 1) > max_tokens:
                yield group
                group = []
        group.append(position)
    if group:
        yield group


def start_of(prompt: Feature) -> Sequence[int]:
    """Return the first tokens of the target, where the prompt gives any."""
    return prompt.inputs.get("decoder_input_ids", ())


def padded(rows: Sequence[Sequence[int]], pad: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of equal length and their attention mask."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros_like(ids)
    for line, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[line, place], mask[line, place] = torch.tensor(row), 1
    return ids, mask


def check_room(prompts: Sequence[Feature], settings: GenerationSettings, config: Any, family: Family) -> None:
    """Refuse a prompt behind which the new tokens have no room.

    Raises:
        DataError: There is one.

    """
    new = settings.max_new_tokens
    reads, writes = _positions(getattr(config, "encoder", config)), _positions(getattr(config, "decoder", config))
    for prompt in prompts:
        source, start = len(prompt.inputs["input_ids"]), max(1, len(start_of(prompt)))
        where = f"example {prompt.example + 1}"
        if family == "decoder":
            _check(f"{where}: a prompt of {source} tokens and options.max_new_tokens={new}", source + new, writes)
        else:
            _check(f"{where}: a text of {source} tokens", source, reads)
            _check(f"{where}: options.max_new_tokens={new} and a start of {start}", start + new, writes)


def _check(what: str, tokens: int, limit: int | None) -> None:
    if limit is not None and tokens > limit:
        raise DataError(f"{what} are more than the {limit} tokens that the model can take")


def _positions(config: Any) -> int | None:
    """Return how many tokens a stack of blocks takes; None where its positions have no end."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in {"roberta", "xlm-roberta", "camembert"}:
        return int(positions - config.pad_token_id - 1)  # their positions start behind the id of the padding
    return None if positions is None else int(positions)
