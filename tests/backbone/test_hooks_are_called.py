"""Every hook has a caller in the product: an outside plugin implements all of them and is asked for all of them."""

from __future__ import annotations

import dataclasses
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from polyhead.backbone.builtin import load_registry
from polyhead.backbone.evaluation.evaluate import Request, evaluate
from polyhead.backbone.inference.predict import Request as PredictRequest
from polyhead.backbone.inference.predict import predict
from polyhead.backbone.training.finetune import finetune
from polyhead.backbone.training.run_folder import RunFolder
from polyhead.configs.load import load_config
from polyhead.registry import (
    Command,
    HeadSpec,
    Metric,
    NamedBackbone,
    NamedHead,
    Perturbation,
    PluginError,
    Reader,
    Registry,
    Scores,
    SourceRow,
    TaskSetup,
    TextExample,
    hookimpl,
    hooks,
)
from polyhead.registry.toolkit.single_label import pooled_head, single_label_task

MOODS = ("froh", "traurig", "平静")


class Outside:
    """All hooks of a plugin, how often each was called, and what they were told."""

    def __init__(self, backbone: Path) -> None:
        self.backbone = backbone
        self.asked: Counter[str] = Counter()
        self.told: dict[str, list[Any]] = defaultdict(list)
        self.used: Counter[str] = Counter()

    @hookimpl
    def polyhead_register_tasks(self):
        self.asked["polyhead_register_tasks"] += 1
        return [single_label_task("mood", "The mood of a text.")]

    @hookimpl
    def polyhead_register_backbones(self):
        self.asked["polyhead_register_backbones"] += 1
        return [NamedBackbone("house", "ours", "encoder", 1, "MIT", lambda: self.backbone)]

    @hookimpl
    def polyhead_register_commands(self):
        self.asked["polyhead_register_commands"] += 1
        return [Command("greet", "Say hello.", len)]

    @hookimpl
    def polyhead_register_readers(self):
        self.asked["polyhead_register_readers"] += 1
        return [Reader("rows", "a mood and a text a line", self._rows)]

    def _rows(self, path: Path, encoding: str | None) -> Iterator[SourceRow]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            mood, text = line.split(":", 1)
            self.used["reader"] += 1
            yield SourceRow(number, {"text": text, "label": mood})

    @hookimpl
    def polyhead_register_heads(self):
        self.asked["polyhead_register_heads"] += 1
        return [NamedHead("mine", "mood", "a pooled one", {"encoder": self._head})]

    def _head(self, setup: TaskSetup) -> HeadSpec:
        self.used["head"] += 1
        return pooled_head(setup)

    @hookimpl
    def polyhead_register_metrics(self, task):
        self.asked["polyhead_register_metrics"] += 1
        return [Metric("answers", self._count_answers)] if task == "mood" else []

    @staticmethod
    def _count_answers(predictions: Sequence[Any], examples: Sequence[Any], setup: TaskSetup) -> Scores:
        return Scores({"answers": float(len(predictions))}, "answers|1")

    @hookimpl
    def polyhead_register_perturbations(self, task):
        self.asked["polyhead_register_perturbations"] += 1
        return [Perturbation("shout", "upper case", self._shout)] if task == "mood" else []

    def _shout(self, example: TextExample, draw: random.Random) -> TextExample:
        self.used["perturbation"] += 1
        return dataclasses.replace(example, text=example.text.upper())

    @hookimpl
    def polyhead_start_run(self, run):
        self.asked["polyhead_start_run"] += 1
        self.told["start_run"].append(run)

    @hookimpl
    def polyhead_end_step(self, step):
        self.asked["polyhead_end_step"] += 1
        self.told["end_step"].append(step)

    @hookimpl
    def polyhead_end_evaluation(self, evaluation):
        self.asked["polyhead_end_evaluation"] += 1
        self.told["end_evaluation"].append(evaluation)

    @hookimpl
    def polyhead_end_run(self, run):
        self.asked["polyhead_end_run"] += 1
        self.told["end_run"].append(run)


@dataclasses.dataclass(frozen=True)
class Story:
    """What one plugin went through: a run, an evaluation, a prediction."""

    plugin: Outside
    registry: Registry
    folder: Path
    evaluation: Any
    answers: str


