"""The two sides of the fine-tuning benchmark, each in a process of its own: polyhead, and the Trainer of transformers.

    python benchmarks/finetune_workers.py polyhead '{"rows": FILE, ...}'
    python benchmarks/finetune_workers.py trainer '{"rows": FILE, "runs": [...], ...}'

Both measure from the first batch to the end of the last step; start-up, tokenising and saving are left out (the
seconds of the whole process are measured from outside). Both get the same rows, weights, optimizer, learning rate,
weight decay, clipping and seed, and no dropout.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import write_report

SEED = 42
LEARNING_RATE = 5e-5
WEIGHT_DECAY = 0.01
CLIPPING = 1.0


class Stopwatch:
    """Measure from the start of training to the end of the latest step."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def start(self) -> None:
        """Begin."""
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()

    def split(self) -> None:
        """Take the time so far."""
        self.wall, self.cpu = time.perf_counter() - self._wall, _cpu_seconds() - self._cpu


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# ── polyhead ──


def train_with_polyhead(job: dict[str, Any]) -> dict[str, Any]:
    """Fine-tune through polyhead's own road, as ``polyhead finetune classification`` does."""
    from polyhead.backbone.builtin import load_registry
    from polyhead.backbone.training.finetune import finetune
    from polyhead.configs.load import load_config
    from polyhead.registry import RunStart, StepEnd, hookimpl

    watch, losses, tokens = Stopwatch(), list[float](), list[int]()

    class Watcher:
        @hookimpl
        def polyhead_start_run(self, run: RunStart) -> None:
            del run
            watch.start()

        @hookimpl
        def polyhead_end_step(self, step: StepEnd) -> None:
            watch.split()
            losses.append(step.loss)
            tokens.append(step.tokens)

    registry = load_registry()
    with tempfile.TemporaryDirectory() as folder:
        config = load_config("classification", _overrides(job, Path(folder) / "run"), tasks=registry.tasks())
        with registry.observing(Watcher(), "benchmark"):
            finetune(config, registry)
    padded = _padded_by_polyhead(job, config.data.max_tokens)
    return {"cpu": watch.cpu, "wall": watch.wall, "losses": losses, "tokens": sum(tokens), "padded": padded}


def _overrides(job: dict[str, Any], output: Path) -> list[str]:
    settings = {
        "data.train": job["rows"],
        "data.validation_fraction": 0,
        "data.cache": "false",
        "training.epochs": 1,
        "training.batch_size": job["batch_size"],
        "training.learning_rate": LEARNING_RATE,
        "training.weight_decay": WEIGHT_DECAY,
        "training.gradient_clipping": CLIPPING,
        "training.schedule": "constant",
        "training.warmup": 0,
        "training.dropout": 0,
        "training.seed": SEED,
        "output": output,
    }
    if job.get("max_tokens"):
        settings["data.max_tokens"] = job["max_tokens"]
    return [f"{key}={value}" for key, value in settings.items()]


def _padded_by_polyhead(job: dict[str, Any], max_tokens: int) -> int:
    """Return the tokens that were computed, padding included."""
    import numpy as np

    from polyhead.backbone.data.batching import split_batch

    lengths = np.array([len(feature["input_ids"]) for feature in _features(job)[0]])
    micro_batches = [
        part for group in _plan(lengths, job) for part in split_batch(group, lengths, ranks=1, max_tokens=max_tokens)[0]
    ]
    return int(sum(len(part) * lengths[list(part)].max() for part in micro_batches))


def _plan(lengths: Any, job: dict[str, Any]) -> list[tuple[int, ...]]:
    from polyhead.backbone.data.batching import plan_epoch

    return list(plan_epoch(lengths, job["batch_size"], seed=SEED, epoch=0))


# ── transformers ──


def train_with_trainer(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Fine-tune with the Trainer, once for each of the job's arrangements."""
    import torch

    torch.set_num_threads(1)
    features, labels = _features(job)
    return [_one_trainer_run(job, arrangement, features, labels) for arrangement in job["runs"]]


def _one_trainer_run(
    job: dict[str, Any], arrangement: dict[str, Any], features: list[dict[str, Any]], labels: list[str]
) -> dict[str, Any]:
    import torch
    from mixed_rows import backbone_folder
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, TrainerCallback
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    watch, sizes = Stopwatch(), list[int]()

    class Watcher(TrainerCallback):  # type: ignore[misc] # ships no types
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            watch.start()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.split()

    pad = DataCollatorWithPadding(AutoTokenizer.from_pretrained(backbone_folder()))

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = pad(rows)
        sizes.append(batch["input_ids"].numel())
        return dict(batch)

    torch.manual_seed(SEED)
    model = AutoModelForSequenceClassification.from_pretrained(
        backbone_folder(),
        num_labels=len(labels),
        dtype=torch.float32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(job, arrangement, model, features, collate, folder)
        # Otherwise it sums the means of the micro-batches, so that gradients grow with their number: BERT's
        # classifier takes the arguments for the right loss, and does not use them.
        trainer.model_accepts_loss_kwargs = False
        trainer.add_callback(Watcher())
        mean_loss = trainer.train().training_loss
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry] or [mean_loss]
    tokens = sum(len(feature["input_ids"]) for feature in features)
    return {"cpu": watch.cpu, "wall": watch.wall, "losses": losses, "tokens": tokens, "padded": sum(sizes)}


def _trainer(
    job: dict[str, Any], arrangement: dict[str, Any], model: Any, features: Any, collate: Any, folder: str
) -> Any:
    import numpy as np
    from torch.utils.data import DataLoader
    from transformers import Trainer, TrainingArguments

    micro, same_batches = arrangement["micro"], arrangement["strategy"] == "same-batches"
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=job["batch_size"] // micro,
        train_sampling_strategy="random" if same_batches else arrangement["strategy"],
        num_train_epochs=1,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=CLIPPING,
        optim="adamw_torch_fused",
        lr_scheduler_type="constant",
        seed=SEED,
        use_cpu=True,
        remove_unused_columns=False,
        average_tokens_across_devices=False,
        report_to=[],
        save_strategy="no",
        logging_strategy="steps" if same_batches else "no",
        logging_steps=1,
        disable_tqdm=True,
    )

    class OurOrder(Trainer):  # type: ignore[misc] # ships no types
        def get_train_dataloader(self) -> Any:
            lengths = np.array([len(feature["input_ids"]) for feature in features])
            batches = [list(group) for group in _plan(lengths, job)]
            return DataLoader(features, batch_sampler=batches, collate_fn=collate)

    kind = OurOrder if same_batches else Trainer
    return kind(model, arguments, train_dataset=features, data_collator=collate)


def _features(job: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return token ids with the label's index, and the labels in sorted order."""
    from mixed_rows import backbone_folder
    from transformers import AutoTokenizer

    rows = [json.loads(line) for line in Path(job["rows"]).read_text(encoding="utf-8").splitlines()]
    labels = sorted({row["label"] for row in rows})
    encoded = AutoTokenizer.from_pretrained(backbone_folder())([row["text"] for row in rows])
    columns = {name: encoded[name] for name in encoded}
    features = [
        {**{name: column[index] for name, column in columns.items()}, "labels": labels.index(row["label"])}
        for index, row in enumerate(rows)
    ]
    return features, labels


if __name__ == "__main__":
    side, job = sys.argv[1], json.loads(sys.argv[2])
    write_report({"polyhead": train_with_polyhead, "trainer": train_with_trainer}[side](job))
