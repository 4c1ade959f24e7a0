"""The kit finds what is asked for, keeps checks apart, and catches each saboteur by name, with a remedy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from polyhead.backbone.builtin import load_registry
from polyhead.backbone.conformance import kit
from polyhead.backbone.conformance.layout_checks import LAYOUT_CHECKS
from polyhead.backbone.conformance.training_checks import TRAINING_CHECKS
from polyhead.registry import DataError, PluginError, UnknownNameError
from polyhead.registry.testing import ConformanceError, Report, Request, check_task

COSTLY = tuple(check.name for check in (*TRAINING_CHECKS, *LAYOUT_CHECKS))
ISOLATED = ("import-error", "wrong-api-version", "misspelt-hook")
CAUGHT = (
    "duplicate-name",
    "slow-import",
    "heavy-import",
    "wrong-shapes",
    "shifted-labels",
    "metric-crashes",
    "loss-as-mean",
)


def check(name: str, **fields: Any) -> Report:
    """Check without what trains, unless a test says otherwise."""
    return kit.check(Request(name, **{"skip": COSTLY, **fields}))


def results(report: Report) -> dict[str, str]:
    return {finding.check: finding.status for finding in report.findings}


def failed(report: Report) -> list[str]:
    return [finding.check for finding in report.failed]


# ── a sound plugin, and saboteurs ───────────────────────────────────────────────────────────────────────


def test_a_sound_plugin_passes(install: Any) -> None:
    install()
    said: list[str] = []
    report = kit.check(Request("acme", skip=COSTLY), said.append)
    assert str(report) == ""
    assert (report.plugin, report.distribution, report.version) == ("acme", "acme-names", "1.2")
    found = results(report)
    assert found.pop("next-token") == "not applicable"
    assert set(found.values()) == {"passed"}
    assert set(kit.check_summaries()) - set(COSTLY) - set(found) - {"next-token"} == {
        part.name for part in kit.PART_CHECKS
    }
    assert "task names: label-alignment" in said


def test_every_saboteur_is_tried(saboteurs: Mapping[str, Any]) -> None:
    assert set(saboteurs) == {*ISOLATED, *CAUGHT}


@pytest.mark.parametrize("name", ISOLATED)
def test_a_plugin_that_cannot_be_loaded_is_reported_and_stops_nobody(
    name: str, install: Any, saboteurs: Mapping[str, Any]
) -> None:
    saboteur = saboteurs[name]
    installed = install(saboteur.changes)
    (finding,) = check("acme").findings
    assert (finding.check, finding.subject, finding.status) == ("loading", "plugin acme", "failed")
    assert saboteur.message in finding.message
    assert f"mend it in {installed.module}" in finding.remedy
    assert saboteur.remedy in finding.remedy
    registry = load_registry()
    assert "sentiment" in registry.tasks()
    assert "names" not in registry.tasks()


@pytest.mark.parametrize("name", CAUGHT)
def test_a_saboteur_is_caught_by_its_check_alone(name: str, install: Any, saboteurs: Mapping[str, Any]) -> None:
    saboteur = saboteurs[name]
    install(saboteur.changes)
    report = check("acme-names:acme", skip=tuple(other for other in COSTLY if other != saboteur.check))
    assert failed(report) == [saboteur.check]
    (finding,) = report.failed
    assert saboteur.message in finding.message
    assert saboteur.remedy in finding.remedy
    assert finding.subject in ("plugin acme", "task names")
    assert load_registry().task("sentiment").summary.startswith("How positive")


def test_what_builds_on_something_broken_is_not_run(install: Any, saboteurs: Mapping[str, Any]) -> None:
    install(saboteurs["wrong-shapes"].changes)
    by_check = {finding.check: finding for finding in check("acme").findings}
    assert by_check["label-alignment"].message == "not run: first mend labels"
    assert by_check["batches"].status == "passed"


def test_an_error_of_the_plugin_is_named_with_its_place(install: Any) -> None:
    installed = install({"def tag_of(example, span):\n": "def tag_of(example, span):\n    example.nothing\n"})
    report = check("acme", only=("features", "metric-empty"), skip=())
    assert failed(report) == ["features"]
    (finding,) = report.failed
    assert finding.message == "AttributeError: 'NamesExample' object has no attribute 'nothing'"
    assert finding.remedy.startswith("mend tag_of (")
    assert f"{installed.module}.py:" in finding.remedy
    assert results(report)["metric-empty"] == "not applicable"


def test_the_checks_leave_nothing_behind(install: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install({"def samples():\n": "def samples():\n    print('chatter')\n"})
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    assert check("acme", only=("features",), skip=()).ok
    assert list(folder.iterdir()) == []


def test_nothing_is_printed_while_it_works(install: Any, capfd: pytest.CaptureFixture[str]) -> None:
    install(
        {"def to_example(row, row_id, options):\n": "def to_example(row, row_id, options):\n    print('chatter')\n"}
    )
    assert check("acme", only=("examples",), skip=()).ok
    assert capfd.readouterr() == ("", "")


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_rows_it_says_how_to_give_some(install: Any) -> None:
    install({"    samples=samples,\n": ""})
    report = check("acme")
    assert failed(report) == ["samples"]
    assert "Task.samples" in report.failed[0].remedy
    assert "--data" in report.failed[0].remedy


def test_rows_can_come_from_a_file(install: Any, tmp_path: Path) -> None:
    install({"    samples=samples,\n": ""})
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"{name} sings {number}.", "names": [name], "id": None} for name in "AB" for number in range(50)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    report = check("names", data=path, only=("samples", "examples", "label-alignment"), skip=())
    assert report.ok
    assert [finding.message for finding in report.findings if finding.check == "samples"] == ["64 rows"]


def test_a_file_that_is_not_there_is_an_error_of_the_user(install: Any, tmp_path: Path) -> None:
    install()
    with pytest.raises(DataError, match="there is no such file"):
        check("acme", data=tmp_path / "rows.jsonl")


# ── what is asked for ───────────────────────────────────────────────────────────────────────────────────


def test_unknown_names_are_answered_with_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown plugin or task 'sentimant'\. Did you mean 'sentiment'\?"):
        check("sentimant")
    with pytest.raises(UnknownNameError, match=r"unknown check 'labels-alignment'\. Did you mean 'label-alignment'\?"):
        check("sentiment", only=("labels-alignment",))
    with pytest.raises(UnknownNameError, match=r"unknown check 'loding'\. Did you mean 'loading'\?"):
        check("sentiment", skip=("loding",))


def test_a_name_that_two_distributions_use_must_be_told_apart(install: Any) -> None:
    install()
    install({'name="names",\n    summary': 'name="others",\n    summary'}, distribution="zeta-names")
    with pytest.raises(PluginError, match="say which: acme-names:acme or zeta-names:acme"):
        check("acme")
    report = check("zeta-names:acme", only=("names",), skip=())
    assert [finding.subject for finding in report.findings] == ["task others"]


def test_a_plugin_that_is_left_out_is_named(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install()
    monkeypatch.setenv("POLYHEAD_LOAD_PLUGINS", "sentiment")
    with pytest.raises(PluginError, match="plugin 'acme' of acme-names is left out by POLYHEAD_LOAD_PLUGINS"):
        check("acme")


def test_one_task_of_a_plugin_can_be_checked_alone() -> None:
    report = check("masked-lm", only=("names",), skip=())
    assert (report.plugin, [finding.subject for finding in report.findings]) == ("pretraining", ["task masked-lm"])


def test_a_backbone_of_another_family_does_not_apply(install: Any, tiny_backbones: dict[str, Path]) -> None:
    install()
    report = check("acme", backbone=str(tiny_backbones["llama"]), only=("samples", "heads"), skip=())
    assert results(report) == {"samples": "passed", "heads": "not applicable"}
    report = check("acme", backbone=str(tiny_backbones["bert"]), only=("features",), skip=())
    assert report.findings[-1].message == "features: encoder 32"


def test_the_public_road_leads_here(install: Any, saboteurs: Mapping[str, Any]) -> None:
    install()
    assert check_task("acme", only=("metric-empty",)).ok
    install(saboteurs["metric-crashes"].changes, distribution="zeta-names", plugin="zeta")
    with pytest.raises(ConformanceError, match="1 checks failed\ntask names: metric-empty: metric 'names' crashes"):
        check_task("zeta", only=("metric-empty",))
