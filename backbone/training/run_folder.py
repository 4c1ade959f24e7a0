"""The folder of one run: where each thing stands in it, and what a second start may do with it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyhead.backbone.evaluation.scoring import Evaluation
from polyhead.registry import RunError

CONFIG_FILE = "config.yaml"


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run."""

    root: Path

    @property
    def config(self) -> Path:
        """Return the settings of the run, every key written out."""
        return self.root / CONFIG_FILE

    @property
    def model(self) -> Path:
        """Return the plain Hugging Face folder of the best model so far."""
        return self.root / "model"

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the checkpoints."""
        return self.root / "checkpoints"

    @property
    def events(self) -> Path:
        """Return the event log, one JSON object a line."""
        return self.root / "events.jsonl"

    @property
    def metrics(self) -> Path:
        """Return the scores by split."""
        return self.root / "metrics.json"

    @property
    def report(self) -> Path:
        """Return the report for people."""
        return self.root / "report.md"

    @property
    def logs(self) -> Path:
        """Return the folder of CSV and TensorBoard logs."""
        return self.root / "logs"

    def is_run(self) -> bool:
        """Whether a run was started here."""
        return self.config.is_file()

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Refuse a folder that is not free for this run; nothing is changed.

        Raises:
            RunError: There is a run already and neither ``resume`` nor ``overwrite`` says what to do with it, or there
                is none to resume, or the folder holds something else.

        """
        if resume:
            if not self.is_run():
                raise RunError(f"{self.root} holds no run to resume")
            return
        existing = next(path for path in (self.root, *self.root.parents) if path.exists())
        if not existing.is_dir():
            raise RunError(f"{existing} is a file: choose a folder with output=FOLDER")
        if not os.access(existing, os.W_OK):
            raise RunError(f"{existing} cannot be written: choose another folder with output=FOLDER")
        if self.root.exists() and any(self.root.iterdir()):
            if not self.is_run():
                raise RunError(f"{self.root} exists and is no run folder: choose another one with output=FOLDER")
            if not overwrite:
                raise RunError(
                    f"{self.root} holds a run already: --resume goes on with it, --overwrite starts anew, "
                    "output=FOLDER leaves it alone"
                )

    def open(self, *, resume: bool, overwrite: bool) -> None:
        """Make the folder ready for a run; raises as `check` does."""
        self.check(resume=resume, overwrite=overwrite)
        if not resume and self.is_run():
            shutil.rmtree(self.root)
        self.root.mkdir(parents=True, exist_ok=True)

    def read_evaluation(self, split: str) -> Evaluation | None:
        """Return the scores of a split that were written before (without tables), or None."""
        if not self.metrics.is_file():
            return None
        found = json.loads(self.metrics.read_text(encoding="utf-8")).get(split)
        return None if found is None else Evaluation.from_json(found)

    def add_metrics(self, split: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Write the scores of one split beside those of the others, and return all."""
        found: dict[str, Any] = {}
        if self.metrics.is_file():
            found = json.loads(self.metrics.read_text(encoding="utf-8"))
        found[split] = dict(values)
        self.metrics.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        return found
