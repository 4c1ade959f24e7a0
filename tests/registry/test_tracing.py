"""``POLYHEAD_TRACE_PLUGINS``: a line for each import, hook call and reading, and silence without it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from polyhead.registry import PluginError, Reader, SourceRow

LINE = re.compile(r"^\[plugins(?: rank \d+)?\] +\d+\.\d\d ms  (.*)$")


@pytest.fixture
def installed(site, monkeypatch):
    def polyhead_register_readers():
        return [Reader("xlsx", "sheets", lambda path, encoding: iter([SourceRow(1, {})]))]

    def polyhead_register_metrics(task):
        raise KeyError(task)

    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment"))
    site.install("beta-nlp", "1.0", more=site.plugin(polyhead_register_readers, polyhead_register_metrics))
    monkeypatch.setenv("POLYHEAD_TRACE_PLUGINS", "1")
    return site


def test_imports_and_hooks_are_shown_with_what_they_gave(installed, capsys):
    installed.load()
    lines = [LINE.match(line)[1] for line in capsys.readouterr().err.splitlines()]

    assert any(re.match(r"acme-nlp:feelings  import plugin_\d+_of_acme_nlp  -> module$", line) for line in lines)
    assert "acme-nlp:feelings  polyhead_register_tasks()  -> sentiment" in lines
    assert "beta-nlp:more  polyhead_register_readers()  -> xlsx" in lines


def test_calls_are_shown_with_what_they_were_told_and_how_they_failed(installed, capsys):
    registry = installed.load()
    capsys.readouterr()
    assert len(list(registry.read_rows(Path("a.xlsx"), "xlsx", None))) == 1
    with pytest.raises(PluginError):
        registry.metrics("sentiment")

    read, asked = (LINE.match(line)[1] for line in capsys.readouterr().err.splitlines())
    assert read == "beta-nlp:more  reader xlsx(a.xlsx)  -> list_iterator"
    assert asked == "beta-nlp:more  polyhead_register_metrics(sentiment)  -> KeyError: 'sentiment'"


def test_the_rank_is_told(installed, capsys, monkeypatch):
    registry = installed.load()
    monkeypatch.setenv("RANK", "3")
    capsys.readouterr()
    registry.read_rows(Path("a.xlsx"), "xlsx", None)

    assert capsys.readouterr().err.startswith("[plugins rank 3] ")


@pytest.mark.parametrize("value", ["", "0", None])
def test_nothing_is_shown_without_it(installed, capsys, monkeypatch, value):
    registry = installed.load()
    if value is None:
        monkeypatch.delenv("POLYHEAD_TRACE_PLUGINS")
    else:
        monkeypatch.setenv("POLYHEAD_TRACE_PLUGINS", value)
    capsys.readouterr()
    registry.read_rows(Path("a.xlsx"), "xlsx", None)

    assert capsys.readouterr().err == ""
