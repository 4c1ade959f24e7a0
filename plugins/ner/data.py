"""From a row to an example, and from examples to features.

Spans are in characters of ``text``, their end exclusive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from polyhead.registry import (
    DataError,
    EncodeSettings,
    Feature,
    Row,
    RowError,
    RunError,
    TaskSetup,
    available,
    did_you_mean,
)
from polyhead.registry.toolkit.spans import Span, find_tokens, join_tokens, split_words, trim, word_at
from polyhead.registry.toolkit.tag_schemes import (
    Chunk,
    InsideScheme,
    Scheme,
    check_tags,
    parse_tag,
    read_chunks,
    tag_names,
    tag_set,
    write_tags,
)
from polyhead.registry.toolkit.word_encoding import Unit, encode_words

MOST_KNOWN_ENTITIES = 20_000
"""How many entities of the training data the baseline remembers, the most frequent ones."""


@dataclass(frozen=True)
class NerOptions:
    """Settings of the named-entity task."""

    scheme: Literal["auto"] | Scheme = "auto"
    """How the tags of your files are written. ``auto`` reads them all; a named scheme also refuses rows that break its
    rules."""
    scheme_inside: InsideScheme = "IOB2"
    """The tags that the model learns. A model that others trained keeps its own."""
    constrained: bool = True
    """Give only sequences of tags that the scheme allows, the likeliest of them (Viterbi)."""
    causal: bool = True
    """Decoders only: false lets every token see the whole text instead of what stands before it."""


@dataclass(frozen=True)
class Mention:
    """One entity of the reference: its characters, its words (end exclusive) and its type."""

    start: int
    end: int
    label: str
    first_word: int
    end_word: int


@dataclass(frozen=True)
class NerExample:
    """A text, its words and its entities (None where they are not known)."""

    id: str
    text: str
    words: tuple[Span, ...]
    entities: tuple[Mention, ...] | None = None
    has_tokens: bool = False
    """Whether the words are the tokens of the row; else they were found in the text."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Return the types of its entities, each once; None where they are not known."""
        return None if self.entities is None else tuple(dict.fromkeys(mention.label for mention in self.entities))

    def surface(self, first_word: int, end_word: int) -> str:
        """Return how some of its words are looked up: joined by spaces."""
        return " ".join(self.text[start:end] for start, end in self.words[first_word:end_word])


def to_example(row: Row, row_id: str, options: NerOptions) -> NerExample:
    """Read ``tokens`` and ``ner_tags``, or ``text`` and ``entities``.

    Raises:
        RowError: There is neither; tags do not fit the tokens, entities do not fit the text.

    """
    if row.get("tokens") is None:
        text = _text_of(row)
        words = split_words(text)
        if row.get("ner_tags") is not None:
            raise RowError("tags need the tokens that they are for, in a column 'tokens'", column="ner_tags")
        return NerExample(row_id, text, words, _entities_of(row, text, words))
    tokens = _texts_of(row, "tokens")
    text, words = _place(tokens, row)
    if row.get("ner_tags") is None:
        return NerExample(row_id, text, words, has_tokens=True)
    chunks = _chunks_of(row, len(tokens), options)
    mentions = (
        Mention(words[chunk.first][0], words[chunk.end - 1][1], chunk.type, chunk.first, chunk.end) for chunk in chunks
    )
    return NerExample(row_id, text, words, tuple(mentions), has_tokens=True)


def prepare(examples: Sequence[NerExample], options: NerOptions) -> TaskSetup:
    """Learn the types of entities, and remember the entities themselves for the baseline."""
    surfaces: dict[str, Counter[str]] = {}
    for example in examples:
        _check_labelled(example)
        for mention in example.entities or ():
            surface = example.surface(mention.first_word, mention.end_word)
            surfaces.setdefault(surface, Counter())[mention.label] += 1
    types = sorted({label for counts in surfaces.values() for label in counts})
    if not types:
        raise DataError("the training data holds no entity: every tag is O")
    frequent = sorted(surfaces, key=lambda surface: (-surfaces[surface].total(), surface))[:MOST_KNOWN_ENTITIES]
    known = {surface: max(sorted(surfaces[surface]), key=surfaces[surface].__getitem__) for surface in frequent}
    return TaskSetup(options, tag_names(types, options.scheme_inside), {"known_entities": known})


def setup_from_labels(labels: tuple[str, ...], options: NerOptions) -> TaskSetup:
    """Take over the tags of a model that others fine-tuned, whatever their scheme.

    Raises:
        RunError: They are no tags.

    """
    try:
        tag_set(labels)
    except ValueError as error:
        shown = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
        raise RunError(
            f"the model's labels ({shown}) are no entity tags: {error}; "
            "write O, B-PER, I-PER, ... into id2label of its config.json"
        ) from None
    return TaskSetup(options, labels)


def check_example(example: NerExample, setup: TaskSetup) -> None:
    """Refuse an example without entities to compare with, or with a type that the model does not know."""
    _check_labelled(example)
    types = tag_set(setup.labels).types
    for mention in example.entities or ():
        if mention.label not in types:
            raise RowError(
                f"unknown entity type '{mention.label}'.{did_you_mean(mention.label, types)} {available(types)}",
                column="ner_tags" if example.has_tokens else "entities",
            )


