"""What `diagnose` says of broken, clashing, failing, slow and left-out plugins, and what to do about each."""

from __future__ import annotations

import pytest

from polyhead.registry import diagnosis
from polyhead.registry.diagnosis import Problem, diagnose


def test_a_sound_installation_has_no_problems(site):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment"))

    assert diagnose(site.load()) == []


def test_a_broken_plugin_is_wrong_and_its_remedy_told(site):
    site.install("acme-nlp", "2.1", feelings="import a_module_that_is_not_there")

    assert diagnose(site.load()) == [
        Problem(
            "plugin 'feelings' of acme-nlp 2.1",
            "wrong",
            "ModuleNotFoundError: No module named 'a_module_that_is_not_there'",
            "install what it needs: pip install --upgrade acme-nlp",
        )
    ]


@pytest.mark.parametrize(
    ("built_in", "state", "remedy"),
    [
        (
            False,
            "wrong",
            "choose by --plugin acme-nlp:sentiment or --plugin beta-nlp:sentiment, or uninstall",
        ),
        (True, "note", "that of polyhead is taken, unless you say --plugin acme-nlp:sentiment or --plugin beta-nlp:s"),
    ],
)
def test_a_clash_is_wrong_only_where_nobody_has_the_name(site, built_in, state, remedy):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment"))
    site.install("beta-nlp", "1.0", moods=site.task_plugin("sentiment"))
    registry = site.load(*([site.task_plugin("sentiment")] if built_in else []))

    (found,) = diagnose(registry)

    assert (found.state, found.problem) == (state, "several plugins bring the task 'sentiment'")
    assert "plugin 'feelings' of acme-nlp 2.1 and plugin 'moods' of beta-nlp 1.0" in found.plugin
    assert found.remedy.startswith(remedy)


def test_a_hook_that_fails_later_is_wrong(site):
    def polyhead_register_metrics(task):
        return "accuracy"

    site.install("acme-nlp", "2.1", more=site.plugin(polyhead_register_metrics))
    site.install("beta-nlp", "1.0", feelings=site.task_plugin("sentiment"))

    (found,) = diagnose(site.load())

    assert (found.plugin, found.state) == ("plugin 'more' of acme-nlp 2.1", "wrong")
    assert "polyhead_register_metrics returned a str where a list of Metric belongs" in found.problem
    assert found.remedy == "upgrade acme-nlp, or leave it out by POLYHEAD_LOAD_PLUGINS"


def test_a_slow_plugin_is_noted(site, monkeypatch):
    monkeypatch.setattr(diagnosis, "SLOW_SECONDS", 0.02)
    source = (
        "import time\nfrom polyhead.registry import hookimpl\ntime.sleep(0.05)\n"
        "@hookimpl\ndef polyhead_register_tasks():\n    return []\n"
    )
    site.install("acme-nlp", "2.1", slow=source, quick=site.task_plugin("topics"))

    (found,) = diagnose(site.load())

    assert (found.plugin, found.state) == ("plugin 'slow' of acme-nlp 2.1", "note")
    assert "s to load, and delays every command so long" in found.problem


def test_a_plugin_that_is_left_out_is_noted(site):
    site.install("acme-nlp", "2.1", a=site.task_plugin("one"), b=site.task_plugin("two"))

    (found,) = diagnose(site.load(POLYHEAD_LOAD_PLUGINS="a"))

    assert (found.plugin, found.state) == ("plugin 'b' of acme-nlp 2.1", "note")
    assert found.problem == "is left out by POLYHEAD_LOAD_PLUGINS"
