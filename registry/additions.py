"""What a plugin can bring beside tasks: heads, readers of files, backbones, commands; each under a name of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from polyhead.registry.contracts import Family, HeadFactory, SourceRow


@dataclass(frozen=True)
class NamedHead:
    """A further head for a task, yours or another plugin's; ``head=NAME`` in a config asks for it."""

    name: str
    """Anything but ``default``: that is the task's own."""
    task: str
    summary: str
    factories: Mapping[Family, HeadFactory]
    """The head for each family of backbones that it supports."""


@dataclass(frozen=True)
class Reader:
    """A file format: ``data.format=NAME`` asks for it, and so does a file whose suffix is the name."""

    name: str
    """The name of the format, in lower case: ``brat``."""
    summary: str
    read: Callable[[Path, str | None], Iterator[SourceRow]]
    """``read(path, encoding)``: an iterator of rows; encoding None: the reader finds it. A row that cannot be read is a
    `SourceRow` with its problem; what is wrong with the whole file is a `DataError`."""
    write_example: Callable[[Path], Path] | None = None
    """``write_example(folder)``: writes a small file of this format and returns its path; the conformance kit reads
    it."""


@dataclass(frozen=True)
class NamedBackbone:
    """A backbone known by a short name: its weights come inside a package, or stand in a folder of yours."""

    name: str
    summary: str
    family: Family
    parameters: int
    licence: str
    locate: Callable[[], Path]
    """Returns the folder; raises `BackboneError` with the command that installs it when it is absent."""
    requires: str = ""
    """The distribution that holds the weights."""
    convert: Callable[[Path], Path] | None = None
    """Turns what `locate` found into a folder that ``transformers`` loads, once, then from a cache; None: it is one."""


@dataclass(frozen=True)
class Command:
    """A further ``polyhead`` command."""

    name: str
    summary: str
    run: Callable[[Sequence[str]], int]
    """Receives the arguments after the command's name; returns the exit code."""
