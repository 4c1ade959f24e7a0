"""Which rows a plugin ships as samples: what `Task.samples` gives."""

from __future__ import annotations

import json
from importlib import resources

from polyhead.registry.contracts import Row
from polyhead.registry.errors import PluginError


def sample_rows(package: str, file: str = "samples.jsonl") -> list[Row]:
    """Return the rows of a JSONL file that lies in a plugin's package.

    Args:
        package: The import name of the package, ``__package__`` in its own modules.
        file: The name of the file in it.

    Raises:
        PluginError: There is no such file, or a line of it is no JSON object.

    """
    source = resources.files(package) / file
    if not source.is_file():
        raise PluginError(f"{package} holds no file {file}: put it beside plugin.py, and see that the wheel packs it")
    lines = enumerate(source.read_text(encoding="utf-8").split("\n"), start=1)
    return [_row(line, f"{package}: {file}, line {number}") for number, line in lines if line.strip()]


def _row(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise PluginError(f"{where}: this is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise PluginError(f'{where}: expected an object such as {{"text": ...}}, found {line:.60}')
    return row
