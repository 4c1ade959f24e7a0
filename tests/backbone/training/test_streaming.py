"""Streamed texts: the same run as with all texts in memory, what is held out, and a model to go on from."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer

from polyhead.backbone.data import token_store
from polyhead.backbone.evaluation.evaluate import Request, evaluate
from polyhead.backbone.options import build_options
from polyhead.backbone.training import reading, streaming
from polyhead.backbone.training.finetune import finetune
from polyhead.backbone.training.reading import read_training_data
from polyhead.backbone.training.run_folder import RunFolder
from polyhead.backbone.training.streaming import stored_features
from polyhead.configs.schema import RunConfig
from polyhead.registry import DataError, EncodeSettings, Registry, RunError

Make = Callable[..., RunConfig]
Events = Callable[[Path, str], list[dict[str, Any]]]
TEXTS = [f"a film about the year {number}, and 电影 {number % 7}" for number in range(60)]
ARCHITECTURE = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}


def write_texts(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return what makes the settings of a small run from random weights; keywords are keys of a section."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    texts = write_texts(tmp_path / "texts.jsonl", TEXTS)

    def config_of(name: str, *, data: dict[str, Any], backbone: dict[str, Any] | None = None) -> RunConfig:
        return RunConfig.model_validate(
            {
                "task": "masked-lm",
                "backbone": {"architecture": ARCHITECTURE} if backbone is None else backbone,
                "output": str(tmp_path / name),
                "data": {"train": str(texts), "max_length": 24, "max_tokens": 128, "validation_fraction": 0, **data},
                "training": {"batch_size": 8, "max_steps": 4, "learning_rate": 2e-3, "log_to": []},
            }
        )

    return config_of


def losses(run: Path, events: Events) -> list[float]:
    return [step["loss"] for step in events(run, "step")]


def test_a_streamed_run_has_the_losses_of_one_in_memory(
    make: Make, registry: Registry, events: Events, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bert: Path
) -> None:
    monkeypatch.setattr(token_store, "ENCODE_AT_ONCE", 7)
    backbone = {"name": str(tiny_bert), "new_tokens": "characters"}
    for name, stream in (("memory", False), ("stream", True), ("again", True)):
        if name == "again":  # nobody reads the texts a second time
            monkeypatch.setattr(streaming, "write_store", None)
        result = finetune(make(name, data={"stream": stream, "unique": True}, backbone=backbone), registry)
        assert result.status == "completed"
    assert (
        losses(tmp_path / "memory", events) == losses(tmp_path / "stream", events) == losses(tmp_path / "again", events)
    )
    assert "60 (0 rows skipped)" in (tmp_path / "stream" / "report.md").read_text(encoding="utf-8")
    resumed = finetune(make("memory", data={"stream": True, "unique": True}, backbone=backbone), registry, resume=True)
    assert resumed.steps == 4  # the same texts: a run may go on as a stream


def test_a_model_from_nothing_is_a_backbone_for_any_task(
    make: Make, registry: Registry, tmp_path: Path, reviews: Path
) -> None:
    finetune(make("base", data={"stream": True}), registry)
    config = RunConfig.model_validate(
        {
            "task": "sentiment",
            "backbone": str(tmp_path / "base"),
            "output": str(tmp_path / "sentiment"),
            "data": {"train": str(reviews / "train.jsonl"), "cache": False, "max_length": 24},
            "training": {"max_steps": 2, "log_to": []},
        }
    )
    assert finetune(config, registry).status == "completed"
    saved = json.loads((tmp_path / "sentiment" / "model" / "config.json").read_text(encoding="utf-8"))
    assert (saved["architectures"], saved["hidden_size"]) == (["BertForSequenceClassification"], 32)


def test_another_architecture_or_tokenizer_is_another_run(
    make: Make, registry: Registry, tmp_path: Path, tiny_bert: Path
) -> None:
    finetune(make("run", data={}), registry)
    wider = {"architecture": {**ARCHITECTURE, "intermediate_size": 128}}
    with pytest.raises(RunError, match=r"cannot resume .*backbone\.architecture \(was"):
        finetune(make("run", data={}, backbone=wider), registry, resume=True)
    other = {"architecture": ARCHITECTURE, "tokenizer": str(tiny_bert)}
    with pytest.raises(RunError, match=r"cannot resume .*backbone\.tokenizer \(was None"):
        finetune(make("run", data={}, backbone=other), registry, resume=True)


# ── what is read ────────────────────────────────────────────────────────────────────────────────────────


def read(config: RunConfig, registry: Registry) -> reading.TrainingData:
    task = registry.task(config.task)
    return read_training_data(config, registry, task, build_options(task, config.options))


def test_texts_are_held_out_by_what_they_say(make: Make, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make("run", data={"stream": True, "validation_fraction": 0.3})
    found = read(config, registry)
    held_out, train = ({example.text for example in part} for part in (found.held_out, found.train))
    assert held_out | train == set(TEXTS)
    assert not held_out & train
    assert 8 < len(held_out) < 30
    assert {example.text for example in read(config, registry).held_out} == held_out
    monkeypatch.setattr(reading, "MOST_HELD_OUT", 5)
    few = read(config, registry)
    assert [example.text for example in few.held_out] == [example.text for example in found.held_out][:5]
    assert len(list(few.train)) == len(TEXTS) - 5


def test_an_evaluation_reads_what_was_held_out(make: Make, registry: Registry, tmp_path: Path) -> None:
    config = make("run", data={"stream": True, "validation_fraction": 0.3})
    trained = finetune(config, registry).evaluation
    scored = evaluate(Request(str(tmp_path / "run"), config, "validation", run=RunFolder(tmp_path / "run")), registry)
    assert trained is not None
    assert scored is not None
    assert scored.examples == trained.examples == len(read(config, registry).held_out)
    assert scored.values["perplexity"] == pytest.approx(trained.values["perplexity"], rel=1e-5)


def test_a_text_that_comes_twice_is_used_once(make: Make, registry: Registry, tmp_path: Path) -> None:
    twice = [str(write_texts(tmp_path / f"{name}.jsonl", [*TEXTS, *TEXTS[:9]])) for name in ("one", "two")]
    for stream in (False, True):
        found = read(make("run", data={"train": twice, "stream": stream, "unique": True}), registry)
        assert [example.text for example in found.train] == TEXTS
        assert len(list(read(make("run", data={"train": twice, "stream": stream}), registry).train)) == 138


def test_a_task_sees_the_first_texts_only(make: Make, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SAMPLE", 10)
    found = read(make("run", data={"stream": True}), registry)
    assert [example.text for example in found.sample] == TEXTS[:10]


def test_only_objectives_of_pretraining_stream(make: Make, registry: Registry, reviews: Path) -> None:
    config = make("run", data={"stream": True}).model_copy(update={"task": "sentiment", "options": {}})
    with pytest.raises(RunError, match=r"data\.stream: task 'sentiment' needs all its examples at once"):
        read(config, registry)


def test_a_broken_row_of_a_stream_is_an_error_or_counted(make: Make, registry: Registry, tmp_path: Path) -> None:
    file = write_texts(tmp_path / "broken.jsonl", TEXTS)
    file.write_text(file.read_text(encoding="utf-8") + "{no json\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"broken\.jsonl, line 61: invalid JSON"):
        finetune(make("run", data={"train": str(file), "stream": True}), registry)
    assert not (tmp_path / "run").exists()
    finetune(make("run", data={"train": str(file), "stream": True, "on_error": "skip"}), registry)
    assert "60 (1 rows skipped)" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")


# ── several processes ───────────────────────────────────────────────────────────────────────────────────


class Meeting:
    """Lets threads stand for the processes of a run."""

    def __init__(self, size: int) -> None:
        self.barrier, self.box = threading.Barrier(size, timeout=60), [None]
        self.broadcasts = 0

    def world(self, rank: int, local_rank: int) -> Any:
        def broadcast(item: Any) -> Any:
            if rank == 0:
                self.box[0] = item
                self.broadcasts += 1
            self.barrier.wait()
            found = self.box[0]
            self.barrier.wait()
            return found

        meet = self.barrier.wait
        return SimpleNamespace(
            rank=rank, is_main=rank == 0, local_rank=local_rank, broadcast=broadcast, barrier=lambda: meet()
        )


def store_on_three(config: RunConfig, registry: Registry, tiny_bert: Path) -> tuple[list[Any], Meeting]:
    """Return what each of three processes gets, or the error that it sees."""
    task = registry.task(config.task)
    options = build_options(task, config.options)
    settings = EncodeSettings(AutoTokenizer.from_pretrained(tiny_bert), 24, 0, task.setup_from_labels((), options))
    meeting = Meeting(3)

    def one(rank: int) -> Any:
        data = read_training_data(config, registry, task, options)
        assert data.corpus is not None
        try:
            return stored_features(task, settings, data.corpus, meeting.world(rank, rank), lambda _: None)
        except DataError as error:
            return error

    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(one, range(3))), meeting


def test_one_process_writes_and_the_others_wait(
    make: Make, registry: Registry, monkeypatch: pytest.MonkeyPatch, tiny_bert: Path
) -> None:
    monkeypatch.setattr(token_store, "ENCODE_AT_ONCE", 10)
    monkeypatch.setattr(streaming, "BEAT_SECONDS", 0.0)
    writers = []
    write = streaming.write_store

    def watched(path: Path, *rest: Any) -> None:
        writers.append(path)
        write(path, *rest)

    monkeypatch.setattr(streaming, "write_store", watched)
    config = make("run", data={"stream": True})
    stores, meeting = store_on_three(config, registry, tiny_bert)
    assert [store.examples for store in stores] == [60, 60, 60]
    assert len(writers) == 1
    assert meeting.broadcasts == 6 + 1  # one a piece keeps the others waiting
    stores, meeting = store_on_three(config, registry, tiny_bert)
    assert len(writers) == 1


def test_every_process_hears_what_is_wrong(
    make: Make, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bert: Path
) -> None:
    monkeypatch.setattr(reading, "SAMPLE", 2)  # the rest is read by the process that writes
    file = tmp_path / "broken.jsonl"
    file.write_text('{"text": "a film"}\n' * 3 + "{no json\n", encoding="utf-8")
    errors, _ = store_on_three(make("run", data={"train": str(file), "stream": True}), registry, tiny_bert)
    assert all(isinstance(error, DataError) and "line 4: invalid JSON" in str(error) for error in errors)
