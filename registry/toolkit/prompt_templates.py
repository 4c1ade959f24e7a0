"""Templates of prompts: a text with a place for the source, one for the target, and named fields."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

_FIELD = re.compile(r"\{(\w+)\}")


class Framing(NamedTuple):
    """What stands around a source, and what a completion begins with."""

    before: str
    after: str
    lead: str = ""


def check_template(option: str, template: str, *, source: str, fields: Collection[str]) -> None:
    """Refuse a template that does not hold its source exactly once, or has fields that are not known.

    Raises:
        ValueError: Names the option and what it may hold.

    """
    found = _FIELD.findall(template)
    if found.count(source) != 1:
        raise ValueError(f"{option} must hold {{{source}}} once, not {found.count(source)} times")
    unknown = sorted(set(found) - {source, *fields})
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in (source, *fields))
        raise ValueError(f"{option}: unknown field {{{unknown[0]}}}. Available: {known}.")


def frame_of(template: str, source: str, fields: Mapping[str, str], target: str = "") -> Framing:
    """Fill a template's fields and split it at its source.

    The blanks before the field ``target``, or at the template's end, begin the completion: a word and the blank
    before it are one token in most tokenizers of decoders, so that the prompt must not end with the blank.
    """
    before, _, after = template.partition(f"{{{source}}}")
    after = after.partition(f"{{{target}}}")[0] if target else after
    before, after = _filled(before, fields), _filled(after, fields)
    short = after.rstrip(" ")
    return Framing(before, short, after[len(short) :])


def _filled(text: str, fields: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda match: fields.get(match.group(1), match.group()), text)
