"""What a task's options are: name, type, default, and the docstring under each field."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class OptionInfo:
    """One option of a task."""

    name: str
    type: str
    default: str
    summary: str
    """The docstring under the field, in one line; empty where there is none."""


def options_of(options: type | None) -> tuple[OptionInfo, ...]:
    """Return the options of a task (`Task.options`) in the order of their fields, inherited ones first."""
    if options is None or not dataclasses.is_dataclass(options):
        return ()
    summaries: dict[str, str] = {}
    for parent in reversed(options.__mro__):
        if dataclasses.is_dataclass(parent):
            summaries |= dict(_docstrings(parent))
    return tuple(
        OptionInfo(field.name, _type_name(field.type), _default(field), summaries.get(field.name, ""))
        for field in dataclasses.fields(options)
    )


def _docstrings(options: type) -> Iterator[tuple[str, str]]:
    """Yield the fields of one class that a text stands under, with the text."""
    try:
        source = textwrap.dedent(inspect.getsource(options))
    except OSError:  # made at run time: it has no source
        return
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            yield statement.target.id, " ".join(str(following.value.value).split())


def _type_name(found: object) -> str:
    return found if isinstance(found, str) else getattr(found, "__name__", str(found))


def _default(field: dataclasses.Field[object]) -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    return "" if field.default_factory is dataclasses.MISSING else repr(field.default_factory())
