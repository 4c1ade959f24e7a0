"""What a run folder says of where its parts came from, and what is told when they are others."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from polyhead.backbone.builtin import load_registry
from polyhead.backbone.training.provenance import add_start, changes, provenance, read_starts, require_task, sources
from polyhead.configs.load import load_config
from polyhead.configs.schema import RunConfig
from polyhead.registry import Metric, Registry, RunError, Scores, Used, hookimpl


class More:
    """A plugin that adds a metric."""

    @hookimpl
    def polyhead_register_metrics(self, task):
        return [Metric("length", lambda predictions, examples, setup: Scores({}, "length"))]


@pytest.fixture
def config(reviews: Path) -> RunConfig:
    settings = [f"data.train={reviews / 'train.jsonl'}", f"data.test={reviews / 'absent.csv'}", "head=pooled"]
    return load_config("sentiment", settings, tasks=["sentiment"])


@pytest.fixture
def registry() -> Registry:
    from polyhead.backbone.data import readers
    from polyhead.backbone.model import named

    return Registry.load((readers, named, More()))


def test_everything_used_is_named_with_its_distribution_and_version(config: RunConfig, registry: Registry) -> None:
    found = provenance(config, registry, step=7)
    version = metadata.version("polyhead")

    assert (found["step"], found["polyhead"], found["plugin_api"]) == (7, version, 1)
    assert found["libraries"]["torch"] == metadata.version("torch")
    assert [(each["kind"], each["name"], each["plugin"], each["version"]) for each in found["used"]] == [
        ("task", "sentiment", "sentiment", version),
        ("head", "pooled", "sentiment", version),
        ("metric", "sentiment", "sentiment", version),
        ("metric", "length", "More", version),
        ("reader", "jsonl", "readers", version),
        ("backbone", "minilm", "named", version),
    ]


def test_starts_stand_one_below_the_other_and_equal_ones_once(
    config: RunConfig, registry: Registry, tmp_path: Path
) -> None:
    path, start = tmp_path / "provenance.json", provenance(config, registry)
    other = {**start, "polyhead": "9.9", "step": 20}

    for each in (start, {**start, "step": 10}, other):
        add_start(path, each)

    assert [(each["step"], each["polyhead"]) for each in read_starts(path)] == [(0, start["polyhead"]), (20, "9.9")]
    assert read_starts(tmp_path / "absent.json") == []
    assert sources(start) == [f"polyhead {metadata.version('polyhead')}"]


def test_another_version_is_told(config: RunConfig, registry: Registry) -> None:
    start = provenance(config, registry)
    older = [{**each, "version": "0.0.1"} if each["kind"] == "head" else each for each in start["used"]]

    assert changes([start], registry, config) == []
    assert changes([{**start, "used": older}], registry, config) == [
        f"head 'pooled': trained with polyhead 0.0.1, here polyhead {metadata.version('polyhead')}"
    ]


def test_a_run_whose_task_is_not_installed_names_what_to_install(tmp_path: Path, registry: Registry) -> None:
    used = {"kind": "task", "name": "toxicity", "plugin": "toxicity", "distribution": "acme-nlp", "version": "2.1"}
    (tmp_path / "provenance.json").write_text(json.dumps({"starts": [{"step": 0, "used": [used]}]}))

    require_task(tmp_path, "sentiment", registry)
    with pytest.raises(RunError) as raised:
        require_task(tmp_path, "toxicity", registry)
    assert str(raised.value) == (
        f"{tmp_path} was trained with task 'toxicity' of acme-nlp 2.1, which is not here or does not work "
        "(polyhead plugins): pip install acme-nlp==2.1"
    )


def test_the_registry_says_whose_each_part_is(registry: Registry) -> None:
    used = registry.used("ner", "default", ["conll", "conll"], "a/folder")
    ours = load_registry().used("ner", "default", [], "minilm")

    assert [(each.kind, each.name) for each in used] == [
        ("task", "ner"),
        ("head", "default"),
        ("metric", "entities"),
        ("metric", "length"),
        ("reader", "conll"),
    ]
    assert ours[-1] == Used("backbone", "minilm", replace(ours[-1].origin, plugin="named"))