@pytest.fixture(scope="module")
def plugin(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """Install the plugin as a distribution of its own."""
    folder, module = tmp_path_factory.mktemp("outside"), ModuleType("mood_plugin")
    module.hooks = Outside(tiny_bert)  # type: ignore[attr-defined]
    info = folder / "mood_plugin-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mood-plugin\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text("[polyhead]\nmood = mood_plugin:hooks\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setitem(sys.modules, "mood_plugin", module)
        yield module.hooks


@pytest.fixture(scope="module")
def story(plugin: Outside, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Train for two steps, evaluate and predict by the functions that the commands call."""
    folder = tmp_path_factory.mktemp("story")
    for name, count in (("train", 24), ("test", 9)):
        lines = [f"{MOODS[n % 3]}:text number {n} 很好看" for n in range(count)]
        (folder / f"{name}.rows").write_text("\n".join(lines) + "\n", encoding="utf-8")
    registry = load_registry()
    settings = [
        "backbone=house",
        "head=mine",
        "training.max_steps=2",
        "training.evaluate_every=1",
        "training.log_to=[]",
    ]
    files = [f"data.train={folder / 'train.rows'}", f"data.test={folder / 'test.rows'}", f"output={folder / 'run'}"]
    config = load_config("mood", [*settings, *files], tasks=registry.tasks())
    finetune(config, registry)
    run = RunFolder(folder / "run")
    evaluation = evaluate(Request(str(run.root), config, perturbations=("shout",), run=run), registry)
    target = folder / "answers.jsonl"
    predict(PredictRequest(str(run.root), config, source=str(folder / "test.rows"), target=str(target)), registry)
    return Story(plugin, registry, run.root, evaluation, target.read_text(encoding="utf-8"))


def test_the_plugin_implements_every_hook(story):
    (listed,) = [plugin for plugin in story.registry.plugins() if plugin.name == "mood"]
    assert set(listed.hooks) == {hook.name for hook in hooks()}
    assert (listed.distribution, listed.version, listed.status) == ("mood-plugin", "0.3", "ok")


def test_every_hook_was_called(story):
    assert set(story.plugin.asked) == {hook.name for hook in hooks()}


def test_its_reader_its_head_and_its_backbone_did_the_work(story):
    assert story.plugin.used["reader"] >= 24 + 9
    assert story.plugin.used["head"] >= 2
    assert (story.folder / "model" / "polyhead_head.safetensors").is_file()
    assert story.answers.count("\n") == 9


def test_a_run_was_told_from_start_to_end(story):
    start = story.plugin.told["start_run"][0]
    assert (start.task, start.total_steps, start.first_step, start.rank, start.world_size) == ("mood", 2, 0, 0, 1)
    assert start.folder == story.folder
    assert start.config["backbone"]["name"] == "house"
    assert [step.step for step in story.plugin.told["end_step"][:2]] == [1, 2]
    assert all(step.loss > 0 and step.tokens > 0 for step in story.plugin.told["end_step"])
    end = story.plugin.told["end_run"][0]
    assert (end.status, end.step) == ("completed", 2)


def test_evaluations_were_told_in_and_outside_training(story):
    told = [(each.split, each.step, each.examples) for each in story.plugin.told["end_evaluation"]]
    assert told == [("validation", 1, 2), ("validation", 2, 2), ("test", None, 9)]
    assert story.plugin.told["end_evaluation"][0].best
    assert story.plugin.told["end_evaluation"][-1].values == story.evaluation.values


def test_its_metric_stands_beside_the_tasks_own(story):
    assert story.evaluation.values["answers"] == 9.0
    assert "accuracy" in story.evaluation.values
    assert story.evaluation.signature.endswith(" answers|1")


def test_its_perturbation_was_applied_to_every_example(story):
    assert story.plugin.used["perturbation"] == 9
    assert story.evaluation.perturbed["shout"]["answers"] == 9.0


def test_its_command_can_be_run(story):
    assert story.registry.commands()["greet"].run(["a", "b"]) == 2


class Broken:
    """An observer that fails."""

    @hookimpl
    def polyhead_end_step(self, step):
        raise KeyError("oops")


def test_a_hook_that_fails_stops_the_run_by_name(story, tmp_path):
    config = load_config(str(story.folder / "config.yaml"), [f"output={tmp_path / 'run'}"])
    with story.registry.observing(Broken(), "mine"), pytest.raises(PluginError) as caught:
        finetune(config, story.registry)
    assert str(caught.value) == "plugin 'mine' of this process: polyhead_end_step failed: KeyError: 'oops'"
    assert story.plugin.told["end_run"][-1].status == "failed"
