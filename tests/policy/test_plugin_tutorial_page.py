"""The step-by-step tutorial shows what the template really writes, and commands that exist."""

from __future__ import annotations

import re
import shlex
import textwrap
from pathlib import Path

import pytest
import typer.main

from polyhead.backbone.builtin import load_registry
from polyhead.backbone.conformance.kit import check_summaries
from polyhead.cli.app import build_app
from polyhead.registry.scaffold import Blueprint, files_of

PAGE = (Path(__file__).parents[2] / "docs" / "plugin-tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
FILES = files_of(Blueprint("demo", "task", "0.1.0"))


def blocks(kind: str) -> list[str]:
    return [textwrap.dedent(text) for _, found, text in BLOCK.findall(PAGE) if found == kind]


COMMANDS = [line.split("#")[0] for block in blocks("sh") for line in block.splitlines() if line.startswith("polyhead ")]


@pytest.mark.parametrize("code", blocks("python"))
def test_code_stands_in_what_the_template_writes(code: str) -> None:
    assert [path for path, text in FILES.items() if code in text]


def test_the_files_of_the_table_are_written() -> None:
    named = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
    assert len(named) >= 8
    assert set(named) <= set(FILES)
    assert len(FILES["polyhead_demo/samples.jsonl"].splitlines()) == 30


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_and_their_options_exist(line: str) -> None:
    words = shlex.split(line)[1:]
    command = typer.main.get_command(build_app(load_registry()))
    while words and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_what_is_pasted_is_pasted() -> None:
    """No marker is left where output belongs, and the checks that the page names exist."""
    assert not re.search(r"^ *[A-Z]+OUTPUT$", PAGE, re.MULTILINE)
    assert "loss-is-sum-and-count" in check_summaries()
    assert len(COMMANDS) >= 8
