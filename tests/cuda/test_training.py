"""Training on a GPU gives what the CPU gives, for each family and layout that one GPU allows, and can be resumed."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Finished = subprocess.CompletedProcess[str]

SAMPLES = Path(__file__).parents[2] / "configs" / "samples"
CELLS = {  # task and sample, for each architecture
    "bert": ("sentiment", None),
    "llama": ("sentiment", None),
    "gpt2": ("generation", "wikitext2"),
    "t5": ("translation", "tatoeba_en_zh"),
    "bart": ("summarization", "scitldr"),
    "marian": ("translation", "tatoeba_en_zh"),
}
LAYOUTS = ("single", "zero1", "zero2", "zero3")
CLOSE = 2e-4
"""Relative; both sides compute in float32, in another order."""
ROUNDED = 0.03
"""Of the first loss; bfloat16 has three digits."""


@pytest.fixture(scope="session")
def given(tiny_backbones: dict[str, Path], short_run: list[str], tmp_path_factory: Any) -> dict[str, list[str]]:
    """Return task and settings by architecture."""
    folder = tmp_path_factory.mktemp("rows")
    found = {}
    for name, (task, sample) in CELLS.items():
        settings = [task, f"backbone={tiny_backbones[name]}", *short_run]
        if sample is not None:
            rows = folder / f"{sample}.jsonl"
            with gzip.open(SAMPLES / sample / "validation.jsonl.gz", "rt", encoding="utf-8") as file:
                rows.write_text("".join(list(file)[:40]), encoding="utf-8")
            settings += [f"data.train={rows}", f"data.validation={rows}"]
        found[name] = settings
    return found


@pytest.fixture(scope="session")
def on_cpu(
    given: dict[str, list[str]], polyhead: Callable[..., Finished], tmp_path_factory: Any
) -> Callable[[str], Path]:
    """Return what trains an architecture on the CPU, once, and gives its folder."""
    root = tmp_path_factory.mktemp("cpu")

    def train(name: str) -> Path:
        folder: Path = root / name
        if not folder.exists():
            polyhead("finetune", *given[name], f"output={folder}", on="cpu")
        return folder

    return train


@pytest.fixture
def both(
    given: dict[str, list[str]],
    on_cpu: Callable[[str], Path],
    polyhead: Callable[..., Finished],
    events: Any,
    tmp_path: Path,
) -> Callable[..., tuple[list[float], list[float]]]:
    """Return ``both(architecture, *settings)``: the losses with these settings on the GPU, and those of the CPU."""

    def losses(name: str, *settings: str) -> tuple[list[float], list[float]]:
        run = tmp_path / "run"
        polyhead("finetune", *given[name], *settings, f"output={run}")
        found, wanted = ([step["loss"] for step in events(folder, "step")] for folder in (run, on_cpu(name)))
        assert len(found) == len(wanted) == 12
        return found, wanted

    return losses


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CELLS)
def test_the_losses_are_those_of_the_cpu(
    name: str,
    layout: str,
    given: dict[str, list[str]],
    on_cpu: Callable[[str], Path],
    polyhead: Callable[..., Finished],
    tmp_path: Path,
    events: Any,
) -> None:
    run = tmp_path / "run"
    polyhead("finetune", *given[name], f"layout={layout}", f"output={run}")
    wanted, found = (events(folder, "step") for folder in (on_cpu(name), run))
    assert len(found) == 12
    assert [step["loss"] for step in found] == pytest.approx([step["loss"] for step in wanted], rel=CLOSE)
    assert found[0]["gradient_norm"] == pytest.approx(wanted[0]["gradient_norm"], rel=CLOSE)
    assert found[-1]["loss"] < found[0]["loss"]
    (ours,), (theirs,) = (events(folder, "evaluation") for folder in (run, on_cpu(name)))
    assert ours["values"]["loss"] == pytest.approx(theirs["values"]["loss"], rel=CLOSE)


@pytest.mark.parametrize("layout", ["single", "zero2", "zero3"])
def test_a_run_goes_on_where_it_was(
    layout: str, given: dict[str, list[str]], polyhead: Callable[..., Finished], tmp_path: Path, events: Any
) -> None:
    run = tmp_path / "run"
    common = [*given["bert"], f"output={run}", "training.keep_checkpoints=3"]
    polyhead("finetune", *common, f"layout={layout}")
    undisturbed = [step["loss"] for step in events(run, "step")]
    for path in (run / "checkpoints").glob("step-*12"):
        shutil.rmtree(path)
    polyhead("finetune", *common, f"layout={'zero1' if layout == 'single' else 'single'}", "--resume")
    again = [step["loss"] for step in events(run, "step")]
    assert again[-6:] == pytest.approx(undisturbed[6:], rel=CLOSE)


@pytest.mark.parametrize("layout", ["single", "zero2", "zero3"])
def test_bfloat16_comes_close(layout: str, both: Callable[..., tuple[list[float], list[float]]]) -> None:
    found, wanted = both("bert", f"layout={layout}", "training.precision=bf16")
    assert found == pytest.approx(wanted, abs=ROUNDED * wanted[0])


def test_float16_learns(
    given: dict[str, list[str]], polyhead: Callable[..., Finished], tmp_path: Path, events: Any
) -> None:
    run = tmp_path / "run"  # the loss is scaled, and steps whose gradients overflow are left out at first
    polyhead("finetune", *given["bert"], "training.precision=fp16", "training.max_steps=40", f"output={run}")
    losses = [step["loss"] for step in events(run, "step")]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("setting", ["data.workers=0", "data.workers=3", "training.activation_checkpointing=true"])
def test_what_changes_no_result(setting: str, both: Callable[..., tuple[list[float], list[float]]]) -> None:
    found, wanted = both("bert", setting)
    assert found == pytest.approx(wanted, rel=CLOSE)


def test_adapters_learn(
    given: dict[str, list[str]], polyhead: Callable[..., Finished], tmp_path: Path, events: Any
) -> None:
    run = tmp_path / "run"
    polyhead("finetune", *given["llama"], "backbone.lora.rank=4", f"output={run}")
    losses = [step["loss"] for step in events(run, "step")]
    assert losses[-1] < losses[0]


def test_more_processes_than_gpus_are_refused(
    given: dict[str, list[str]], polyhead: Callable[..., Finished], tmp_path: Path
) -> None:
    import torch

    many = torch.cuda.device_count() + 1
    common = [*given["bert"], "layout=zero1", f"output={tmp_path / 'run'}", "--processes", str(many)]
    said = polyhead("finetune", *common, code=2).stderr
    assert "has no GPU" in said
    assert "Traceback" not in said
