"""How the command starts: at once, with help for everything, and with the commands that plugins bring."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import typer.main

from polyhead.backbone.builtin import load_registry
from polyhead.cli.app import build_app

HEAVY = {"torch", "transformers", "deepspeed", "numpy", "sklearn", "datasets", "evaluate", "pandas", "pyarrow", "scipy"}
LIGHT_COMMANDS = [
    ["--help"],
    ["--version"],
    ["finetune", "--help"],
    ["tasks"],
    ["tasks", "show", "sentiment"],
    ["plugins"],
    ["backbones"],
    ["config", "list"],
    ["config", "schema"],
    ["config", "check", "sentiment-rotten-tomatoes"],
    ["config", "show", "classification"],
    ["config", "show", "classification", "layout=zero2", "--deepspeed"],
]
COMMANDS = {
    "backbones",
    "config check",
    "config list",
    "config schema",
    "config show",
    "convert",
    "data check",
    "doctor",
    "evaluate",
    "finetune",
    "plan",
    "plugins",
    "plugins check",
    "plugins doctor",
    "plugins list",
    "plugins new",
    "plugins show",
    "predict",
    "pretrain",
    "tasks",
    "tasks show",
    "tokenizer show",
    "tokenizer train",
    "verify",
}
OUTSIDE = """
from polyhead.registry import Command, hookimpl


def count(arguments):
    print("counted", *arguments)
    return len(arguments)


@hookimpl
def polyhead_register_commands():
    return [
        Command("count", "Count the arguments.", count),
        Command("evaluate", "Take the place of ours.", count),
        Command("tasks", "Take the place of ours.", count),
    ]
"""


def start(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with the distributions in ``path`` installed too."""
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else dict(os.environ)
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)


def install(folder: Path, module: str, source: str) -> Path:
    """Write a distribution that brings one plugin, as an installer would."""
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    info = folder / f"{module}-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text(f"[polyhead]\n{module} = {module}\n")
    return folder


def import_times(stderr: str) -> set[str]:
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in stderr.splitlines() if "import time:" in line}


@pytest.mark.parametrize("arguments", LIGHT_COMMANDS, ids=" ".join)
def test_listing_and_checking_load_nothing_heavy(arguments):
    done = start("-X", "importtime", "-m", "polyhead.cli", *arguments)
    assert done.returncode == 0, done.stderr
    loaded = import_times(done.stderr)
    assert "polyhead" in loaded
    assert loaded & HEAVY == set()


def test_the_check_for_heavy_imports_can_fail():
    done = start("-X", "importtime", "-c", "import numpy")
    assert import_times(done.stderr) & HEAVY == {"numpy"}


def all_commands() -> dict[str, typer.main.TyperCommand]:
    """Return every command of polyhead itself by its whole name."""
    found = {}

    def walk(command, words):
        for name, inner in getattr(command, "commands", {}).items():
            found[" ".join([*words, name])] = inner
            walk(inner, [*words, name])

    walk(typer.main.get_command(build_app(load_registry())), [])
    return {name: command for name, command in found.items() if name not in {"config", "data", "tokenizer"}}


def test_these_are_the_commands():
    assert set(all_commands()) == COMMANDS


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_every_parameter_has_help(name, polyhead):
    command = all_commands()[name]
    assert command.help
    described = {parameter.name: getattr(parameter, "help", None) for parameter in command.params}
    assert [name for name, text in described.items() if not text] == []
    answer = polyhead(*name.split(), "--help")
    assert answer.code == 0
    assert answer.out.startswith(f"Usage: polyhead {name} ")


def test_version(polyhead):
    assert polyhead("--version").out == f"{metadata.version('polyhead')}\n"


def test_the_script_is_installed():
    script = Path(sys.executable).with_name("polyhead")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
    assert done.stdout == f"{metadata.version('polyhead')}\n"


def test_launchers_may_pass_the_local_rank(polyhead, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert polyhead("--local_rank=0", "config", "list").code == 0


# ── plugins ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return install(tmp_path, "counting", OUTSIDE)


def test_a_plugins_command_appears_and_runs(outside):
    help_text = start("-m", "polyhead.cli", "--help", path=outside)
    assert re.search(r"^ +count +Count the arguments\.$", help_text.stdout, re.MULTILINE)
    done = start("-m", "polyhead.cli", "count", "--help", "-x", "a=b", path=outside)
    assert (done.returncode, done.stdout) == (3, "counted --help -x a=b\n")


def test_a_plugins_command_cannot_take_the_place_of_ours(outside, polyhead, monkeypatch):
    monkeypatch.syspath_prepend(str(outside))
    answer = polyhead("tasks")
    assert answer.code == 0
    assert "sentiment" in answer.out
    assert answer.err.splitlines() == [
        "plugin command 'evaluate' is left out: polyhead has a command of this name",
        "plugin command 'tasks' is left out: polyhead has a command of this name",
    ]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("polyhead_api_version = 99", "was written for plugin API 99, this polyhead offers 1"),
        ("x = 1", "implements no hook"),
    ],
)
def test_a_broken_plugin_breaks_itself_only(tmp_path, polyhead, monkeypatch, source, problem):
    name = f"broken_{abs(hash(source)) % 10**6}"  # a module is imported once a process
    monkeypatch.syspath_prepend(str(install(tmp_path, name, source)))
    assert polyhead("--help").code == 0
    listed = polyhead("plugins")
    assert listed.code == 0
    assert f"{name} ({name} 2.5): {problem}" in listed.out
    found = {plugin["name"]: plugin["status"] for plugin in polyhead("plugins", "--json").json}
    assert (found[name], found["sentiment"]) == ("broken", "ok")
    checked = polyhead("doctor", "--json")
    assert checked.code == 1
    assert problem in next(check["mend"] for check in checked.json if check["check"] == f"plugin {name}")


def test_the_environment_limits_the_plugins(polyhead, monkeypatch):
    monkeypatch.setenv("POLYHEAD_LOAD_PLUGINS", "sentiment")
    assert [task["name"] for task in polyhead("tasks", "--json").json] == ["sentiment"]
    monkeypatch.setenv("POLYHEAD_LOAD_PLUGINS", "")
    assert polyhead("tasks", "--json").json == []
    monkeypatch.setenv("POLYHEAD_LOAD_PLUGINS", "sentimant")
    answer = polyhead("tasks")
    assert answer.code == 2
    assert answer.err.startswith("error: POLYHEAD_LOAD_PLUGINS=sentimant: unknown plugin 'sentimant'.")
