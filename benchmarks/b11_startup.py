"""B11: how long a user waits: for ``polyhead --help`` and ``polyhead tasks``, and for the first prediction.

The peer of the first prediction is ``transformers.pipeline`` on the same model folder and text, in one line of
Python; of ``--help`` it is the command that transformers brings. An empty Python process is the floor.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from measure import Result, Row, Spread, Usage, compare, raw, run_child, seconds, take_turns
from mixed_rows import backbone_folder

TEXT = "a gripping story, told with warmth and wit"
GOAL_HELP, GOAL_PREDICTION = 0.08, 2.2
PEER_PREDICTION = """
import sys
from transformers import pipeline
print(pipeline("text-classification", model=sys.argv[1])(sys.argv[2])[0]["label"])
"""
MAKE_MODEL = """
import sys
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
torch.manual_seed(0)
names = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
AutoModelForSequenceClassification.from_pretrained(sys.argv[1], **names).save_pretrained(sys.argv[2])
AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
"""


def measure(pairs: int, tell: Callable[[str], None]) -> Result:
    """Run the benchmark."""
    python, commands = sys.executable, Path(sys.executable).parent
    polyhead = str(commands / "polyhead")
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model")
        run_child([python, "-c", MAKE_MODEL, str(backbone_folder()), model])
        ask = [polyhead, "predict", "classification", "--model", model, "--text", TEXT]
        sides = {
            "python": lambda: run_child([python, "-c", ""]),
            "--help": lambda: run_child([polyhead, "--help"]),
            "transformers --help": lambda: run_child([str(commands / "transformers"), "--help"]),
            "tasks": lambda: run_child([polyhead, "tasks"]),
            "prediction": lambda: run_child(ask),
            "pipeline": lambda: run_child([python, "-c", PEER_PREDICTION, model, TEXT]),
        }
        take_turns(sides, 1, lambda _: None)  # the first reads every file from disk
        found = take_turns(sides, pairs, tell)
    return Result(_rows(found), _notes(found), raw(found))


def _rows(found: dict[str, list[Usage]]) -> list[Row]:
    def cpu(name: str) -> list[float]:
        return [usage.cpu for usage in found[name]]

    def wall(name: str) -> list[float]:
        return [usage.wall for usage in found[name]]

    return [
        Row("B11", "polyhead --help: CPU s", seconds(cpu("--help")), "", Spread.of(cpu("--help")), GOAL_HELP, True),
        Row("B11", "polyhead --help: wall s", seconds(wall("--help")), "", Spread.of(wall("--help"))),
        compare("B11", "--help against transformers --help: CPU", cpu("--help"), cpu("transformers --help")),
        Row("B11", "polyhead tasks: CPU s", seconds(cpu("tasks")), "", Spread.of(cpu("tasks"))),
        Row("B11", "polyhead tasks: wall s", seconds(wall("tasks")), "", Spread.of(wall("tasks"))),
        compare(
            "B11", "first prediction against pipeline: CPU", cpu("prediction"), cpu("pipeline"), goal=GOAL_PREDICTION
        ),
        compare("B11", "  the same: wall clock", wall("prediction"), wall("pipeline"), goal=GOAL_PREDICTION),
    ]


def _notes(found: dict[str, list[Usage]]) -> list[str]:
    ours = json.loads(found["prediction"][0].output.splitlines()[-1])["label"]
    theirs = found["pipeline"][0].output.splitlines()[-1]
    verdict = "same" if ours == theirs else "NOT THE SAME"
    return [
        f"an empty Python process: {seconds([usage.cpu for usage in found['python']])} CPU",
        f"first prediction: polyhead says {ours}, pipeline says {theirs} ({verdict})",
    ]
