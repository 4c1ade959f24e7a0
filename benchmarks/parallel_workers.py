"""The sides of the benchmarks with several processes; each rank runs this file, started by ``ranks.py``.

    python benchmarks/ranks.py 2 benchmarks/parallel_workers.py polyhead '{"rows": FILE, "runs": [...], ...}'

A job's runs come one after the other in the same processes. What is told of a run: wall and CPU seconds of rank 0 for
each step but the first (which makes the optimizer's state), the losses, and the most resident memory so far.
All train MiniLM, or random weights of a given shape, with fused AdamW, clipping at 1 and no dropout.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from finetune_workers import CLIPPING, LEARNING_RATE, SEED, WEIGHT_DECAY
from measure import write_report


class Steps:
    """Takes the time of each step but the first."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self._last: tuple[float, float] | None = None

    def tick(self) -> None:
        """Note that a step has ended."""
        now = time.perf_counter(), time.process_time()
        if self._last is not None:
            self.wall.append(now[0] - self._last[0])
            self.cpu.append(now[1] - self._last[1])
        self._last = now

    def report(self, losses: list[float]) -> dict[str, Any]:
        """Return what is told of a run."""
        return {"wall": sum(self.wall), "cpu": sum(self.cpu), "losses": losses, "resident": resident()}


def resident() -> int:
    """Return the most resident memory that this process had, in bytes."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


# ── polyhead ──


def with_polyhead(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Train through polyhead's own road, once for each run's settings."""
    from polyhead.backbone.builtin import load_registry
    from polyhead.backbone.training.finetune import finetune
    from polyhead.configs.load import load_config
    from polyhead.registry import StepEnd, hookimpl

    registry, found = load_registry(), []
    port = int(os.environ.get("MASTER_PORT", "0"))
    for number, run in enumerate(job["runs"]):
        steps, losses = Steps(), list[float]()

        class Watcher:
            @hookimpl
            def polyhead_end_step(self, step: StepEnd, steps: Steps = steps, losses: list[float] = losses) -> None:
                steps.tick()
                losses.append(step.loss)

        if port:
            os.environ["MASTER_PORT"] = str(port + number)
        with tempfile.TemporaryDirectory() as folder:
            shared = job.get("output", folder)
            settings = [*_settings(job, run), f"output={Path(shared) / str(number)}"]
            config = load_config("classification", settings, tasks=registry.tasks())
            with registry.observing(Watcher(), "benchmark"):
                finetune(config, registry)
        found.append(steps.report(losses))
    return found


def _settings(job: dict[str, Any], run: dict[str, Any]) -> list[str]:
    settings = {
        "data.train": job["rows"],
        "data.validation_fraction": 0,
        "data.cache": "false",
        "training.epochs": 1,
        "training.learning_rate": LEARNING_RATE,
        "training.weight_decay": WEIGHT_DECAY,
        "training.gradient_clipping": CLIPPING,
        "training.schedule": "constant",
        "training.warmup": 0,
        "training.dropout": 0,
        "training.seed": SEED,
        "training.log_to": "[]",
        **run,
    }
    return [f"{key}={value}" for key, value in settings.items()]


# ── torch ──


def with_ddp(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Train in a plain loop with torch's DistributedDataParallel."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    torch.distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    model = DistributedDataParallel(_model(job))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    steps, losses = Steps(), list[float]()
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    for inputs, labels in _batches(job):
        mine = slice(rank, None, size)
        logits = model(**{name: tensor[mine] for name, tensor in inputs.items()}).logits
        loss = torch.nn.functional.cross_entropy(logits, labels[mine])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIPPING)
        optimizer.step()
        optimizer.zero_grad()
        steps.tick()
        losses.append(float(loss))
    torch.distributed.destroy_process_group()
    return [steps.report(losses)]


