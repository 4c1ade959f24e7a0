"""Describe every hook as its documentation shows it, read from the specifications themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import pluggy

from polyhead.registry import hookspecs


@dataclass(frozen=True)
class HookInfo:
    """One hook."""

    name: str
    signature: str
    """As written in the specification: ``polyhead_end_run(run: RunEnd) -> None``."""
    summary: str
    """Its docstring."""


def hooks() -> tuple[HookInfo, ...]:
    """Return every hook, in the order in which they are specified."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    found = []
    for name, function in vars(hookspecs).items():
        if manager.parse_hookspec_opts(hookspecs, name) is not None:
            summary = inspect.getdoc(function) or ""
            found.append(HookInfo(name, _signature(function), summary))
    return tuple(found)


def _signature(function: Callable[..., object]) -> str:
    signature = inspect.signature(function)
    parameters = ", ".join(f"{name}: {p.annotation}" for name, p in signature.parameters.items())
    return f"{function.__name__}({parameters}) -> {signature.return_annotation}"
