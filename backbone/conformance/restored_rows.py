"""Rows as a tokenizer gives their texts back: what a model that writes could write at best.

A tokenizer may know no capitals and no blanks of its own; a perfect model would then still not write the row's own
answer, which is no fault of the plugin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from polyhead.registry import Row
from polyhead.registry.toolkit.written_texts import tidy

_CODE = re.compile(r"[a-z]{2,3}([_-][A-Za-z]{2,4})?")
"""The code of a language, or a word that is too short to matter: left as it is."""
_APOSTROPHE = re.compile(r"['’`]")
"""Tokenizers put blanks around it, which `tidy` cannot always take out again."""


def restored(row: Row, tokenizer: Any) -> Row:
    """Return a row whose texts come out of the tokenizer as they went in; the id is kept."""
    return {name: value if name == "id" else _restored(value, tokenizer) for name, value in row.items()}


def _restored(value: Any, tokenizer: Any) -> Any:
    if isinstance(value, str):
        return value if _CODE.fullmatch(value) else _text(value, tokenizer)
    if isinstance(value, Mapping):
        return {key: _restored(part, tokenizer) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_restored(part, tokenizer) for part in value]
    return value


def _text(text: str, tokenizer: Any) -> str:
    ids = tokenizer(_APOSTROPHE.sub("", text), add_special_tokens=False, verbose=False)["input_ids"]
    decoded: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return tidy(decoded)