def encode(examples: Sequence[NerExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise whole texts; each word is labelled at its first token, a long text gives several windows.

    A text with a type that the model does not know bears no labels: `check_example` refuses it wherever they count.
    """
    features: list[Feature] = []
    texts, words = [example.text for example in examples], [example.words for example in examples]
    for position, encoding in enumerate(encode_words(texts, words, settings)):
        example = examples[position]
        features += encoding.features(position, example.words, _labels_of(example, encoding.units, settings.setup))
    return features


def _labels_of(example: NerExample, units: Sequence[Unit], setup: TaskSetup) -> list[int] | None:
    """Return the tag of each unit: that of the entity which holds its first word."""
    tags = tag_set(setup.labels)
    if example.entities is None or any(mention.label not in tags.types for mention in example.entities):
        return None
    owner: dict[int, int] = {}
    for number, mention in enumerate(example.entities):
        for word in range(mention.first_word, mention.end_word):
            owner.setdefault(word, number)
    ends: dict[int, list[int]] = {}
    for index, unit in enumerate(units):
        if unit.first_word in owner:
            ends.setdefault(owner[unit.first_word], []).append(index)
    chunks = [Chunk(found[0], found[-1] + 1, example.entities[number].label) for number, found in sorted(ends.items())]
    return [tags.index(tag) for tag in write_tags(chunks, len(units), tags.scheme)]


def _check_labelled(example: NerExample) -> None:
    if example.entities is None:
        needed = "ner_tags" if example.has_tokens else "entities"
        raise RowError(f"example '{example.id}' has none; they are needed to train and to score", column=needed)


# ── reading rows ────────────────────────────────────────────────────────────────────────────────────────


def _text_of(row: Row) -> str:
    text = row.get("text")
    if text is None:
        raise RowError("expected 'tokens' (a list of texts) or 'text', found neither")
    if not isinstance(text, str):
        raise RowError(f"expected a text, found {_described(text)}", column="text")
    if not text.strip():
        raise RowError("the text is empty", column="text")
    return _encodable(text, "text")


def _texts_of(row: Row, column: str) -> list[str]:
    values = row[column]
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) for value in values):
        found = (
            next((v for v in values if not isinstance(v, str)), None) if isinstance(values, (list, tuple)) else values
        )
        raise RowError(f"expected a list of texts, found {_described(found)}", column=column)
    return [_encodable(value, column) for value in values]


def _encodable(text: str, column: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise RowError("holds half of a surrogate pair, which is no character", column=column)
    return text


def _place(tokens: Sequence[str], row: Row) -> tuple[str, tuple[Span, ...]]:
    """Return the text of the tokens and where they stand: the row's own text, or the tokens joined."""
    if row.get("text") is None:
        return join_tokens(tokens)
    text = _text_of(row)
    words, missing = find_tokens(tokens, text)
    if missing is not None:
        raise RowError(
            f"token {missing}, '{tokens[missing]}', does not stand in the text behind the tokens before it; "
            "without the column 'text' the tokens are joined",
            column="tokens",
        )
    return text, words


def _chunks_of(row: Row, length: int, options: NerOptions) -> list[Chunk]:
    values = row["ner_tags"]
    if isinstance(values, (list, tuple)) and any(isinstance(value, int) for value in values):
        raise RowError(
            "whole numbers do not say which entity they mean; write the names: O, B-PER, ...", column="ner_tags"
        )
    names = _texts_of(row, "ner_tags")
    if len(names) != length:
        raise RowError(f"{len(names)} tags for {length} tokens", column="ner_tags")
    try:
        if options.scheme != "auto":
            check_tags(names, options.scheme)
        return read_chunks([parse_tag(name) for name in names])
    except ValueError as error:
        raise RowError(str(error), column="ner_tags") from None


def _entities_of(row: Row, text: str, words: Sequence[Span]) -> tuple[Mention, ...] | None:
    entries = row.get("entities")
    if entries is None:
        return None
    if not isinstance(entries, (list, tuple)) or not all(isinstance(entry, Mapping) for entry in entries):
        raise RowError(f"expected a list of {{start, end, label}}, found {_described(entries)}", column="entities")
    spans = sorted((*_span_of(entry, text), _type_of(entry)) for entry in entries)
    for (start, end, label), (next_start, next_end, next_label) in pairwise(spans):
        if next_start < end:
            raise RowError(
                f"{label} {start}-{end} and {next_label} {next_start}-{next_end} overlap; each character can belong to "
                "one entity only",
                column="entities",
            )
    word_of = word_at(words, len(text))
    mentions: list[Mention] = []
    for start, end, label in spans:  # of nothing but joiners: no word, so that no model can find it
        touched = [word for word in word_of[start:end] if word >= 0] or [0, -1]
        mentions.append(Mention(start, end, label, touched[0], touched[-1] + 1))
    return tuple(mentions)


def _span_of(entry: Mapping[str, Any], text: str) -> Span:
    """Return start and end of an entity without white space at its ends."""
    start, end = entry.get("start"), entry.get("end")
    if type(start) is not int or type(end) is not int:
        raise RowError(f"expected whole numbers 'start' and 'end', found {_described(dict(entry))}", column="entities")
    if not 0 <= start < end <= len(text):
        raise RowError(f"{start}-{end} does not lie in the text, which has {len(text)} characters", column="entities")
    written = entry.get("text")
    if written is not None and text[start:end] != written:
        raise RowError(
            f"characters {start}-{end} of the text are {text[start:end]!r}, not {written!r}", column="entities"
        )
    start, end = trim(text, start, end)
    if start == end:
        raise RowError("an entity is nothing but white space", column="entities")
    return start, end


def _type_of(entry: Mapping[str, Any]) -> str:
    label = entry.get("label")
    if not isinstance(label, str) or not label.strip():
        known = did_you_mean("label", [key for key in entry if key not in {"start", "end", "text"}])
        raise RowError(f"expected a text 'label', found {_described(label)}.{known}", column="entities")
    return label.strip()


def _described(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r:.60}"
