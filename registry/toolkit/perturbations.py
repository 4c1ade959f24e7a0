"""Small changes to a text that should not change its meaning, to see how far a model's score holds."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from dataclasses import replace

from polyhead.registry.contracts import Perturbation
from polyhead.registry.examples import TextExample


def text_perturbations() -> list[Perturbation[TextExample]]:
    """Return the perturbations that fit any task on `TextExample`."""
    return [
        _on_text("typos", "swap two neighbouring characters in one word (or Chinese run) of ten", swap_neighbours),
        _on_text("lowercase", "write everything in lower case", lambda text, _: text.lower()),
        _on_text("no-punctuation", "drop punctuation, full-width marks included", drop_punctuation),
        _on_text("full-width", "write letters, digits and marks in their full-width forms", widen),
    ]


def perturbations_of_the_text() -> list[Perturbation[TextExample]]:
    """Return the same, leaving the second text as it is: an aspect is no one's typing error."""
    return [_without_pair(found) for found in text_perturbations()]


def swap_neighbours(text: str, draw: random.Random) -> str:
    """Swap two neighbouring characters in about one word of ten, at least in one; spaces stay where they are."""
    words = text.split(" ")
    swappable = [index for index, word in enumerate(words) if len(word) > 1]
    for index in draw.sample(swappable, min(len(swappable), max(1, len(swappable) // 10))):
        word = words[index]
        at = draw.randrange(len(word) - 1)
        words[index] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def drop_punctuation(text: str, _: random.Random) -> str:
    """Drop every character of a Unicode punctuation class; a text of nothing else is left as it is."""
    kept = "".join(character for character in text if not unicodedata.category(character).startswith("P"))
    return kept if kept.strip() else text


def widen(text: str, _: random.Random) -> str:
    """Write ASCII letters, digits and marks in the full-width forms that Chinese keyboards give."""
    return "".join(chr(ord(character) + 0xFEE0) if "!" <= character <= "~" else character for character in text)


def _without_pair(given: Perturbation[TextExample]) -> Perturbation[TextExample]:
    def apply(example: TextExample, draw: random.Random) -> TextExample:
        return replace(given.apply(example, draw), text_pair=example.text_pair)

    return Perturbation(given.name, given.summary, apply)


def _on_text(name: str, summary: str, change: Callable[[str, random.Random], str]) -> Perturbation[TextExample]:
    def apply(example: TextExample, draw: random.Random) -> TextExample:
        pair = None if example.text_pair is None else change(example.text_pair, draw)
        return replace(example, text=change(example.text, draw), text_pair=pair)

    return Perturbation(name, summary, apply)
