"""`polyhead verify` on every family in every layout, and on every task.

Not part of ``make test``: ``make verify`` runs it and prints the tables.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.proof

EVERY_LAYOUT = "zero1,zero2,zero3,pipe2,pipe2+zero1,pipe2+zero1@4"
SHORT = "zero3,pipe2"
TENSORS = "tp2,tp2+zero1"
MORE_MEMORY = "zero1+offload,zero2+offload,zero3+offload"
CHECKPOINTED = "training.activation_checkpointing=true"
CELLS: list[tuple[str, str, str, list[str]]] = [  # recipe, backbone, layouts, settings
    ("classification-banking77", "bert", EVERY_LAYOUT, []),
    ("generation-wikitext2", "llama", EVERY_LAYOUT, []),
    ("translation-tatoeba", "t5", EVERY_LAYOUT, []),
    ("sentiment-rotten-tomatoes", "bert", SHORT, []),
    ("ner-uner-ewt", "bert", SHORT, []),
    ("qa-squad2", "bert", SHORT, []),
    ("similarity-stsb", "bert", SHORT, []),
    ("summarization-scitldr", "bart", SHORT, []),
    ("generation-wikitext2", "gpt2", SHORT, []),
    ("translation-tatoeba", "marian", SHORT, []),
    ("qa-squad2", "llama", SHORT, []),
    ("ner-uner-ewt", "t5", SHORT, []),
    # what else a layout can be, and what else a model can have
    ("sentiment-rotten-tomatoes", "bert", f"{TENSORS},{MORE_MEMORY}", []),
    ("generation-wikitext2", "llama", TENSORS, []),
    ("translation-tatoeba", "bart", "tp2+zero1", []),
    ("translation-tatoeba", "bert", f"pipe2+zero1,{TENSORS}", []),
    ("ner-uner-ewt", "bert", "zero3,pipe2+zero1", ["backbone.lora.rank=4"]),
    ("qa-squad2", "bert", "zero3,pipe2+zero1", [CHECKPOINTED]),
    ("ner-uner-ewt", "bert", "pipe2+zero1", ["partition=[1,3]"]),
    ("pretrain-bilingual", "bert", "zero3,pipe2+zero1", ["backbone.new_tokens=null", "data.stream=false"]),
]
STEPS = 20
PATIENCE = 1800.0


@pytest.mark.parametrize(
    ("recipe", "backbone", "layouts", "more"), CELLS, ids=["-".join([*cell[:3], *cell[3]]) for cell in CELLS]
)
def test_split_training_equals_unsplit_training(
    recipe: str,
    backbone: str,
    layouts: str,
    more: list[str],
    tiny_backbones: dict[str, Path],
    environment: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = [
        f"backbone.name={tiny_backbones[backbone]}",
        "data.max_length=64",
        "data.stride=16",
        "training.batch_size=12",
        *more,
    ]
    if "lora" not in str(more):
        settings.append("backbone.lora=null")
    options = ["--layouts", layouts, "--steps", str(STEPS)]
    command = [sys.executable, "-m", "polyhead.cli", "verify", recipe, *settings, *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    with capsys.disabled():
        print(f"\n{recipe} on {backbone}\n{done.stdout}")  # noqa: T201 - the tables are what one looks at
    assert done.returncode == 0, done.stdout + done.stderr
