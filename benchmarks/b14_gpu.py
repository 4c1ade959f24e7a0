"""B14: training speed on one GPU in bfloat16, against the Trainer of transformers on the same rows.

    python benchmarks/b14_gpu.py                         all cases, three turns
    python benchmarks/b14_gpu.py bert-base --turns 5 --json figures.json

Both sides train in this one process, A B A B, and bring their own data road: rows are tokenised before the clock
starts, batches are made while it runs. Counted are real tokens a second from the end of step 10 on; what is compiled or
allocated at first lies before. The weights are random, of the usual shapes: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mixed_rows import backbone_folder

WARM = 10
"""Steps before the clock starts."""
RATE = 1e-5


@dataclass(frozen=True)
class Case:
    """A model, the lengths of its rows, and how many of them make a step."""

    task: str
    architecture: dict[str, Any]
    longest: int
    batch_size: int
    steps: int
    mixed: bool = False

    def lengths(self) -> list[int]:
        """Return the tokens of each row."""
        count, draw = self.batch_size * self.steps, random.Random(5)
        if not self.mixed:
            return [self.longest] * count
        return [min(self.longest, max(8, round(draw.lognormvariate(4.6, 0.7)))) for _ in range(count)]


def _bert(width: int, blocks: int) -> dict[str, Any]:
    sizes = {"hidden_size": width, "num_hidden_layers": blocks, "num_attention_heads": width // 64}
    return {"model_type": "bert", **sizes, "intermediate_size": 4 * width, "max_position_embeddings": 512}


GPT = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 2048}
CASES = {
    "bert-base": Case("classification", _bert(768, 12), 384, 64, 60),
    "bert-base, mixed": Case("classification", _bert(768, 12), 384, 64, 100, mixed=True),
    "bert-large": Case("classification", _bert(1024, 24), 384, 64, 40),
    "gpt-125m": Case("causal-lm", GPT, 2048, 16, 40),
}
Speed = Callable[[Case, Path], float]


class Clock:
    """Real tokens a second from the end of the warm steps to the end of the last one."""

    def __init__(self) -> None:
        self._tokens: list[int | torch.Tensor] = []
        self._times: dict[int, float] = {}

    def step(self, tokens: int | torch.Tensor) -> None:
        """Take note of a step; only every tenth time the GPU is waited for."""
        self._tokens.append(tokens)
        if len(self._tokens) % WARM == 0:
            self._times[len(self._tokens)] = _now()

    def speed(self) -> float:
        """Return tokens a second."""
        first, last = min(self._times), max(self._times)
        return float(sum(self._tokens[first:last])) / (self._times[last] - self._times[first])


def _now() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


# ── the two sides ──


def polyhead(case: Case, rows: Path) -> float:
    """Train through polyhead's own road."""
    from polyhead.backbone.builtin import load_registry
    from polyhead.backbone.training.finetune import finetune
    from polyhead.configs.load import load_config
    from polyhead.registry import StepEnd, hookimpl

    clock = Clock()

    class Watcher:
        @hookimpl
        def polyhead_end_step(self, step: StepEnd) -> None:
            clock.step(step.tokens)

    registry = load_registry()
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "backbone.name": str(backbone_folder()),
            "backbone.architecture": json.dumps(case.architecture),
            "data.train": rows,
            "data.validation_fraction": 0,
            "data.max_length": case.longest,
            "data.max_tokens": case.batch_size * case.longest,
            "training.epochs": 1,
            "training.batch_size": case.batch_size,
            "training.learning_rate": RATE,
            "training.precision": "bf16",
            "training.log_to": "[]",
            "training.checkpoint_every": 10**6,
            "output": Path(folder) / "run",
        }
        config = load_config(case.task, [f"{key}={value}" for key, value in settings.items()], tasks=registry.tasks())
        with registry.observing(Watcher(), "benchmark"):
            finetune(config, registry)
    return clock.speed()


