"""The folder of one run: where each thing stands in it, and what a second start may do with it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyhead.backbone.checkpoint.disk import is_draft, put_in_order, write_text
from polyhead.backbone.evaluation.scoring import Evaluation
from polyhead.backbone.training.provenance import FILE as PROVENANCE_FILE
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
    def provenance(self) -> Path:
        """Return what each start of the run used, by distribution and version."""
        return self.root / PROVENANCE_FILE

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
        if self.root.exists() and any(not is_draft(path) for path in self.root.iterdir()):
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
            self._clear()
        self.root.mkdir(parents=True, exist_ok=True)

    def put_in_order(self) -> None:
        """Clear up what a killed run left half-written; nothing that was complete is lost."""
        for folder in (self.root, self.checkpoints):
            put_in_order(folder)
        _end_at_a_whole_line(self.events)

    def write_config(self, text: str) -> None:
        """Write the settings of the run."""
        write_text(self.config, text)

    def _clear(self) -> None:
        """Delete the run; its settings last, so that a kill leaves what can be deleted by another start."""
        for path in sorted(self.root.iterdir(), key=self.config.__eq__):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def read_evaluation(self, split: str) -> Evaluation | None:
        """Return the scores of a split that were written before (without tables), or None."""
        if not self.metrics.is_file():
            return None
        found = json.loads(self.metrics.read_text(encoding="utf-8")).get(split)
        return None if found is None else Evaluation.from_json(found)

    def best_step(self) -> int | None:
        """Return the step that the model folder's weights are of, where it was validated."""
        if not self.metrics.is_file():
            return None
        found = json.loads(self.metrics.read_text(encoding="utf-8")).get("validation", {}).get("step")
        return None if found is None else int(found)

    def add_metrics(self, split: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Write the scores of one split beside those of the others, and return all."""
        found: dict[str, Any] = {}
        if self.metrics.is_file():
            found = json.loads(self.metrics.read_text(encoding="utf-8"))
        found[split] = dict(values)
        write_text(self.metrics, json.dumps(found, ensure_ascii=False, indent=2) + "\n")
        return found


def _end_at_a_whole_line(path: Path) -> None:
    """Cut off a last line that a killed process did not finish."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
