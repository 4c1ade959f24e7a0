"""How pydantic's complaints become lines to act on: origin, dotted key, what is allowed, what was given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from polyhead.configs import contradictions
from polyhead.configs.errors import ConfigError, nearest
from polyhead.configs.schema import RunConfig, Section

Key = tuple[str, ...]
Origin = Callable[[tuple[Key, ...]], str]
"""Says where the values of these keys were written: a file, the command line, or both."""

_ALLOWED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a section of keys and values",
    "model_type": "a section of keys and values",
    "model_attributes_type": "a section of keys and values",
    "tuple_type": "a list",
    "path_type": "a path",
    "string_too_short": "text of at least one character",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "too_long": "a list of {max_length}",
    "too_short": "a list of at least {min_length}",
    "literal_error": "{expected}",
}
"""What is allowed, by the type of pydantic's error."""


def explain(error: ValidationError, origin: Origin) -> ConfigError:
    """Return the error that tells every problem in a line of its own."""
    lines = [line for details in error.errors() for line in _lines(details, origin)]
    return ConfigError("\n".join(dict.fromkeys(lines)))


def dotted(key: tuple[str | int, ...]) -> str:
    """Return ``data.train[0]`` for ``("data", "train", 0)``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def _lines(details: ErrorDetails, origin: Origin) -> Iterator[str]:
    location = details["loc"]
    context = details.get("ctx", {})
    if details["type"] == contradictions.ERROR_TYPE:
        for found in context["problems"]:
            yield f"{origin(tuple(tuple(key.split('.')) for key in found.keys))}: {found.problem}"
        return
    key = tuple(part for part in location if isinstance(part, str))
    yield f"{origin((key,))}: {_sentence(details, context)}"


def _sentence(details: ErrorDetails, context: dict[str, Any]) -> str:
    name, kind, value = dotted(details["loc"]), details["type"], details["input"]
    if kind == "extra_forbidden":
        return _unknown_key(details["loc"])
    if kind == "missing":
        return _missing(details["loc"], value)
    if kind == "value_error":
        problem = str(context["error"])
        return problem if problem.startswith(f"{name} ") else f"{name} {problem}"
    if kind not in _ALLOWED:
        return f"{name}: {details['msg']}, not {show(value)}"
    allowed = _ALLOWED[kind].format(**{word: _plain(limit) for word, limit in context.items()})
    return f"{name} must be {allowed}, not {show(value)}{_remedy(kind, value, allowed)}"


def show(value: object) -> str:
    """Return ``value`` the way a recipe writes it, cut after 60 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _plain(limit: object) -> object:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _remedy(kind: str, value: object, allowed: str) -> str:
    if kind in {"string_type", "path_type"} and isinstance(value, int | float):
        return f'; in quotes it is text: "{show(value)}"'
    near = nearest(str(value), re.findall(r"'([^']*)'", allowed)) if kind == "literal_error" else None
    return f"; did you mean '{near}'?" if near else ""


def _missing(location: tuple[str | int, ...], value: object) -> str:
    *parents, last = location
    if isinstance(last, int):
        return f"{dotted(tuple(parents))} has too few values: {show(value)}"
    return f"{dotted(location)} is missing; say which, as in task=sentiment"


def _unknown_key(location: tuple[str | int, ...]) -> str:
    *parents, word = (str(part) for part in location)
    section = tuple(parents)
    known = dict(_sections())
    siblings = {name: (*section, name) for name in known[section].model_fields}
    everywhere = {name: (*key, name) for key, model in known.items() for name in model.model_fields}
    meant = siblings.get(nearest(word, siblings) or "")
    meant = meant or everywhere.get(nearest(word, everywhere, likeness=0.8) or "")
    hint = f" Did you mean '{dotted(meant)}'?" if meant else ""
    where = f" in {dotted(section)}" if section else ""
    return f"unknown key '{dotted(location)}'.{hint} Allowed{where}: {', '.join(sorted(siblings))}."


def _sections(model: type[Section] = RunConfig, key: Key = ()) -> Iterator[tuple[Key, type[Section]]]:
    """Yield each section with its key, the whole configuration first."""
    yield key, model
    for name, field in model.model_fields.items():
        for choice in (field.annotation, *get_args(field.annotation)):  # a section, or a section that may be null
            if isinstance(choice, type) and issubclass(choice, Section):
                yield from _sections(choice, (*key, name))
