"""From a recipe and the command line to a `RunConfig`, and back to YAML."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from polyhead.configs.errors import ConfigError, did_you_mean, nearest
from polyhead.configs.explain import Key, dotted, explain, show
from polyhead.configs.schema import RunConfig, json_schema
from polyhead.configs.yaml_text import parse_value, read_mapping, write_yaml

__all__ = [
    "dump_config",
    "json_schema",
    "list_recipes",
    "load_config",
    "recipe_path",
    "require_training_data",
]

COMMAND_LINE = "command line"
_RECIPES = Path(__file__).parent / "recipes"
_SUFFIXES = (".yaml", ".yml")
_PATH_KEYS: tuple[Key, ...] = (
    ("backbone", "tokenizer"),
    ("data", "train"),
    ("data", "validation"),
    ("data", "test"),
    ("deepspeed",),
)
"""Keys whose relative paths start at the folder of the recipe file that holds them."""


def load_config(recipe: str, overrides: Sequence[str] = (), *, tasks: Iterable[str] = ()) -> RunConfig:
    """Return the settings of one run, every path absolute.

    ``recipe`` is the path of a YAML file, the name of a shipped recipe, or one of ``tasks`` (then all else is
    at its default). ``overrides`` are ``a.b=c``, the last one wins; relative paths in them start at the
    working directory, those of a file at its folder. Raises `ConfigError` with one line per problem.
    """
    source = _find(recipe, tasks)
    values = dict(source.values)
    written: list[Key] = []
    for text in overrides:
        key, value = _read_override(text)
        _set(values, key, value)
        written.append(key)
    output = values.get("output")
    if output is None or isinstance(output, str):
        values["output"] = str(_absolute(output, Path.cwd()) if output else Path.cwd() / "runs" / source.name)
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        origins = _Origins(source.label, values, written)
        raise explain(error, origins) from error


def list_recipes() -> list[str]:
    """Return the names of the shipped recipes, sorted."""
    return sorted(path.stem for path in _RECIPES.glob("*.yaml"))


def recipe_path(name: str, *, tasks: Iterable[str] = ()) -> Path:
    """Return the file of a shipped recipe; raises `ConfigError` for an unknown name."""
    known = list_recipes()
    if name in known:
        return _RECIPES / f"{name}.yaml"
    names = sorted({*known, *tasks})
    raise ConfigError(
        f"unknown recipe '{name}'.{did_you_mean(name, names)} Available: {', '.join(names)}; "
        "or give the path of a YAML file."
    )


def dump_config(config: RunConfig) -> str:
    """Return the settings as YAML with every key; `load_config` reads it back to an equal `RunConfig`."""
    return write_yaml(config.model_dump(mode="json"))


def require_training_data(config: RunConfig) -> None:
    """Raise `ConfigError` unless there is something to train on."""
    if not config.data.train:
        raise ConfigError("data.train is missing: nothing to train on; say data.train=FILE")


@dataclass(frozen=True, slots=True)
class _Source:
    """What a recipe holds: its short name, how messages call it, and its values."""

    name: str
    label: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Origins:
    """Where each value was written: in the recipe, or on the command line."""

    recipe: str
    values: Mapping[str, Any]
    written: list[Key]

    def __call__(self, keys: tuple[Key, ...]) -> str:
        found = [self._origin(key) for key in keys if self._stands(key)]
        return " and ".join(sorted(dict.fromkeys(found), key=COMMAND_LINE.__eq__)) or self.recipe

    def _origin(self, key: Key) -> str:
        overridden = any(key[: len(other)] == other or other[: len(key)] == key for other in self.written)
        return COMMAND_LINE if overridden else self.recipe

    def _stands(self, key: Key) -> bool:
        value: Any = self.values
        for part in key:
            if not isinstance(value, Mapping) or part not in value:
                return False
            value = value[part]
        return True


def _find(recipe: str, tasks: Iterable[str]) -> _Source:
    names = tuple(tasks)
    if recipe in list_recipes():
        return _read(recipe_path(recipe))
    if recipe in names:
        return _Source(recipe, f"task '{recipe}'", {"task": recipe})
    path = _expand(recipe)
    try:
        if path.suffix not in _SUFFIXES and os.sep not in recipe and not path.exists():
            recipe_path(recipe, tasks=names)
        return _read(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _read(path: Path) -> _Source:
    if path.is_dir():
        inside = path / "config.yaml"
        hint = f" Did you mean '{inside}'?" if inside.is_file() else ""
        raise ConfigError(f"{path} is a directory, not a YAML file.{hint}")
    if not path.exists():
        raise ConfigError(f"{path} does not exist.{_nearest_recipe(path)}")
    values = read_mapping(path)
    _make_absolute(values, path.absolute().parent)
    return _Source(path.stem, str(path), values)


def _nearest_recipe(path: Path) -> str:
    beside = {other.name: other for other in path.parent.glob("*") if other.suffix in _SUFFIXES}
    near = nearest(path.name, beside)
    if near:
        return f" Did you mean '{beside[near]}'?"
    shipped = nearest(path.stem, list_recipes())
    return f" Did you mean the shipped recipe '{shipped}'?" if shipped else ""


def _read_override(text: str) -> tuple[Key, Any]:
    name, equals, written = text.partition("=")
    key = tuple(part.strip() for part in name.split("."))
    if not equals or not all(key):
        raise ConfigError(f"{COMMAND_LINE}: '{text}': expected key=value, as in training.epochs=2")
    try:
        value = parse_value(written)
    except ConfigError as error:
        raise ConfigError(f"{COMMAND_LINE}: {name}: {error}") from error
    holder: dict[str, Any] = {}
    _set(holder, key, value)
    _make_absolute(holder, Path.cwd())
    return key, _get(holder, key)


def _set(values: dict[str, Any], key: Key, value: object) -> None:
    """Write ``value`` at ``key``, making the sections on the way."""
    for depth, part in enumerate(key[:-1], start=1):
        inner = values.get(part)
        if key[:depth] == ("backbone",) and isinstance(inner, str):
            inner = {"name": inner}
        if inner is not None and not isinstance(inner, dict):
            why = f"{dotted(key[:depth])} holds {show(inner)}, which has no keys"
            raise ConfigError(f"{COMMAND_LINE}: unknown key '{dotted(key)}': {why}")
        values[part] = dict(inner or {})
        values = values[part]
    values[key[-1]] = value


def _get(values: Mapping[str, Any], key: Key) -> Any:
    value: Any = values
    for part in key:
        value = value[part]
    return value


def _make_absolute(values: dict[str, Any], folder: Path) -> None:
    for *parents, name in _PATH_KEYS:
        section: Any = values
        for part in parents:
            section = section.get(part) if isinstance(section, dict) else None
        if isinstance(section, dict) and name in section:
            section[name] = _absolute_paths(section[name], folder)


def _absolute_paths(value: object, folder: Path) -> object:
    if isinstance(value, list):
        return [_absolute_paths(item, folder) for item in value]
    return str(_absolute(value, folder)) if isinstance(value, str) and value else value


def _absolute(path: str, folder: Path) -> Path:
    """Return ``path`` from ``folder`` on, without ``..``; a link at its end stays, for its name's suffix."""
    whole = folder / _expand(path)
    return whole.resolve() if whole.name in {"", ".."} else whole.parent.resolve() / whole.name


def _expand(path: str) -> Path:
    """Return the path, ``~`` and ``~/...`` as the home folder (``~name`` may be a file that is called so)."""
    return Path(path).expanduser() if path == "~" or path.startswith("~/") else Path(path)
