"""`polyhead plugins new`: what it writes, prints and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_task_is_written_where_the_name_says(polyhead: Any, elsewhere: Path) -> None:
    answer = polyhead("plugins", "new", "demo")
    assert (answer.code, answer.err) == (0, "")
    assert (elsewhere / "demo/polyhead_demo/plugin.py").is_file()
    lines = [line.strip() for line in answer.out.splitlines()]
    assert "pip install -e ./demo" in lines
    assert "polyhead plugins check demo" in lines
    (train,) = [line for line in lines if line.startswith("polyhead finetune demo ")]
    assert "data.train=demo/polyhead_demo/samples.jsonl" in train


def test_machines_get_the_list_of_files(polyhead: Any, elsewhere: Path) -> None:
    answer = polyhead("plugins", "new", "attention", "--kind", "head", "--output", elsewhere / "a b", "--json")
    assert answer.code == 0, answer.err
    found = answer.json
    assert {key: found[key] for key in ("name", "kind", "folder", "distribution", "package")} == {
        "name": "attention",
        "kind": "head",
        "folder": str(elsewhere / "a b"),
        "distribution": "polyhead-attention",
        "package": "polyhead_attention",
    }
    assert found["next"][0] == f"pip install -e '{elsewhere / 'a b'}'"
    assert {path for path in found["files"] if not (elsewhere / "a b" / path).is_file()} == set()
    written = [path for path in (elsewhere / "a b").rglob("*") if path.is_file()]
    assert len(written) == len(found["files"])


def test_a_head_fits_the_task_that_it_is_for(polyhead: Any, elsewhere: Path) -> None:
    assert polyhead("plugins", "new", "near", "--kind", "head", "--for", "ner").code == 0
    assert 'per="token"' in (elsewhere / "near/polyhead_near/head.py").read_text(encoding="utf-8")
    assert polyhead("plugins", "new", "mood", "--kind", "head", "--for", "sentiment").code == 0
    assert 'per="token"' not in (elsewhere / "mood/polyhead_mood/head.py").read_text(encoding="utf-8")
    assert 'NamedHead("mood", "sentiment"' in (elsewhere / "mood/polyhead_mood/plugin.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Demo"], "'Demo' is no name for a plugin"),
        (["ner"], "'ner' is a name of polyhead's own: choose another, such as my-ner"),
        (["masked-lm"], "'masked-lm' is a name of polyhead's own"),
        (["jsonl", "--kind", "reader"], "'jsonl' is a name of polyhead's own"),
        (["demo", "--kind", "taks"], "unknown kind of plugin 'taks'. Did you mean 'task'?"),
        (["demo", "--for", "ner"], "--for goes with --kind head and --kind metric, not with --kind task"),
        (["demo", "--kind", "head", "--for", "nre"], "unknown task 'nre'. Did you mean 'ner'?"),
        (["demo", "--kind", "head", "--for", "qa"], "take --for classification or ner or sentiment"),
        (["demo", "--kind", "metric", "--for", "ner"], "take --for classification or sentiment"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    arguments: list[str], message: str, polyhead: Any, elsewhere: Path
) -> None:
    answer = polyhead("plugins", "new", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert list(elsewhere.iterdir()) == []


def test_nothing_is_written_twice(polyhead: Any, elsewhere: Path) -> None:
    assert polyhead("plugins", "new", "demo").code == 0
    answer = polyhead("plugins", "new", "demo", "--kind", "metric")
    assert (answer.code, answer.err) == (2, "error: demo is there already: choose another --output, or remove it\n")
