"""Read TMX 1.4 translation memories unit by unit, without what XML could make a reader do.

Nothing outside the file is opened, and a file that declares entities of its own is refused: a few lines of those can
stand for gigabytes of text. Definition: https://www.gala-global.org/tmx-14b (the elements tu, tuv, seg).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat  # entities are refused and nothing external is ever opened

from polyhead.backbone.data.encodings import UNDECODABLE, open_text, undecodable_problem
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError

_CHUNK = 1 << 16
_FORMATTING = frozenset({"bpt", "ept", "it", "ph", "ut"})
"""Elements of a segment whose content is codes of some word processor, no text."""
_SPOILED = "\U0010ffff"  # XML may hold it and no text does: bytes that could not be decoded
_LANGUAGE = ("xml:lang", "lang")


@dataclass
class _Unit:
    """One translation unit: its variants in order, language code and text."""

    line: int
    variants: list[tuple[str, str]] = field(default_factory=list)
    problem: str | None = None


def read_tmx(path: Path, encoding: str) -> Iterator[SourceRow]:
    """Yield ``{"translation": {"en": ..., "zh": ...}}`` for each unit.

    Languages are the codes of ``xml:lang`` in lower case, without their region (``zh-CN`` is ``zh``) unless some unit
    of the file has two that differ in it only (``zh-cn`` and ``zh-tw``). Codes of word processors inside a segment are
    left out. A unit that gives several texts for one language comes out as several rows. The file is read twice.
    Raises `DataError` for a file that is no well-formed XML, declares entities, is no TMX, or has no unit.
    """
    with_region = _languages_with_region(path, encoding)
    empty = True
    for unit in _units(path, encoding):
        empty = False
        yield from _rows(unit, with_region, encoding)
    if empty:
        raise DataError(f"{path}: has no translation unit (tu)")


def _languages_with_region(path: Path, encoding: str) -> set[str]:
    found: set[str] = set()
    for unit in _units(path, encoding):
        codes = {code for code, _ in unit.variants}
        plain = [_plain(code) for code in codes]
        found.update(language for language in plain if plain.count(language) > 1)
    return found


def _plain(code: str) -> str:
    return code.partition("-")[0]


def _rows(unit: _Unit, with_region: Collection[str], encoding: str) -> Iterator[SourceRow]:
    texts: dict[str, list[str]] = {}
    for code, text in unit.variants:
        language = code if _plain(code) in with_region else _plain(code)
        if text.strip():
            texts.setdefault(language, []).append(text)
    problem = unit.problem or _problem(texts, encoding)
    if problem is not None:
        yield SourceRow(unit.line, {}, problem)
        return
    for number in range(max(len(variants) for variants in texts.values())):
        chosen = {language: variants[min(number, len(variants) - 1)] for language, variants in texts.items()}
        yield SourceRow(unit.line, {"translation": chosen})


def _problem(texts: Mapping[str, list[str]], encoding: str) -> str | None:
    if len(texts) < 2:
        found = f"only '{next(iter(texts))}'" if texts else "no language"
        return f"the translation unit has text in {found}"
    if any(_SPOILED in text for variants in texts.values() for text in variants):
        return undecodable_problem(encoding)
    return None


def _units(path: Path, encoding: str) -> Iterator[_Unit]:
    reader = _Reader(path)
    with open_text(path, encoding, newline=None) as file:
        last = False
        while not last:
            chunk = file.read(_CHUNK)
            last = not chunk
            reader.feed(chunk.replace(UNDECODABLE, _SPOILED), last=last)
            yield from reader.units
            reader.units.clear()


class _Reader:
    """Follow a parser through a file and keep the units that have ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.units: list[_Unit] = []
        self._unit: _Unit | None = None
        self._language = ""
        self._text: list[str] | None = None
        self._codes = 0
        """How many elements of formatting the parser is inside of."""
        self._begun = False
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.EntityDeclHandler = self._refuse_entity
        self._parser.SkippedEntityHandler = self._note_entity
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def feed(self, text: str, *, last: bool) -> None:
        """Parse more of the file."""
        try:
            self._parser.Parse(text, last)
        except expat.ExpatError as error:
            if not self._begun:
                raise DataError(f"{self.path}: is no TMX file: {error}") from None
            raise DataError(f"{self.path}, line {error.lineno}: is no well-formed XML: {error}") from None

    def _refuse_entity(self, name: str, *_: object) -> None:
        line = self._parser.CurrentLineNumber
        raise DataError(f"{self.path}, line {line}: declares the entity '{name}'; such files are not read")

    def _note_entity(self, name: str, is_parameter: bool) -> None:
        if self._unit is not None and not is_parameter:
            self._unit.problem = f"holds the entity '&{name};', which the file does not define"

    def _start(self, name: str, attributes: Mapping[str, Any]) -> None:
        if not self._begun and name != "tmx":
            raise DataError(f"{self.path}: is no TMX file: it begins with the element '{name}'")
        self._begun = True
        if name == "tu":
            self._unit = _Unit(self._parser.CurrentLineNumber)
        elif name == "tuv":
            self._language = next(
                (attributes[key].lower().replace("_", "-") for key in _LANGUAGE if key in attributes), ""
            )
        elif name == "seg":
            self._text, self._codes = [], 0
        elif self._text is not None and name in _FORMATTING:
            self._codes += 1

    def _end(self, name: str) -> None:
        if name == "tu" and self._unit is not None:
            self.units.append(self._unit)
            self._unit = None
        elif name == "seg" and self._unit is not None and self._text is not None:
            self._end_segment(self._unit, "".join(self._text).strip())
        elif self._text is not None and name in _FORMATTING:
            self._codes -= 1

    def _end_segment(self, unit: _Unit, text: str) -> None:
        self._text = None
        if self._language:
            unit.variants.append((self._language, text))
        else:
            unit.problem = "a variant (tuv) does not say its language (xml:lang)"

    def _characters(self, text: str) -> None:
        if self._text is not None and not self._codes:
            self._text.append(text)
