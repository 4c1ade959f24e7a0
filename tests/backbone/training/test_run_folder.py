"""What a second start in the same folder may do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polyhead.backbone.training.run_folder import RunFolder
from polyhead.registry import RunError


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Return a folder that holds a run."""
    folder = RunFolder(tmp_path / "运行")
    folder.open(resume=False, overwrite=False)
    folder.config.write_text("task: sentiment\n", encoding="utf-8")
    return folder


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "b")
    folder.open(resume=False, overwrite=False)
    assert folder.root.is_dir()
    assert not folder.is_run()


def test_a_run_is_not_overwritten_by_accident(run: RunFolder) -> None:
    with pytest.raises(RunError) as caught:
        run.open(resume=False, overwrite=False)
    assert str(caught.value) == (
        f"{run.root} holds a run already: --resume goes on with it, --overwrite starts anew, "
        "output=FOLDER leaves it alone"
    )
    assert run.is_run()


def test_a_run_is_resumed(run: RunFolder) -> None:
    run.open(resume=True, overwrite=False)
    assert run.is_run()


def test_a_run_is_overwritten_where_asked(run: RunFolder) -> None:
    (run.root / "events.jsonl").touch()
    run.open(resume=False, overwrite=True)
    assert list(run.root.iterdir()) == []


def test_only_a_run_is_resumed(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no run to resume$"):
        RunFolder(tmp_path / "gone").open(resume=True, overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_others_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").write_text("dear", encoding="utf-8")
    with pytest.raises(RunError, match=r"exists and is no run folder: choose another one with output=FOLDER$"):
        RunFolder(tmp_path).open(resume=False, overwrite=overwrite)
    assert (tmp_path / "thesis.tex").read_text(encoding="utf-8") == "dear"


def test_scores_of_splits_stand_side_by_side(run: RunFolder) -> None:
    run.add_metrics("validation", {"accuracy": 0.5})
    run.add_metrics("test", {"accuracy": 0.25})
    assert run.add_metrics("validation", {"accuracy": 0.75}) == {
        "validation": {"accuracy": 0.75},
        "test": {"accuracy": 0.25},
    }
    assert json.loads(run.metrics.read_text(encoding="utf-8"))["test"] == {"accuracy": 0.25}