def with_torch_pipelining(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Train two stages with torch's own one-forward-one-backward schedule, once for each number of micro-batches."""
    import torch
    from torch.distributed.pipelining import PipelineStage, Schedule1F1B

    torch.distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    rank = torch.distributed.get_rank()
    part = _half_of(_model(job), rank)
    found = []
    for run in job["runs"]:
        optimizer = torch.optim.AdamW(part.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
        stage = PipelineStage(part, rank, 2, torch.device("cpu"))
        loss_of = torch.nn.functional.cross_entropy
        schedule = Schedule1F1B(stage, run["micro_batches"], loss_fn=loss_of)
        steps, told = Steps(), list[float]()
        for inputs, labels in _batches(run):
            losses: list[torch.Tensor] = []
            if rank == 0:
                schedule.step(inputs["input_ids"])
            else:
                schedule.step(target=labels, losses=losses)
            torch.nn.utils.clip_grad_norm_(part.parameters(), CLIPPING)
            optimizer.step()
            optimizer.zero_grad()
            torch.distributed.barrier()
            steps.tick()
            told.append(float(sum(losses) / len(losses)) if losses else 0.0)
        found.append(steps.report(told))
    torch.distributed.destroy_process_group()
    return found


def _half_of(model: Any, rank: int) -> Any:
    """Return the first or second half of a BERT classifier; all rows are equally long, so nothing is masked."""
    import torch

    class First(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = model.bert.embeddings
            self.blocks = torch.nn.ModuleList(list(model.bert.encoder.layer)[: len(model.bert.encoder.layer) // 2])

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            states: torch.Tensor = self.embeddings(input_ids=ids)
            for block in self.blocks:
                states = block(states)
            return states

    class Second(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = torch.nn.ModuleList(list(model.bert.encoder.layer)[len(model.bert.encoder.layer) // 2 :])
            self.pooler, self.classifier = model.bert.pooler, model.classifier

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            for block in self.blocks:
                states = block(states)
            logits: torch.Tensor = self.classifier(self.pooler(states))
            return logits

    return First() if rank == 0 else Second()


# ── transformers ──


def with_trainer(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Train with the Trainer of transformers and the DeepSpeed JSON of a run of polyhead."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # else it is compiled at first use
    torch.set_num_threads(1)
    steps = Steps()

    class Watcher(TrainerCallback):  # type: ignore[misc] # ships no types
        def on_step_end(self, *_: Any, **__: Any) -> None:
            steps.tick()

    rows = [
        {**{name: tensor[index] for name, tensor in inputs.items()}, "labels": labels[index]}
        for inputs, labels in _batches(job)
        for index in range(len(labels))
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=job["batch_size"] // 2,
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=CLIPPING,
            optim="adamw_torch_fused",
            lr_scheduler_type="constant",
            use_cpu=True,
            seed=SEED,
            average_tokens_across_devices=False,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            deepspeed=job["deepspeed"],
        )
        trainer = Trainer(_model(job), arguments, train_dataset=rows)
        trainer.add_callback(Watcher())
        mean = trainer.train().training_loss
    return [steps.report([mean])]


# ── what the peers share ──


def _model(job: dict[str, Any]) -> Any:
    import torch
    import transformers
    from mixed_rows import backbone_folder

    torch.manual_seed(SEED)
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_labels": 3}
    shape = job.get("architecture")
    if shape is None:
        return transformers.AutoModelForSequenceClassification.from_pretrained(
            backbone_folder(), dtype=torch.float32, **off
        ).train()
    kept = {key: value for key, value in shape.items() if key != "model_type"}
    config = transformers.AutoConfig.for_model(shape["model_type"], vocab_size=30_522, **kept, **off)
    return transformers.AutoModelForSequenceClassification.from_config(config).train()


def _batches(job: dict[str, Any]) -> list[tuple[dict[str, Any], Any]]:
    """Return global batches of equally long rows, in the order of the file."""
    import torch
    from mixed_rows import backbone_folder
    from transformers import AutoTokenizer

    rows = [json.loads(line) for line in Path(job["rows"]).read_text(encoding="utf-8").splitlines()]
    labels = sorted({row["label"] for row in rows})
    encoded = AutoTokenizer.from_pretrained(backbone_folder())([row["text"] for row in rows], return_tensors="pt")
    targets = torch.tensor([labels.index(row["label"]) for row in rows])
    starts = range(0, len(rows) - job["batch_size"] + 1, job["batch_size"])
    return [
        (
            {name: encoded[name][start : start + job["batch_size"]] for name in encoded},
            targets[start : start + job["batch_size"]],
        )
        for start in starts
    ]


SIDES = {"polyhead": with_polyhead, "ddp": with_ddp, "pipelining": with_torch_pipelining, "trainer": with_trainer}

if __name__ == "__main__":
    report = SIDES[sys.argv[1]](json.loads(sys.argv[2]))
    if _is_main():
        write_report(report)
