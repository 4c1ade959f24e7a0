"""Teach a tokenizer the characters that it does not know, and give the model embeddings for them.

The WordPiece vocabulary of an English BERT maps most Chinese characters to ``[UNK]``; what the training texts hold
becomes tokens of its own here, at the end of the vocabulary, so that every other id stays.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

_NOT_TEXT = frozenset({"id", "label", "labels"})


def extend_tokenizer(tokenizer: Any, examples: Iterable[Any], *, min_count: int = 2) -> int:
    """Make tokens of the characters of some examples that the tokenizer does not know, and return how many it got.

    Every string in a field of an example counts, also inside tuples and mappings; ids and labels do not. A character
    that occurs less than ``min_count`` times stays unknown. In WordPiece a character may become two tokens: one that
    begins a word and one that goes on with it. The tokenizer changes in place; saved and loaded it is the same.
    """
    if tokenizer.unk_token_id is None:
        return 0
    backend = tokenizer.backend_tokenizer
    kind = type(backend.model).__name__ if _ids_end_with_the_model(backend) else "other"
    words = _words(backend, _texts_of(examples))
    if kind == "WordPiece":
        return _extend_word_piece(backend, words, min_count)
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for sign in word:
            counts[sign] += count
    unknown = [sign for sign in counts if not sign.isspace() and _is_unknown(tokenizer, sign)]
    new = sorted(sign for sign in unknown if counts[sign] >= min_count)
    if kind == "Unigram":
        _extend_unigram(backend, new)
    elif new:
        tokenizer.add_tokens(new)
    return len(new)


def resize(model: Any, tokenizer: Any) -> None:
    """Give a ``transformers`` model embeddings (and output embeddings) for every token of its tokenizer, in place.

    Fresh rows are drawn as the architecture draws them, from torch's current seed; a pair of encoder and decoder that
    was made of one encoder gets the same rows in both.
    """
    change_tables(model, lambda part: _resize_one(part, len(tokenizer)))


def change_tables(model: Any, change: Callable[[Any], torch.Tensor]) -> None:
    """Change every table of embeddings; ``change`` gets each part and returns which rows are freshly drawn."""
    is_pair = model.config.model_type == "encoder-decoder"
    if not is_pair and getattr(model, "decoder", model) is not None:
        change(model)
        return
    fresh = change(model.encoder)
    table = model.encoder.get_input_embeddings()
    if model.decoder is not None:
        change(model.decoder)
        with torch.no_grad():
            model.decoder.get_input_embeddings().weight[fresh] = table.weight[fresh]
    if hasattr(model, "shared"):  # the encoder alone, under the names of the whole: BART
        model.shared.weight, model.shared.num_embeddings = table.weight, table.num_embeddings
        model.shared.padding_idx = table.padding_idx
    for config in (model.config, model.config.encoder, model.config.decoder) if is_pair else (model.config,):
        config.vocab_size = table.num_embeddings


def _resize_one(model: Any, size: int) -> torch.Tensor:
    """Make room for ``size`` tokens where there is less."""
    old = int(model.get_input_embeddings().weight.shape[0])
    if size > old:
        model.resize_token_embeddings(size, mean_resizing=False)
    return torch.arange(old, max(old, size))


def _ids_end_with_the_model(backend: Any) -> bool:
    """Return whether new entries of the model's own vocabulary get ids that no added token has."""
    return bool(backend.get_vocab_size(with_added_tokens=True) == backend.get_vocab_size(with_added_tokens=False))


def _texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif dataclasses.is_dataclass(value):
        for each in dataclasses.fields(value):
            if each.name not in _NOT_TEXT:
                yield from _texts_of(getattr(value, each.name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts_of(inner)
    elif isinstance(value, Iterable):
        for inner in value:
            yield from _texts_of(inner)


def _words(backend: Any, texts: Iterable[str]) -> Counter[str]:
    """Count the words that the tokenizer's model gets to see."""
    counts: Counter[str] = Counter()
    for text in texts:
        normal = backend.normalizer.normalize_str(text) if backend.normalizer is not None else text
        if backend.pre_tokenizer is None:
            counts[normal] += 1
        else:
            counts.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normal))
    return counts


def _is_unknown(tokenizer: Any, sign: str) -> bool:
    return tokenizer.unk_token_id in tokenizer(sign, add_special_tokens=False)["input_ids"]


def _extend_word_piece(backend: Any, words: Mapping[str, int], min_count: int) -> int:
    """Add the pieces of one character that words need which come out as unknown."""
    from tokenizers.models import WordPiece

    rules = json.loads(backend.to_str())["model"]
    vocabulary, prefix = dict(rules["vocab"]), rules["continuing_subword_prefix"]
    counts: Counter[str] = Counter()
    pieces: dict[str, set[str]] = {}
    for word, count in words.items():
        if [token.value for token in backend.model.tokenize(word)] != [rules["unk_token"]]:
            continue
        for place, sign in enumerate(word):
            piece = prefix + sign if place else sign
            if piece not in vocabulary:
                counts[sign] += count
                pieces.setdefault(sign, set()).add(piece)
    new = sorted(piece for sign, found in pieces.items() if counts[sign] >= min_count for piece in found)
    if new:
        vocabulary |= {piece: len(vocabulary) + place for place, piece in enumerate(new)}
        backend.model = WordPiece(
            vocabulary,
            unk_token=rules["unk_token"],
            max_input_chars_per_word=rules["max_input_chars_per_word"],
            continuing_subword_prefix=prefix,
        )
    return len(new)


def _extend_unigram(backend: Any, new: Sequence[str]) -> None:
    """Add pieces that are as unlikely as the least likely one: still far likelier than the unknown token."""
    from tokenizers.models import Unigram

    rules = json.loads(backend.to_str())["model"]
    pieces = [(piece, score) for piece, score in rules["vocab"]]
    least = min(score for _, score in pieces)
    backend.model = Unigram([*pieces, *((sign, least) for sign in new)], rules["unk_id"], rules["byte_fallback"])
