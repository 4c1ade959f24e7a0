"""``polyhead plugins``: list, show, doctor, a choice between two plugins, and what a run folder keeps of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Polyhead = Callable[..., Any]

ACME = """
from polyhead.registry import hookimpl
from polyhead.registry.toolkit.single_label import single_label_task


@hookimpl
def polyhead_register_tasks():
    return [single_label_task(name, "How urgent a message is.") for name in ("triage", "sentiment")]
"""
BROKEN = "import a_module_that_is_not_there\n"


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a distribution that brings a task of its own, one that polyhead has too, and a broken plugin."""
    site = tmp_path / "site"
    information = site / "acme_nlp-2.1.dist-info"
    information.mkdir(parents=True)
    (site / "acme_triage_plugin.py").write_text(ACME, encoding="utf-8")
    (site / "acme_broken_plugin.py").write_text(BROKEN, encoding="utf-8")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-nlp\nVersion: 2.1\n")
    (information / "entry_points.txt").write_text(
        "[polyhead]\ntriage = acme_triage_plugin\nbroken = acme_broken_plugin\n"
    )
    monkeypatch.syspath_prepend(str(site))
    yield
    monkeypatch.undo()


def of(answer: Any, distribution: str) -> dict[str, dict[str, object]]:
    assert answer.code == 0, answer.err
    return {each["name"]: each for each in answer.json if each["distribution"] == distribution}


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("words", [("plugins",), ("plugins", "list")])
def test_the_list_says_what_each_adds_and_what_is_broken(polyhead: Polyhead, words: tuple[str, ...]) -> None:
    found = of(polyhead(*words, "--json"), "acme-nlp")
    shown = polyhead(*words)

    assert found["triage"]["tasks"] == ["triage", "sentiment"]
    assert (found["broken"]["status"], found["triage"]["status"]) == ("broken", "ok")
    assert "tasks triage, sentiment" in shown.out
    assert "broken (acme-nlp 2.1): ModuleNotFoundError: No module named 'a_module_that_is_not_there'" in shown.out


@pytest.mark.usefixtures("acme")
def test_one_plugin_is_shown_with_all_that_it_adds(polyhead: Polyhead) -> None:
    shown, found = polyhead("plugins", "show", "qa"), polyhead("plugins", "show", "acme-nlp:triage", "--json")

    assert "qa:span" in shown.out
    assert "polyhead_register_heads" in shown.out
    assert (found.json[0]["api_version"], found.json[0]["hooks"]) == (None, ["polyhead_register_tasks"])
    wrong = polyhead("plugins", "show", "triag")
    assert (wrong.code, wrong.err.partition(" Available")[0]) == (
        2,
        "error: unknown plugin 'triag'. Did you mean 'triage'?",
    )


@pytest.mark.usefixtures("acme")
def test_the_doctor_names_problem_and_remedy(polyhead: Polyhead) -> None:
    answer = polyhead("plugins", "doctor", "--json")

    assert answer.code == 1
    assert [(each["plugin"], each["state"]) for each in answer.json] == [
        ("plugin 'broken' of acme-nlp 2.1", "wrong"),
        (f"plugin 'triage' of acme-nlp 2.1 and plugin 'sentiment' of polyhead {version()}", "note"),
    ]
    assert answer.json[0]["remedy"] == "install what it needs: pip install --upgrade acme-nlp"
    assert answer.json[1]["remedy"] == "that of polyhead is taken, unless you say --plugin acme-nlp:sentiment"


def version() -> str:
    from importlib import metadata

    return metadata.version("polyhead")


@pytest.mark.usefixtures("acme")
def test_a_choice_is_kept_in_the_run_and_its_parts_are_recorded(
    polyhead: Polyhead, tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    run, data = tmp_path / "run", reviews / "train.jsonl"
    settings = [f"backbone={tiny_bert}", f"data.train={data}", "training.max_steps=2", f"output={run}"]

    trained = polyhead("finetune", "sentiment", *settings, "--plugin", "acme-nlp:sentiment", "--json")
    scored = polyhead("evaluate", run, "--json")
    used = json.loads((run / "provenance.json").read_text())["starts"][0]["used"]

    assert trained.code == 0, trained.err
    assert "accuracy" in scored.json["metrics"]
    assert [(each["kind"], each["distribution"], each["version"]) for each in used] == [
        ("task", "acme-nlp", "2.1"),
        ("head", "acme-nlp", "2.1"),
        ("metric", "acme-nlp", "2.1"),
        ("reader", "polyhead", version()),
    ]


def test_a_run_of_a_plugin_that_is_gone_names_it(polyhead: Polyhead, run_copy: Path) -> None:
    text = (run_copy / "config.yaml").read_text(encoding="utf-8").replace("task: sentiment", "task: triage")
    (run_copy / "config.yaml").write_text(text, encoding="utf-8")
    record = json.loads((run_copy / "provenance.json").read_text())
    record["starts"][0]["used"][0] |= {"name": "triage", "distribution": "acme-nlp", "version": "2.1"}
    (run_copy / "provenance.json").write_text(json.dumps(record))

    answer = polyhead("evaluate", run_copy)

    assert answer.code == 2
    assert "was trained with task 'triage' of acme-nlp 2.1" in answer.err
    assert "pip install acme-nlp==2.1" in answer.err


def test_a_choice_of_nothing_is_a_mistake(polyhead: Polyhead) -> None:
    answer = polyhead("config", "check", "ner", "--plugin", "polyhead:nerd")

    assert (answer.code, answer.err) == (
        2,
        "error: nothing is called 'polyhead:nerd'; expected DISTRIBUTION:NAME. Did you mean 'polyhead:ner'?\n",
    )


def test_a_choice_without_a_name_is_a_mistake(polyhead: Polyhead) -> None:
    answer = polyhead("config", "check", "ner", "plugins=ner")

    assert answer.code == 2
    assert "plugins" in answer.err
    assert "acme-nlp:ner" in answer.err