def trainer_of(**arguments: Any) -> Speed:
    """Return what trains with the Trainer, with these arguments of its own."""

    def train(case: Case, rows: Path) -> float:
        from transformers import Trainer, TrainingArguments
        from transformers.utils import logging

        logging.set_verbosity_error()
        clock = Clock()

        class Watched(Trainer):  # type: ignore[misc] # ships no types
            def training_step(self, model: Any, inputs: dict[str, torch.Tensor], *more: Any) -> torch.Tensor:
                loss: torch.Tensor = super().training_step(model, inputs, *more)
                clock.step(inputs["input_ids"].ne(0).sum())
                return loss

        with tempfile.TemporaryDirectory() as folder:
            given = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=case.batch_size,
                num_train_epochs=1,
                learning_rate=RATE,
                bf16=True,
                lr_scheduler_type="constant",
                remove_unused_columns=False,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                **arguments,
            )
            Watched(_model(case), given, train_dataset=_features(case, rows), data_collator=_padded).train()
        return clock.speed()

    return train


def _model(case: Case) -> Any:
    import transformers

    keys = dict(case.architecture)
    config = transformers.AutoConfig.for_model(keys.pop("model_type"), vocab_size=30_522, num_labels=2, **keys)
    kind = transformers.AutoModelForCausalLM if case.task == "causal-lm" else None
    return (kind or transformers.AutoModelForSequenceClassification).from_config(config)


def _features(case: Case, rows: Path) -> list[dict[str, Any]]:
    from transformers import AutoTokenizer

    read = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    encoded = AutoTokenizer.from_pretrained(backbone_folder())([row["text"] for row in read])["input_ids"]
    if case.task == "causal-lm":
        return [{"input_ids": ids[: case.longest]} for ids in encoded]
    return [{"input_ids": ids, "label": int(row["label"] == "b")} for ids, row in zip(encoded, read, strict=True)]


def _padded(batch: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    longest = max(len(row["input_ids"]) for row in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    for line, row in enumerate(batch):
        ids[line, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
    mask = ids.ne(0).long()
    if "label" not in batch[0]:
        return {"input_ids": ids, "labels": ids.clone()}
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([row["label"] for row in batch])}


# ── the runs ──


def write_rows(case: Case, path: Path) -> Path:
    """Write rows of the case's lengths, made of words that are one token each."""
    vocabulary = (backbone_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    words = [word for word in vocabulary[2000:12_000] if word.isascii() and word.isalpha()]
    draw = random.Random(3)
    with path.open("w", encoding="utf-8") as file:
        for number, length in enumerate(case.lengths()):
            text = " ".join(draw.choices(words, k=length - 2))
            file.write(json.dumps({"text": text, "label": "ab"[number % 2]}) + "\n")
    return path


def sides_of(case: Case, *, compiled: bool) -> dict[str, Speed]:
    """Return who trains: polyhead, the Trainer as it comes, and the Trainer at its best."""
    workers = {"dataloader_num_workers": 4}
    best: dict[str, Any] = {"optim": "adamw_torch_fused", **workers}
    if case.mixed:
        best["train_sampling_strategy"] = "group_by_length"
    elif compiled:
        best["torch_compile"] = True
    return {"polyhead": polyhead, "Trainer": trainer_of(), "Trainer, best": trainer_of(**best)}


def main() -> None:
    """Measure what was asked for, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", help=f"which: {'; '.join(CASES)}; all where none is named")
    parser.add_argument("--turns", type=int, default=3, help="turns of each side (default 3)")
    parser.add_argument("--compile", action="store_true", help="compile the best Trainer's model (rows of one length)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement there")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.case if name not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}: {'; '.join(CASES)}")
    if not torch.cuda.is_available():
        sys.exit("this needs a CUDA GPU")
    found: dict[str, dict[str, list[float]]] = {}
    for name in arguments.case or CASES:
        case, speeds = CASES[name], dict[str, list[float]]()
        with tempfile.TemporaryDirectory() as folder:
            rows = write_rows(case, Path(folder) / "rows.jsonl")
            for _ in range(arguments.turns):
                for side, train in sides_of(case, compiled=arguments.compile).items():
                    speeds.setdefault(side, []).append(train(case, rows))
                    print(f"{name}: {side}: {speeds[side][-1]:,.0f} tokens/s", file=sys.stderr, flush=True)
        found[name] = speeds
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"{torch.cuda.get_device_name()}; torch {torch.__version__}; bf16; median of {arguments.turns} (least-most)")
    for name, speeds in found.items():
        for side, values in speeds.items():
            ratios = [ours / theirs for ours, theirs in zip(speeds["polyhead"], values, strict=True)]
            print(
                f"{name:18} {side:14} {statistics.median(values):10,.0f} tokens/s   polyhead is "
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) times as fast"
            )


if __name__ == "__main__":
    main()
