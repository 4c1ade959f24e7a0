"""What tags of tokens say: every tag scheme read, two written, and which tag may follow which.

All schemes mean the same by a letter: B begins an entity, I and M go on, E and L end it, S, U and W are one alone; O is
outside. So tags are read without knowing the scheme: whatever is valid in IOB1, IOB2, IO, BIOES, BILOU, BMES or
BMEWO has one meaning. Here the letters are always B, I, E, S and O.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Scheme = Literal["IOB1", "IOB2", "BIO", "IO", "BIOES", "BILOU", "BMES", "BMEWO"]
InsideScheme = Literal["IOB2", "BIOES"]

OUTSIDE = "O"
UNNAMED_TYPE = "ENTITY"
"""The type of entities whose tags are bare letters."""

_LETTERS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
_TAG = re.compile(r"([BIMELSUWbimelsuw])[-_](.+)")
_ENDS_WITH_LETTER = re.compile(r".+[-_][BIMELSUW]")
_NO_TAGS = frozenset({"X", "PAD", "[PAD]", "<pad>", "[CLS]", "[SEP]", "<s>", "</s>", "<unk>", "[UNK]"})
_ALLOWED = {
    "IOB1": "BI",
    "IOB2": "BI",
    "BIO": "BI",
    "IO": "I",
    "BIOES": "BIES",
    "BILOU": "BILU",
    "BMES": "BMES",
    "BMEWO": "BMEW",
}
_RULES = {"IOB1": "IOB1", "IOB2": "IOB2", "BIO": "IOB2", "IO": "IO"}


@dataclass(frozen=True)
class Tag:
    """One tag: its letter (B, I, E, S, or O) and the type of entity it belongs to."""

    letter: str
    type: str = ""


@dataclass(frozen=True)
class Chunk:
    """Neighbouring tokens that are one entity: from ``first`` up to, not including, ``end``."""

    first: int
    end: int
    type: str
    stray: bool = False
    """Whether it began with a tag that only goes on (I or E): wrong by the rules of IOB2 and BIOES."""


@dataclass(frozen=True)
class TagSet:
    """The tags that a model gives, in its order."""

    tags: tuple[Tag, ...]
    scheme: str
    """Which tag may follow which: IOB1, IOB2, IO or BIOES."""

    @property
    def types(self) -> tuple[str, ...]:
        """Return the types of entities, sorted."""
        return tuple(sorted({tag.type for tag in self.tags if tag.type}))

    def index(self, tag: Tag) -> int:
        """Return the place of a tag; where the set has not got it, of the one that says most of it."""
        for letter in {"B": "BSI", "I": "IEB", "E": "EIB", "S": "SBI", OUTSIDE: OUTSIDE}[tag.letter]:
            wanted = Tag(letter, tag.type)
            if wanted in self.tags:
                return self.tags.index(wanted)
        raise KeyError(tag)

    def may_follow(self, previous: Tag, following: Tag) -> bool:
        """Return whether a tag may stand behind another; O stands for the border of the text."""
        return _may_follow(previous, following, self.scheme)


def parse_tag(tag: str) -> Tag:
    """Return what a tag says; without a letter it is a type of scheme IO.

    Raises:
        ValueError: It is empty, or the letter stands at its end.

    """
    name = tag.strip()
    if name in {OUTSIDE, "o"}:
        return Tag(OUTSIDE)
    if name in _LETTERS:
        return Tag(_LETTERS[name], UNNAMED_TYPE)
    found = _TAG.fullmatch(name)
    if found is not None:
        return Tag(_LETTERS[found[1].upper()], found[2])
    if not any(character.isalpha() for character in name) or _ENDS_WITH_LETTER.fullmatch(name):
        raise ValueError(f"'{tag}' is no tag; expected O, B-TYPE, I-TYPE, ... (E, L, M, S, U, W too), or a bare type")
    return Tag("I", name)


def read_chunks(tags: Sequence[Tag]) -> list[Chunk]:
    """Return the entities, as conlleval reads them: an I or E that goes on with nothing begins one."""
    chunks: list[Chunk] = []
    first, stray = -1, False
    for at, tag in enumerate((*tags, Tag(OUTSIDE))):
        before = tags[at - 1] if at else Tag(OUTSIDE)
        goes_on = first >= 0 and tag.letter in {"I", "E"} and before.letter in {"B", "I"} and tag.type == before.type
        if goes_on:
            continue
        if first >= 0:
            chunks.append(Chunk(first, at, before.type, stray))
        first, stray = (-1 if tag.letter == OUTSIDE else at), tag.letter in {"I", "E"}
    return chunks


def check_tags(tags: Sequence[str], scheme: Scheme) -> None:
    """Refuse tags that a scheme does not have, or not in this order.

    Raises:
        ValueError: With the first such tag, its place and what is wrong.

    """
    rules = _RULES.get(scheme, "BIOES")
    before, before_name = Tag(OUTSIDE), "the start"
    for at, name in enumerate(tags):
        tag = parse_tag(name)
        if tag.letter != OUTSIDE and name.strip() != tag.type and name.strip()[0].upper() not in _ALLOWED[scheme]:
            raise ValueError(f"tag {at}, '{name}', does not belong to scheme {scheme}")
        if not _may_follow(before, tag, rules):
            raise ValueError(f"tag {at}, '{name}', must not stand behind {before_name} in scheme {scheme}")
        before, before_name = tag, f"'{name}'"
    if not _may_follow(before, Tag(OUTSIDE), rules):
        raise ValueError(f"an entity of scheme {scheme} must not end with {before_name}")


def write_tags(chunks: Sequence[Chunk], length: int, scheme: str) -> list[Tag]:
    """Return the tags of entities in a scheme (IOB1, IOB2, IO, BIOES); a stray one keeps its I in IOB2."""
    tags = [Tag(OUTSIDE)] * length
    for number, chunk in enumerate(chunks):
        touches = number > 0 and chunks[number - 1].end == chunk.first and chunks[number - 1].type == chunk.type
        for at in range(chunk.first, chunk.end):
            letter = _letter(at == chunk.first, at == chunk.end - 1, scheme, touches=touches, stray=chunk.stray)
            tags[at] = Tag(letter, chunk.type)
    return tags


def tag_name(tag: Tag) -> str:
    """Return a tag as it is written: ``B-PER``, ``O``."""
    return OUTSIDE if tag.letter == OUTSIDE else f"{tag.letter}-{tag.type}"


def tag_names(types: Sequence[str], scheme: InsideScheme) -> tuple[str, ...]:
    """Return the tags of these types: O first, then each type's in turn."""
    letters = "BI" if scheme == "IOB2" else "BIES"
    return (OUTSIDE, *(f"{letter}-{name}" for name in types for letter in letters))


