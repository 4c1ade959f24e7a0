"""Every task on every family of backbones: trained until the loss falls, evaluated, used for prediction.

Each cell is a run of the product's own functions on an untrained backbone of width 32 and a few rows that ship with
the project. A cell that a task does not have must say so itself; none is skipped.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from polyhead.backbone.evaluation.evaluate import Request as EvaluationRequest
from polyhead.backbone.evaluation.evaluate import evaluate
from polyhead.backbone.inference.predict import Request, predict
from polyhead.backbone.training.finetune import finetune
from polyhead.configs.schema import RunConfig
from polyhead.registry import Registry

SAMPLES = Path(__file__).parents[2] / "configs" / "samples"
RESULTS = Path(__file__).parents[2] / "build" / "matrix.json"
ROWS = 32
STEPS = 24

TASKS = (
    "classification",
    "generation",
    "ner",
    "qa",
    "sentiment",
    "similarity",
    "summarization",
    "translation",
)
BACKBONES = {"encoder": "bert", "decoder": "llama", "encoder-decoder": "t5"}
FURTHER = {  # where another architecture takes another way: heads of our own, absolute positions, other starts
    "ner": ("bart",),
    "qa": ("marian",),
    "classification": ("gpt2",),
    "generation": ("gpt2",),
    "translation": ("marian", "bart"),
}
CELLS = [
    pytest.param(task, backbone, id=f"{task}-{backbone}", marks=[pytest.mark.slow])
    for task in TASKS
    for backbone in (*BACKBONES.values(), *FURTHER.get(task, ()))
]


def rows_of(name: str, keep: Callable[[dict[str, Any]], bool] = lambda _: True) -> Iterator[dict[str, Any]]:
    """Yield the training rows of a sample that are wanted."""
    path = next(SAMPLES.glob(f"{name}/train.jsonl*"))
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        yield from (row for row in map(json.loads, file) if keep(row))


def short(column: str, most: int) -> Callable[[dict[str, Any]], bool]:
    return lambda row: len(row[column]) <= most


def of_labels(*labels: str) -> Callable[[dict[str, Any]], bool]:
    return lambda row: row["label"] in labels


def cut(rows: Iterator[dict[str, Any]], column: str, length: int) -> Iterator[dict[str, Any]]:
    """Yield rows whose text in a column is no longer than this."""
    return ({**row, column: row[column][:length]} for row in rows)


DATA: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "classification": lambda: rows_of("banking77", of_labels("card_arrival", "age_limit", "exchange_rate")),
    "generation": lambda: cut(rows_of("wikitext2"), "text", 100),
    "ner": lambda: rows_of("uner_en_ewt", lambda row: 3 <= len(row["tokens"]) <= 20),
    "qa": lambda: rows_of("squad2_subset", short("context", 420)),
    "sentiment": lambda: rows_of("rotten_tomatoes"),
    "similarity": lambda: rows_of("stsb_en"),
    "summarization": lambda: cut(rows_of("scitldr"), "document", 100),
    "translation": lambda: rows_of("tatoeba_en_zh"),
}
MORE_OPTIONS: dict[str, dict[str, Any]] = {
    "generation": {"max_new_tokens": 4},
    "summarization": {"max_new_tokens": 4},
    "translation": {"max_new_tokens": 4},
}
PREDICTION_KEYS = {
    "classification": {"label", "score", "scores"},
    "generation": {"text", "log_probability"},
    "ner": {"entities"},
    "qa": {"answer", "score", "no_answer_score", "n_best"},
    "sentiment": {"label", "score", "scores", "polarity"},
    "similarity": {"similarity"},
    "summarization": {"summary", "log_probability"},
    "translation": {"translation", "log_probability"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what gives the file with a task's rows."""
    folder = tmp_path_factory.mktemp("matrix")

    def file_of(task: str) -> Path:
        path = folder / f"{task}.jsonl"
        if not path.exists():
            rows = [row for _, row in zip(range(ROWS), DATA[task](), strict=False)]
            assert len(rows) == ROWS
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path

    return file_of


@pytest.fixture(scope="module")
def record() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Return what notes the result of a cell; a whole run of all cells leaves them for docs/generate_matrix.py."""
    results: list[Mapping[str, Any]] = []
    yield results.append
    if len(results) == len(CELLS):
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=2), encoding="utf-8")


@pytest.mark.parametrize(("task", "backbone"), CELLS)
def test_a_cell_learns_scores_and_predicts(
    task: str,
    backbone: str,
    data: Callable[[str], Path],
    tiny_backbones: dict[str, Path],
    registry: Registry,
    events: Any,
    record: Callable[[Mapping[str, Any]], None],
    tmp_path: Path,
) -> None:
    config = RunConfig.model_validate(
        {
            "task": task,
            "backbone": str(tiny_backbones[backbone]),
            "output": str(tmp_path / "run"),
            "data": {"train": str(data(task)), "validation": str(data(task)), "cache": False, "max_length": 128},
            "training": {"max_steps": STEPS, "learning_rate": 5e-3, "batch_size": ROWS, "dropout": 0.0},
            "options": MORE_OPTIONS.get(task, {}),
        }
    )
    result = finetune(config, registry)
    losses = [step["loss"] for step in events(config.output, "step")]
    assert losses[-1] < 0.9 * losses[0], losses
    assert result.evaluation is not None

    scores = evaluate(EvaluationRequest(str(config.output), config, "validation"), registry)
    assert scores is not None
    assert scores.examples == ROWS
    assert scores.headline in scores.values
    assert scores.baseline
    assert scores.values["loss"] == pytest.approx(result.evaluation.values["loss"], abs=1e-4)

    target = tmp_path / "predictions.jsonl"
    outcome = predict(Request(str(config.output), config, (), str(data(task)), str(target)), registry)
    found = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert outcome.predictions == len(found) == ROWS
    assert all(PREDICTION_KEYS[task] <= prediction.keys() for prediction in found)
    model = json.loads((config.output / "model" / "config.json").read_text(encoding="utf-8"))
    head = model["architectures"][0]
    own = (config.output / "model" / "polyhead_head.safetensors").is_file()
    record({"task": task, "backbone": backbone, "head": head, "own": own, "losses": [losses[0], losses[-1]]})


def test_the_matrix_is_whole(registry: Registry) -> None:
    """Eight tasks by three families, each cell with a head."""
    assert {name for name, entry in registry.tasks().items() if entry.plugin in TASKS} == set(TASKS)
    for name in TASKS:
        assert set(registry.task(name).heads) == set(BACKBONES), name
