"""``polyhead plugins check``: what it prints, and its exit codes."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest
import typer

from polyhead.backbone.conformance import kit
from polyhead.cli.app import run
from polyhead.cli.plugin_check import check
from polyhead.registry.testing import Finding, Report, Request

REPORT = Report(
    "demo",
    "acme-demo",
    "1.2",
    (
        Finding("names", "task demo", "passed", "3 columns", "", 0.1),
        Finding("label-alignment", "task demo", "failed", "f1 is 0", "give label t to token t", 1.25),
        Finding("next-token", "task demo", "not applicable", "no head foretells tokens"),
    ),
)

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return what runs the command by itself."""
    app = typer.Typer()
    app.command()(check)
    monkeypatch.setenv("COLUMNS", "200")

    def made(*arguments: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run(lambda: app(list(arguments), prog_name="check"))
        return code, out.getvalue(), err.getvalue()

    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Return the requests that reach the kit, which answers with a report of one failure."""
    found: list[Request] = []

    def answer(request: Request, say: Any) -> Report:
        found.append(request)
        say("task demo: names")
        return REPORT

    monkeypatch.setattr(kit, "check", answer)
    return found


def test_a_failure_is_printed_with_its_remedy(call: Call, asked: list[Request]) -> None:
    code, out, err = call("demo", "--only", "names,label-alignment", "--skip", "labels", "--backbone", "minilm")
    assert code == 1
    assert asked == [Request("demo", None, ("names", "label-alignment"), ("labels",), "minilm")]
    assert "label-alignment (task demo): f1 is 0\n  What to do: give label t to token t\n" in out
    assert out.endswith("demo (acme-demo 1.2): 1 passed, 1 failed, 1 not applicable\n")
    assert err == "task demo: names\n"


def test_machines_get_one_object(call: Call, asked: list[Request]) -> None:
    code, out, _ = call("demo", "--json")
    assert (code, len(asked)) == (1, 1)
    found = json.loads(out)
    assert (found["ok"], found["findings"][1]["check"]) == (False, "label-alignment")


def test_the_checks_can_be_listed(call: Call) -> None:
    code, out, _ = call("--list", "--json")
    assert (code, json.loads(out)) == (0, kit.check_summaries())
    assert "labels of a model that writes" in call("--list")[1]


def test_mistakes_of_the_user_end_with_one_line(call: Call) -> None:
    code, out, err = call("sentimant")
    assert (code, out) == (2, "")
    assert "unknown plugin or task 'sentimant'. Did you mean 'sentiment'?" in err
    code, _, err = call()
    assert code == 2
    assert "say which plugin or task: polyhead plugins check NAME" in err


def test_a_plugin_is_checked(call: Call) -> None:
    code, out, _ = call("sentiment", "--only", "api-version,names,metric-empty")
    assert (code, out.splitlines()[-1].split(": ")[1]) == (0, "3 passed, 0 failed, 0 not applicable")


def test_only_who_checks_pays_for_the_engine() -> None:
    import subprocess

    program = "import sys, polyhead.cli.plugin_check; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
