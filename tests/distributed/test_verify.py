"""`polyhead verify` on real processes: every layout is equal to one process, and a broken engine is found out."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from polyhead.backbone.parallel import proof
from polyhead.cli import app

pytestmark = pytest.mark.slow

LAYOUTS = ("zero1", "zero2", "zero3", "zero3+offload", "pipe2", "pipe2+zero1", "tp2+zero1")
STEPS = 8
"""`make verify` takes 20."""


@pytest.fixture
def arguments(tiny_bert: Path, reviews: Path) -> list[str]:
    """Return the recipe, and what makes it small."""
    data = [f"data.{split}={reviews / split}.jsonl" for split in ("train", "validation")]
    return ["sentiment", f"backbone={tiny_bert}", *data, "data.max_length=64", "training.batch_size=10"]


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Return what runs the command in this process and gives the exit code and what was printed."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["polyhead", "verify", *arguments])
        capfd.readouterr()
        code = app.run(app._start)
        return code, *capfd.readouterr()

    return run


def test_every_layout_is_equal_to_one_process(verify: Any, arguments: list[str], tmp_path: Path) -> None:
    options = ["--layouts", ",".join(LAYOUTS), "--steps", str(STEPS), "--json", "--keep", str(tmp_path / "runs")]
    code, printed, said = verify(*arguments, *options)
    assert code == 0, printed + said
    found = json.loads(printed)
    assert found["ok"]
    assert [(one["layout"], one["processes"], one["verdict"]) for one in found["layouts"]] == [
        (layout, 2, "ok") for layout in LAYOUTS
    ]
    for one in found["layouts"]:
        assert one["loss"] <= 1e-5
        assert one["weights"] <= 1e-5
        assert one["score"] <= 1e-4
        assert (one["gradient_norm"] is None) == (one["layout"] == "pipe2")
        assert one["clipped"] == (one["layout"] != "pipe2")
    assert found["moved"] > 1e-3
    assert len(found["losses"]) == STEPS
    for run in ("single", "zero3@2", "pipe2@2"):
        assert (tmp_path / "runs" / run / "events.jsonl").is_file()
        assert f"{run}: {STEPS} steps in " in said


def test_a_broken_stage_is_found_out(verify: Any, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Path(__file__).with_name("verify_with_a_broken_stage.py")
    monkeypatch.setattr(proof, "prove", partial(proof.prove, program=(str(broken),)))
    code, printed, said = verify(*arguments, "--steps", "4", "--layouts", "zero1,pipe2")
    assert code == 1, printed + said
    rows = [line.split() for line in printed.splitlines() if line.startswith(" ") and "@2 " in line]
    assert [(row[0], row[-1]) for row in rows] == [("zero1@2", "ok"), ("pipe2@2", "FAILED")]
    (first, *_) = [line for line in printed.splitlines() if line.startswith("pipe2@2 FAILED: ")]
    assert first.startswith("pipe2@2 FAILED: step 1: loss ")
    assert "weights differ, most of all " in printed
