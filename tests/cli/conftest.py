"""The command in this process: what it returns, prints and says; and one finished run for everybody."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from polyhead.backbone.builtin import load_registry
from polyhead.cli.app import build_app, run

SAMPLE = Path(__file__).parents[2] / "configs" / "samples" / "rotten_tomatoes"


@dataclass(frozen=True)
class Answer:
    """What a command gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Polyhead = Callable[..., Answer]


def call(*arguments: object, stdin: str | bytes = "") -> Answer:
    """Run ``polyhead ARGUMENTS`` in this process."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        patch.setenv("COLUMNS", "200")
        words = [str(argument) for argument in arguments]
        code = run(lambda: build_app(load_registry())(words, prog_name="polyhead"))
    return Answer(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def polyhead() -> Polyhead:
    return call


@pytest.fixture(scope="session")
def finished_run(tiny_bert: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a short sentiment run, which tests leave as it is (see `run_copy`)."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    test = reviews / "test.jsonl"
    lines = (SAMPLE / "test.jsonl").read_text(encoding="utf-8").splitlines()[:30]
    test.write_text("\n".join(lines) + "\n", encoding="utf-8")
    answer = call(
        "finetune",
        "sentiment",
        f"backbone={tiny_bert}",
        f"data.train={reviews / 'train.jsonl'}",
        f"data.validation={reviews / 'validation.jsonl'}",
        f"data.test={test}",
        "training.max_steps=4",
        "training.evaluate_every=2",
        "training.learning_rate=1e-3",
        f"output={folder}",
        "--json",
    )
    assert answer.code == 0, answer.err
    assert (answer.json["status"], answer.json["steps"]) == ("completed", 4)
    return folder


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the run that a test may change."""
    copied = tmp_path / "run"
    shutil.copytree(finished_run, copied, ignore=shutil.ignore_patterns("checkpoints", "logs"))
    return copied
