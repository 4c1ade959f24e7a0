"""How texts become features: tokens, windows over long texts, and the labels that go with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from polyhead.registry.contracts import EncodeSettings, Feature
from polyhead.registry.errors import DataError
from polyhead.registry.examples import TextExample

MIXED_PAIRS = "mixed_pairs"
LabelsOf = Callable[[TextExample], Mapping[str, float | Sequence[float]]]


def encode_texts(examples: Sequence[TextExample], settings: EncodeSettings, labels_of: LabelsOf) -> list[Feature]:
    """Return the features of each example, in order; a text longer than a window gives several.

    Args:
        examples: Texts or pairs of texts.
        settings: Tokenizer, window length and the tokens that neighbouring windows share.
        labels_of: Gives the label entries of one example, empty where it bears no label.

    Raises:
        DataError: A pair whose shorter text alone fills the window.

    """
    features: list[Feature] = []
    examples = _set_apart(_alike(examples, settings), settings.tokenizer)
    for position, (example, inputs) in enumerate(zip(examples, _encode_whole(examples, settings), strict=True)):
        labels = labels_of(example)
        windows = [inputs] if _length(inputs) <= settings.max_length else _windows(example, settings)
        features.extend(Feature(position, window, labels) for window in windows)
    return features


def mixed_pairs(examples: Sequence[TextExample]) -> dict[str, bool]:
    """Return the fact that some examples are pairs and some are not; nothing where all are alike.

    It belongs into the setup: `encode_texts` then gives single texts an empty partner on an encoder-decoder, whose
    head in ``transformers`` takes the last end token and wants equally many of them in all texts of a batch.
    """
    return {MIXED_PAIRS: True} if len({example.text_pair is None for example in examples}) > 1 else {}


def _alike(examples: Sequence[TextExample], settings: EncodeSettings) -> Sequence[TextExample]:
    if settings.family != "encoder-decoder" or MIXED_PAIRS not in settings.setup.facts:
        return examples
    return [replace(example, text_pair=example.text_pair or "") for example in examples]


def _set_apart(examples: Sequence[TextExample], tokenizer: Any) -> Sequence[TextExample]:
    """Begin second texts with a line break where the tokenizer puts nothing between the two (as GPT-2's does)."""
    if tokenizer.num_special_tokens_to_add(pair=True) > tokenizer.num_special_tokens_to_add(pair=False):
        return examples
    return [
        example if example.text_pair is None else replace(example, text_pair=f"\n{example.text_pair}")
        for example in examples
    ]


def _encode_whole(examples: Sequence[TextExample], settings: EncodeSettings) -> Iterator[dict[str, list[int]]]:
    """Tokenise texts and pairs, each kind in one call, and give them back in the order of the examples."""
    singles = [example.text for example in examples if example.text_pair is None]
    paired = [(example.text, example.text_pair) for example in examples if example.text_pair is not None]
    single_inputs = _split(settings.tokenizer(singles, verbose=False)) if singles else iter(())
    pair_inputs = (
        _split(settings.tokenizer([a for a, _ in paired], [b for _, b in paired], verbose=False))
        if paired
        else iter(())
    )
    return (next(single_inputs if example.text_pair is None else pair_inputs) for example in examples)


def _windows(example: TextExample, settings: EncodeSettings) -> Iterator[dict[str, list[int]]]:
    """Cut one long text into windows; of a pair, the longer text is cut and the other repeated in each."""
    tokenizer, pair = settings.tokenizer, example.text_pair
    room = settings.max_length - tokenizer.num_special_tokens_to_add(pair=pair is not None)
    cut = "only_first"
    if pair is not None:
        first, second = (len(tokenizer.tokenize(text)) for text in (example.text, pair))
        cut = "only_first" if first >= second else "only_second"
        room -= min(first, second)
    if room < 1:
        raise DataError(
            f"example '{example.id}': neither text of the pair leaves room for the other in a window of "
            f"{settings.max_length} tokens; raise data.max_length or shorten the texts"
        )
    return _split(
        tokenizer(
            [example.text],
            None if pair is None else [pair],
            truncation=cut,
            max_length=settings.max_length,
            stride=min(settings.stride, room - 1),
            return_overflowing_tokens=True,
            verbose=False,
        ),
    )


def _split(encoding: Mapping[str, Any]) -> Iterator[dict[str, list[int]]]:
    """Turn columns of a tokenizer's answer into one mapping per window."""
    names = [name for name in encoding if name != "overflow_to_sample_mapping"]
    for values in zip(*(encoding[name] for name in names), strict=True):
        yield dict(zip(names, values, strict=True))


def _length(inputs: Mapping[str, Sequence[int]]) -> int:
    return len(inputs["input_ids"])
