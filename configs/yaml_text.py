"""How settings are read from YAML text and written to it.

The scalars are those of YAML 1.2 (PyYAML reads 1.1): ``3e-5`` is a number, ``no`` and ``12:30`` are text,
``2024-01-01`` is text. Keys are text, and one that stands twice is an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from polyhead.configs.errors import ConfigError

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_SCALARS = {
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
}
"""YAML 1.2, core schema. A text is the first of these that it matches, else it is text."""


def _convert(kind: str, text: str) -> object:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)


class _Loader(yaml.SafeLoader):
    """Read YAML 1.2 scalars; keys are always text, and no key may stand twice."""

    def construct_keyed(self, node: yaml.MappingNode) -> Any:
        """Return the mapping that ``node`` writes."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _problem("a key must be text", key)
            if key.value in seen:
                raise _problem(f"the key '{key.value}' stands twice", key)
            seen.add(key.value)
            if key.tag != _MERGE:
                key.tag = _TAG + "str"
        return self.construct_yaml_map(node)

    def construct_plain(self, node: yaml.ScalarNode) -> object:
        """Return the null, truth value or number that ``node`` writes."""
        kind, text = node.tag.removeprefix(_TAG), str(self.construct_scalar(node))
        if not _SCALARS[kind].fullmatch(text):
            raise _problem(f"'{text}' is no {kind}", node)
        return _convert(kind, text)


class _Dumper(yaml.SafeDumper):
    """Quote every text that a reader of YAML 1.1 or 1.2 would take for something else."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Escape the line breaks of Unicode, which a reader would fold to a blank."""
        style = '"' if any(mark in text for mark in UNICODE_BREAKS) else None
        return self.represent_scalar(_TAG + "str", text, style=style)


UNICODE_BREAKS = ("\x85", "\u2028", "\u2029")


def _problem(text: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=node.start_mark)


_Dumper.add_representer(str, _Dumper.represent_text)
_Loader.yaml_implicit_resolvers = {}
_Loader.yaml_constructors = {
    **{_TAG + kind: _Loader.construct_plain for kind in _SCALARS},
    _TAG + "str": _Loader.construct_yaml_str,
    _TAG + "seq": _Loader.construct_yaml_seq,
    _TAG + "map": _Loader.construct_keyed,
    None: _Loader.construct_undefined,
}
_Loader.add_implicit_resolver(_MERGE, re.compile(r"<<$"), ["<"])
for _kind, _pattern in _SCALARS.items():
    _whole = re.compile(rf"(?:{_pattern.pattern})\Z")
    _Loader.add_implicit_resolver(_TAG + _kind, _whole, None)
    _Dumper.add_implicit_resolver(_TAG + _kind, _whole, None)


def read_mapping(path: Path) -> dict[str, Any]:
    """Return what a YAML file holds; raises `ConfigError` unless it is a mapping in UTF-8."""
    document = _parse(_read_text(path), path)
    if document is None:
        raise ConfigError(f"{path} is empty; a recipe names at least its task, as in 'task: sentiment'")
    if not isinstance(document, dict):
        kind = "a list" if isinstance(document, list) else f"the single value {document!r}"
        raise ConfigError(f"{path} holds {kind}; a recipe is a mapping, as in 'task: sentiment'")
    return document


def parse_value(text: str) -> Any:
    """Return the value that ``text`` writes.

    Lists, mappings and quoted text are YAML. Anything else is one plain word, so that paths and names may
    hold ``:``, ``#`` and the like. Raises `ConfigError` for a list, mapping or quotation that is not valid.
    """
    stripped = text.strip()
    if stripped.startswith(("[", "{", '"', "'")):
        try:
            return yaml.load(stripped, Loader=_Loader)  # noqa: S506 - a SafeLoader with fewer constructors
        except (yaml.YAMLError, RecursionError) as error:
            why = getattr(error, "problem", None) or "it cannot be read"
            remedy = "text that begins with a bracket or a quote goes in quotes"
            raise ConfigError(f"{stripped} is not valid YAML: {why}; {remedy}") from error
    kind = next((kind for kind, pattern in _SCALARS.items() if pattern.fullmatch(stripped)), None)
    return stripped if kind is None else _convert(kind, stripped)


def write_yaml(value: Any) -> str:
    """Return ``value`` as YAML text that `read_mapping` reads back unchanged."""
    return str(yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=110))


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ConfigError(
            f"{path} is not UTF-8 text (byte 0x{byte:02x} at position {error.start}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _parse(text: str, path: Path) -> object:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with fewer constructors
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = str(error.problem)
        if problem.startswith("but "):  # the context holds the first half of the sentence
            problem = f"{error.context}, {problem}"
        raise ConfigError(f"{path}{where}: not valid YAML: {problem}") from error
    except yaml.reader.ReaderError as error:
        problem = f"{error.reason} at position {error.position}"
        raise ConfigError(f"{path}: not valid YAML: {problem}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid YAML: nested too deeply") from error
