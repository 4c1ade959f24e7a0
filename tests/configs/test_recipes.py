"""The shipped recipes load, say how they are run, and stand beside the data they name, licence included."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from polyhead.configs.load import dump_config, list_recipes, load_config, recipe_path

SAMPLES = recipe_path("sentiment").parent.parent / "samples"


TASKS = ["classification", "generation", "ner", "qa", "sentiment", "similarity", "summarization", "translation"]
PRETRAIN = "pretrain-"
OBJECTIVES = {"masked-lm", "causal-lm", "span-corruption", "denoising"}
OF_TASKS = [name for name in list_recipes() if not name.startswith(PRETRAIN)]
OF_PRETRAINING = [name for name in list_recipes() if name.startswith(PRETRAIN)]


def test_each_task_has_a_recipe_for_your_own_data_and_ready_ones() -> None:
    assert [name for name in OF_TASKS if "-" not in name] == TASKS
    assert sorted({name.partition("-")[0] for name in OF_TASKS if "-" in name}) == TASKS


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_loads_and_is_named_after_its_task(name: str) -> None:
    config = load_config(name)
    if name in OF_PRETRAINING:
        assert config.task in OBJECTIVES
    else:
        assert name.split("-")[0] == config.task
    assert config.backbone.name in {"minilm", "smollm2-135m"}
    assert name == config.output.name


@pytest.mark.parametrize("name", OF_PRETRAINING)
def test_a_recipe_of_pretraining_streams_each_text_once_and_sees_no_test_data(name: str) -> None:
    config = load_config(name)
    assert config.data.stream
    assert config.data.unique
    assert config.data.test == ()
    for split, allowed in (("train", "train.jsonl"), ("validation", "validation.jsonl")):
        for path in getattr(config.data, split):
            assert path.name.removesuffix(".gz") == allowed
            assert path.is_file()


def test_chinese_is_the_larger_part_of_the_bilingual_texts() -> None:
    chinese = other = 0
    for path in load_config("pretrain-bilingual").data.train:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
        found = re.findall(r"[\u4e00-\u9fff]", text)
        chinese, other = chinese + len(found), other + len(text.split())
    assert chinese > 1.5 * other


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_begins_with_the_command_that_runs_it(name: str) -> None:
    header = recipe_path(name).read_text(encoding="utf-8").split("\ntask:")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    verb = "pretrain" if name in OF_PRETRAINING else "finetune"
    commands = re.findall(rf"^#   polyhead {verb} (.+)$", header, re.MULTILINE)
    assert commands
    for command in commands:
        recipe, *arguments = command.split()
        overrides = [argument for argument in arguments if "=" in argument]
        assert name == recipe
        load_config(recipe, overrides)


@pytest.mark.parametrize("name", [name for name in OF_TASKS if "-" in name])
def test_a_ready_recipe_names_data_that_are_there(name: str) -> None:
    config = load_config(name)
    for split in ("train", "validation", "test"):
        (path,) = getattr(config.data, split)
        assert path.name in {f"{split}.jsonl", f"{split}.jsonl.gz"}
        assert path.is_file()
    assert config == load_config(name, [f"data.train={config.data.train[0]}"])
    assert str(config.data.train[0]) in dump_config(config)


@pytest.mark.parametrize(
    ("name", "rows", "labels"),
    [
        ("rotten_tomatoes", {"train": 5000, "validation": 1000, "test": 1000}, 2),
        ("banking77", {"train": 5000, "validation": 995, "test": 1000}, 77),
    ],
)
def test_samples_hold_what_their_page_says(name: str, rows: dict[str, int], labels: int) -> None:
    folder = SAMPLES / name
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in page
    assert "Attribution 4.0 International" in (folder / "LICENSE").read_text(encoding="utf-8")
    for split, count in rows.items():
        read = read_jsonl(folder / f"{split}.jsonl")
        assert count == len(read)
        assert {("label", "text")} == {tuple(sorted(row)) for row in read}
        assert labels == len(Counter(row["label"] for row in read))
        assert f"| {split}.jsonl | {count} |" in page


def read_jsonl(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
