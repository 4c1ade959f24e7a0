"""How several texts of one example become features of their own, and which feature belongs to which text.

Windows of one text stand behind one another, texts in their order. What tells them apart is the character at which a
feature's first token begins: 0 in the first window of a text, further on in those that go on with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from polyhead.registry.contracts import EncodeSettings, Feature, Window
from polyhead.registry.errors import DataError
from polyhead.registry.examples import TextExample
from polyhead.registry.toolkit.text_encoding import encode_texts


@dataclass(frozen=True)
class TextWindow:
    """One window of one text of an example."""

    example: int
    text: int
    """Which text of the example, from 0."""
    number: int
    """Which window of the text, from 0."""
    inputs: Mapping[str, Sequence[int]]
    offsets: Sequence[tuple[int, int]]


def windows_of_texts(examples: Sequence[Sequence[str]], settings: EncodeSettings) -> Iterator[TextWindow]:
    """Tokenise each text of each example by itself; a long one gives several windows, never cut off.

    Raises:
        DataError: A window leaves no room for any token of a text.

    """
    owners = [(example, text) for example, texts in enumerate(examples) for text in range(len(texts))]
    if not owners:
        return
    tokenizer = settings.tokenizer
    room = settings.max_length - tokenizer.num_special_tokens_to_add()
    if room < 1:
        raise DataError(f"a window of {settings.max_length} tokens holds no text; raise data.max_length")
    found = tokenizer(
        [text for texts in examples for text in texts],
        truncation=True,
        max_length=settings.max_length,
        stride=min(settings.stride, room - 1),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        verbose=False,
    )
    names = [name for name in found if name not in ("overflow_to_sample_mapping", "offset_mapping")]
    number, previous = 0, -1
    for window, owner in enumerate(found["overflow_to_sample_mapping"]):
        number = number + 1 if owner == previous else 0
        previous = owner
        inputs = {name: found[name][window] for name in names}
        example, text = owners[owner]
        yield TextWindow(example, text, number, inputs, _begun(found["offset_mapping"][window], number))


def features_of_pairs(
    pairs: Sequence[tuple[int, str, str]], settings: EncodeSettings, labels: Sequence[Mapping[str, Any]]
) -> Iterator[Feature]:
    """Tokenise pairs of texts together: ``(example, first text, second text)``, with the labels of each."""
    tokenizer = settings.tokenizer
    added = [tokenizer.num_special_tokens_to_add(pair=both) for both in (False, True)]
    between = "\n" if added[0] == added[1] else ""  # a tokenizer that parts two texts by nothing
    examples = [TextExample("", first, between + second) for _, first, second in pairs]
    previous, number = -1, 0
    for feature in encode_texts(examples, settings, lambda _: {}):
        number = number + 1 if feature.example == previous else 0
        previous = feature.example
        mark = min(number, 1)
        yield replace(
            feature,
            example=pairs[previous][0],
            labels=labels[previous],
            offsets=[(mark, mark)] * len(feature.inputs["input_ids"]),
        )


def by_text(windows: Sequence[Window]) -> list[list[Window]]:
    """Return the windows of each text (or pair) of one example."""
    texts: list[list[Window]] = []
    for window in windows:
        if not texts or window.feature.offsets[0][0] == 0:
            texts.append([])
        texts[-1].append(window)
    return texts


def _begun(offsets: Sequence[tuple[int, int]], number: int) -> list[tuple[int, int]]:
    """Let the first token begin at 0 in the first window of a text (what stands before it is blank), else later."""
    spans = [(start, end) for start, end in offsets]
    inside = next((start for start, end in spans if end > start), 0)
    start = 0 if number == 0 else max(1, inside)
    return [(start, max(start, spans[0][1])), *spans[1:]]