@lru_cache(maxsize=64)
def tag_set(labels: tuple[str, ...]) -> TagSet:
    """Return what the labels of a model say, and tell their scheme.

    A set with E or S is BIOES; one where some type has an I but no B though others have one is IOB1; one with no B
    at all is IO. Names such as ``[CLS]`` or ``X`` count as O.

    Raises:
        ValueError: They are no tags; says why.

    """
    if not labels or all(re.fullmatch(r"LABEL_\d+", label) for label in labels):
        raise ValueError("names such as LABEL_0 say nothing")
    tags = tuple(Tag(OUTSIDE) if label in _NO_TAGS else parse_tag(label) for label in labels)
    if Tag(OUTSIDE) not in tags:
        raise ValueError("there is no O")
    bare = [label for label, tag in zip(labels, tags, strict=True) if tag.letter != OUTSIDE and tag.type == label]
    if bare and len(bare) < sum(tag.letter != OUTSIDE for tag in tags):
        raise ValueError(f"'{bare[0]}' has no letter, others have")
    return TagSet(tags, _scheme_of(tags))


def _scheme_of(tags: Sequence[Tag]) -> str:
    letters = {tag.letter for tag in tags}
    if letters & {"E", "S"}:
        return "BIOES"
    if "B" not in letters:
        return "IO"
    begun = {tag.type for tag in tags if tag.letter == "B"}
    return "IOB2" if {tag.type for tag in tags if tag.letter == "I"} <= begun else "IOB1"


def _may_follow(previous: Tag, following: Tag, scheme: str) -> bool:
    is_open = previous.letter in {"B", "I"} and previous.type == following.type
    if scheme == "IO":
        return True
    if scheme == "IOB1":
        return following.letter != "B" or is_open
    if scheme == "IOB2":
        return following.letter != "I" or is_open
    if previous.letter in {"B", "I"}:
        return is_open and following.letter in {"I", "E"}
    return following.letter not in {"I", "E"}


def _letter(is_first: bool, is_last: bool, scheme: str, *, touches: bool, stray: bool) -> str:
    if scheme == "IO" or (scheme == "IOB1" and not touches):
        return "I"
    if scheme != "BIOES":
        return "B" if is_first and not stray else "I"
    return {(True, True): "S", (True, False): "B", (False, True): "E", (False, False): "I"}[is_first, is_last]
