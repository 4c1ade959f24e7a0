"""A user's mistake is one clear line and exit code 2: no traceback, and nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

GOOD = "text,label\n" + "".join(f"film number {n},{('positive', 'negative')[n % 2]}\n" for n in range(12))


@dataclass(frozen=True)
class Places:
    """Where a command may look, and where it may write."""

    run: Path
    backbone: Path
    folder: Path

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    @property
    def good(self) -> Path:
        return self.file("good.csv", GOOD)

    def finetune(self, *settings: object, task: str = "sentiment", data: Path | None = None) -> list[object]:
        """Return a command that would train for one step, but for what ``settings`` say."""
        return [
            "finetune",
            task,
            f"data.train={data or self.good}",
            f"backbone={self.backbone}",
            "training.max_steps=1",
            f"output={self.folder / 'out'}",
            *settings,
        ]

    def evaluate(self, data: Path, *settings: object) -> list[object]:
        return ["evaluate", self.run, "--data", data, *settings]

    def predict(self, *settings: object) -> list[object]:
        return ["predict", self.run, *settings]


@pytest.fixture
def places(finished_run: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.chdir(tmp_path)
    return Places(finished_run, tiny_bert, tmp_path)


Mistake = Callable[[Places], list[object]]

MISTAKES: dict[str, tuple[Mistake, str]] = {
    # files
    "rows with too many fields": (
        lambda p: p.finetune(data=p.file("broken.csv", GOOD + "good, but long,positive\n")),
        (
            "broken.csv, line 14: has 3 fields, the header has 2; a text with ',' in it must stand in double quotes "
            "(data.on_error=skip leaves such rows out)"
        ),
    ),
    "a quote that is never closed": (
        lambda p: p.evaluate(p.file("quote.csv", GOOD + '"open,positive\n')),
        "quote.csv, line 14: a quote is never closed",
    ),
    "broken JSON": (
        lambda p: p.evaluate(p.file("broken.jsonl", '{"text": "good", "label": "positive"}\n{"text": \n')),
        "broken.jsonl, line 2: invalid JSON: Expecting value",
    ),
    "a row without text": (
        lambda p: p.finetune(data=p.file("blank.csv", GOOD + ",positive\n")),
        "blank.csv, line 14: column 'text': is empty",
    ),
    "a column is missing": (
        lambda p: p.finetune(data=p.file("columns.csv", "review,label\ngood,positive\n")),
        (
            "columns.csv: column 'text' is missing. Columns found: 'review', 'label'. Say which one to use: "
            "data.columns.text=NAME"
        ),
    ),
    "a column that the task does not have": (
        lambda p: p.finetune("data.columns.txt=review"),
        (
            "data.columns.txt: task 'sentiment' has no column 'txt'. Did you mean 'text'? "
            "Available: aspect, id, label, text."
        ),
    ),
    "an unknown label": (
        lambda p: p.evaluate(p.file("labels.csv", "text,label\ngood,positiv\n")),
        (
            "labels.csv, line 2: column 'label': unknown label 'positiv'. Did you mean 'positive'? "
            "Available: negative, positive."
        ),
    ),
    "one label only": (
        lambda p: p.finetune(data=p.file("one.csv", "text,label\ngood,好\nfine,好\n")),
        "the training data holds 1 label (好); at least 2 are needed",
    ),
    "an empty file": (lambda p: p.finetune(data=p.file("empty.csv", "")), "empty.csv: is empty"),
    "a header without rows": (
        lambda p: p.finetune(data=p.file("header.csv", "text,label\n")),
        "header.csv: has a header but no rows",
    ),
    "a directory": (
        lambda p: p.finetune(data=p.folder),
        ": is a directory; expected a file or a folder written by datasets.save_to_disk",
    ),
    "a file that is not there": (
        lambda p: [*p.finetune(), f"data.train={p.folder / 'god.csv'}"],
        "god.csv: there is no such file. Did you mean 'good.csv'?",
    ),
    "a format that nothing reads": (
        lambda p: p.finetune(data=p.file("data.xlsx", b"PK")),
        "data.xlsx: nothing reads the format 'xlsx'.",
    ),
    "bytes of no known encoding": (
        lambda p: p.finetune(data=p.file("latin.csv", GOOD.encode() + "café à gogo,positive\n".encode("cp1252"))),
        "latin.csv, line 14: neither UTF-8 nor GB18030; state data.encoding",
    ),
    "data check: an unknown task": (
        lambda p: ["data", "check", "sentimant", p.good],
        "unknown task 'sentimant'. Did you mean 'sentiment'?",
    ),
    "data check: no such file": (
        lambda p: ["data", "check", "sentiment", p.folder / "no.csv"],
        "no.csv: there is no such file",
    ),
    # settings
    "an unknown key": (
        lambda p: p.finetune("training.learning_rat=1"),
        "command line: unknown key 'training.learning_rat'. Did you mean 'training.learning_rate'?",
    ),
    "an unknown key in a recipe": (
        lambda p: ["config", "check", p.file("r.yaml", "task: sentiment\ntrainning:\n  epochs: 1\n")],
        "r.yaml: unknown key 'trainning'. Did you mean 'training'?",
    ),
    "no key at all": (lambda p: p.finetune("zero2"), "command line: 'zero2': expected key=value"),
    "ZeRO stage 7": (lambda p: p.finetune("layout=zero7"), "ZeRO stage 7 does not exist; allowed: 0, 1, 2, 3"),
    "ZeRO 2 in a pipeline": (lambda p: p.finetune("layout=pipe2+zero2"), "use pipe2+zero1"),
    "a pipeline on one process": (
        lambda p: p.finetune("layout=pipe2+zero1"),
        "layout 'pipe2+zero1' needs a multiple of 2 processes, but this run has 1: add --processes 2",
    ),
    "three stages on two processes": (
        lambda p: p.finetune("layout=pipe3+zero1", "--processes", "2"),
        "layout 'pipe3+zero1' needs a multiple of 3 processes, not 2",
    ),
    "a machine that is not there": (
        lambda p: p.finetune("layout=zero1", "--nodes", "2", "--node-rank", "2", "--master", "first:29500"),
        "--node-rank 2: with --nodes 2 it is 0 to 1",
    ),
    "machines without an address": (
        lambda p: p.finetune("layout=zero1", "--nodes", "2"),
        "--nodes needs --master HOST:PORT, the same on every machine: the first one, and a free port",
    ),
    "an address without machines": (
        lambda p: p.finetune("layout=zero1", "--master", "first:29500"),
        "--node-rank and --master are for runs on several machines: say --nodes too",
    ),
    "two processes for a single one": (
        lambda p: p.finetune("--processes", "2"),
        "layout 'single' is one process, but --processes says 2: say layout=zero1, zero2 or zero3",
    ),
    "an unknown task": (
        lambda p: ["finetune", p.file("t.yaml", "task: sentimant\ndata: {train: good.csv}\n"), "output=out"],
        "unknown task 'sentimant'. Did you mean 'sentiment'?",
    ),
    "an unknown recipe": (
        lambda p: p.finetune(task="sentment"),
        "unknown recipe 'sentment'. Did you mean 'sentiment'?",
    ),
    "an unknown backbone": (
        lambda p: p.finetune("backbone=minilmm"),
        (
            "backbone 'minilmm' is no registered name, no folder, and could not be read from the hub: "
            "the hub is off (HF_HUB_OFFLINE). Did you mean 'minilm'?"
        ),
    ),
    "a backbone folder without a model": (
        lambda p: p.finetune(f"backbone={p.folder}"),
        "holds no config.json: expected a Hugging Face model folder or a run folder",
    ),
    "an unknown head": (
        lambda p: p.finetune("head=pooling"),
        "task 'sentiment' has no head 'pooling'. Did you mean 'pooled'? Available: default, pooled.",
    ),
    "an unknown option": (
        lambda p: p.finetune("options.multilabel=true", task="classification"),
        "options.multilabel: task 'classification' has no such option. Did you mean 'multi_label'?",
    ),
    "a wrong word for an option": (
        lambda p: p.finetune("options.class_weights=foo"),
        "options.class_weights: expected 'balanced', or a valid dictionary; found 'foo'",
    ),
    "a weight for a label that is not there": (
        lambda p: p.finetune("options.class_weights={positiv: 2}"),
        "options.class_weights: unknown label 'positiv'. Did you mean 'positive'?",
    ),
    "a threshold out of range": (
        lambda p: p.finetune("options.threshold=2", task="classification"),
        "options: threshold must lie between 0 and 1, not 2.0",
    ),
    "a window longer than the backbone reads": (
        lambda p: p.finetune("data.max_length=500"),
        "data.max_length: 500 is more than backbone ",
    ),
    "a metric that is not there": (
        lambda p: p.finetune("training.metric=acuracy"),
        "training.metric: no value 'acuracy'. Did you mean 'accuracy'?",
    ),
    "nothing to train on": (
        lambda p: ["finetune", "sentiment", "output=out"],
        "data.train is missing: nothing to train on; say data.train=FILE",
    ),
    "a DeepSpeed JSON that contradicts": (
        lambda p: p.finetune(f"deepspeed={p.file('ds.json', json.dumps({'zero_optimization': {'stage': 3}}))}"),
        'deepspeed.zero_optimization.stage says 3, the run says 0: it is decided by layout; remove it or write "auto"',
    ),
    "a DeepSpeed JSON that is none": (
        lambda p: p.finetune(f"deepspeed={p.file('ds.json', '{')}"),
        "ds.json is no JSON",
    ),
    # runs
    "an output that holds a run": (
        lambda p: p.finetune(f"output={p.run}"),
        "holds a run already: --resume goes on with it, --overwrite starts anew, output=FOLDER leaves it alone",
    ),
    "an output that holds something else": (
        lambda p: p.finetune(f"output={p.folder}"),
        "exists and is no run folder: choose another one with output=FOLDER",
    ),
    "an output that is a file": (
        lambda p: p.finetune(f"output={p.good}"),
        "good.csv is a file: choose a folder with output=FOLDER",
    ),
    "an output below a file": (
        lambda p: p.finetune(f"output={p.good / 'run'}"),
        "good.csv is a file: choose a folder with output=FOLDER",
    ),
    "resuming what is not there": (lambda p: p.finetune("--resume"), "out holds no run to resume"),
    "resuming and overwriting": (
        lambda p: p.finetune("--resume", "--overwrite"),
        "--resume goes on with a run, --overwrite deletes it: say one of them",
    ),
    "a run that is not there": (
        lambda p: ["evaluate", "runs/nothing"],
        "there is no run folder 'runs/nothing'; expected a run folder, or a task with --model",
    ),
    "a folder that is no run": (lambda p: ["predict", p.folder, "--text", "a"], "is no run folder (no config.yaml)"),
    # evaluate
    "evaluate: the text instead of a file": (
        lambda p: p.evaluate(Path("this film is good")),
        "this film is good: there is no such file",
    ),
    "evaluate: a task without a model": (
        lambda p: ["evaluate", "sentiment", "--data", p.good],
        "'sentiment' is a task: say which model with --model, or give a run folder",
    ),
    "evaluate: a model without a task": (
        lambda p: ["evaluate", p.run, "--model", p.run, "--data", p.good],
        "unknown task ",
    ),
    "evaluate: a backbone without a head": (
        lambda p: ["evaluate", "sentiment", "--model", "minilm", "--data", p.good],
        "minilm holds no fine-tuned head for task 'sentiment' (BertModel): fine-tune it first",
    ),
    "evaluate: another task's model": (
        lambda p: ["evaluate", "classification", "--model", p.run, "--data", p.good],
        "was trained for task 'sentiment', not for 'classification'",
    ),
    "evaluate: no data": (
        lambda p: ["evaluate", "sentiment", "--model", p.run],
        "data.test is not set (no data is): say --data FILE",
    ),
    "evaluate: an unknown split": (
        lambda p: ["evaluate", p.run, "--split", "tests"],
        "unknown split 'tests'. Did you mean 'test'? Available: test, train, validation.",
    ),
    "evaluate: an unknown perturbation": (
        lambda p: ["evaluate", p.run, "--perturb", "typo"],
        "unknown perturbation 'typo'. Did you mean 'typos'?",
    ),
    # predict
    "predict: neither text nor input": (
        lambda p: p.predict(),
        "say what to predict for: either --text '...' (once or more) or --input FILE (- is standard input)",
    ),
    "predict: text and input": (
        lambda p: p.predict("--text", "good", "--input", p.good),
        "say what to predict for: either --text",
    ),
    "predict: an empty text": (lambda p: p.predict("--text", " "), "text, line 1: column 'text': is empty"),
    "predict: nothing on standard input": (
        lambda p: p.predict("--input", "-"),
        "stdin: no usable row: there are no rows",
    ),
    "predict: the text instead of a file": (
        lambda p: p.predict("--input", "this film is good"),
        "this film is good: there is no such file",
    ),
    "predict: into a folder that is not there": (
        lambda p: p.predict("--text", "good", "--output", p.folder / "no" / "out.jsonl"),
        "--output ",
    ),
    "predict: into a folder": (
        lambda p: p.predict("--text", "good", "--output", p.folder),
        ": is a directory; expected a file",
    ),
    "predict: into a file, from broken rows": (
        lambda p: p.predict("--input", p.file("in.jsonl", '{"text": 1}\n'), "--output", p.folder / "out.jsonl"),
        "in.jsonl, line 1: column 'text': expected a text, found int 1",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_clear_line(name, polyhead, places):
    mistake, expected = MISTAKES[name]
    command = mistake(places)
    before = snapshot(places)
    answer = polyhead(*command)
    assert answer.err.count("\n") == 1, answer.err
    assert answer.err.startswith("error: ")
    assert expected in answer.err
    assert answer.code == 2
    assert answer.out == ""
    assert snapshot(places) == before


def snapshot(places: Places) -> dict[Path, bytes]:
    """Return all files that a command could have changed, and the folders as empty ones."""
    found = [*places.folder.rglob("*"), *places.run.rglob("*")]
    return {path: path.read_bytes() if path.is_file() else b"" for path in found if "__pycache__" not in path.parts}


def test_a_mistake_leaves_the_run_that_was_to_be_overwritten(polyhead, places, run_copy):
    before = {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()}
    broken = places.file("broken.csv", GOOD + ",positive\n")
    answer = polyhead(*places.finetune(f"output={run_copy}", "--overwrite", data=broken))
    assert answer.code == 2
    assert {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["finetune"], "Missing argument"),
        (["finetune", "sentiment", "--procesess", "2"], "No such option"),
        (["finetune", "sentiment", "--processes", "0"], "greater than or equal to 1"),
        (["tasks", "shwo"], "No such command 'shwo'"),
    ],
)
def test_a_wrong_command_line_ends_with_2(polyhead, arguments, expected):
    answer = polyhead(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert expected in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030"])
def test_a_byte_order_mark_and_gb18030_are_no_mistakes(polyhead, places, encoding):
    rows = "text,label\n这部电影很好看,positive\n太无聊了,negative\n" * 1
    file = places.file("中文.csv", rows.encode(encoding))
    answer = polyhead(*places.evaluate(file, "--json"))
    assert (answer.code, answer.err) == (0, "")
    assert answer.json["examples"] == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030"])
def test_training_reads_a_byte_order_mark_and_gb18030(polyhead, places, encoding):
    rows = "评论,情感\n" + "".join(f"第{n}部电影,{'好坏'[n % 2]}\n" for n in range(12))
    file = places.file("中文.csv", rows.encode(encoding))
    answer = polyhead(*places.finetune("data.columns.text=评论", "data.columns.label=情感", "--json", data=file))
    assert answer.code == 0, answer.err
    assert answer.json["status"] == "completed"
    record = json.loads((places.folder / "out" / "model" / "polyhead.json").read_text(encoding="utf-8"))
    assert record["labels"] == ["坏", "好"]


@pytest.mark.parametrize("arguments", [["config", "check", "sentiment", "layout=zero7"], ["evaluate", "nothing"]])
def test_the_real_command_ends_so_too(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "polyhead.cli", *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
