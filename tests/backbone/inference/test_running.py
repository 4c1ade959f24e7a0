"""Predictions do not depend on how examples share batches, windows or ranks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from polyhead.backbone.inference.running import Inference, LoadedModel, Reader, run_inference
from polyhead.backbone.model.loading import find_backbone, load_with_head
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.parallel.engine import Spread
from polyhead.backbone.parallel.processes import World
from polyhead.backbone.training.encoding import collator_for, encode_settings, input_names
from polyhead.registry import TaskSetup, TextExample

TEXTS = ["good", "dull " * 70, "很好看", "a warm and funny film " * 3, "no", "这部电影太无聊了。" * 12, "ok then"]
LABELS = ("差", "好")


@dataclasses.dataclass
class Bench:
    """A small model and everything that runs it."""

    task: Any
    setup: TaskSetup
    model: LoadedModel
    settings: Any

    def collator(self, examples: Sequence[TextExample]) -> Any:
        return collator_for(self.task, self.settings, examples, self.model.stage.input_names, cache=False)

    def run(self, examples: Sequence[TextExample], max_tokens: int = 256, **more: Any) -> Inference:
        model, world = more.pop("model", self.model), more.pop("world", World())
        reader = Reader(self.task, self.settings, max_tokens)
        return run_inference(model, reader, self.collator(examples), examples, world, **more)


@pytest.fixture(scope="module")
def bench(tiny_bert: Any, registry: Any) -> Bench:
    task, backbone = registry.task("sentiment"), find_backbone(str(tiny_bert), registry)
    setup = task.setup_from_labels(LABELS, task.options())
    spec = task.heads["encoder"](setup)
    torch.manual_seed(1)
    model, head = load_with_head(backbone, spec, dropout=None)
    stage = Stage(model, head, spec, input_names(backbone, spec, task))
    return Bench(task, setup, LoadedModel(stage, World()), encode_settings(backbone, spec, setup, 24, 6))


@pytest.fixture(scope="module")
def examples() -> list[TextExample]:
    return [TextExample(str(n), text, labels=(LABELS[n % 2],)) for n, text in enumerate(TEXTS)]


def scores(found: Inference) -> np.ndarray:
    return np.array([list(prediction.scores.values()) for prediction in found.predictions])


def test_predictions_come_in_order_with_the_mean_loss(bench, examples):
    found = bench.run(examples)
    assert [prediction.id for prediction in found.predictions] == list("0123456")
    features = bench.collator(examples).features
    losses = []
    for index in range(len(features)):
        feature = features.feature(index)
        inputs = tuple(torch.tensor([feature.inputs[name]]) for name in bench.model.stage.input_names)
        with torch.inference_mode():
            logits_BL = bench.model.stage(inputs)[0]
        losses.append(torch.nn.functional.cross_entropy(logits_BL, torch.tensor(feature.labels["labels"])))
    assert found.loss == pytest.approx(float(sum(losses)) / len(losses), abs=1e-6)


@pytest.mark.parametrize("max_tokens", [1, 24, 50, 10_000])
def test_the_size_of_batches_changes_nothing(bench, examples, max_tokens):
    expected, found = bench.run(examples), bench.run(examples, max_tokens)
    np.testing.assert_allclose(scores(found), scores(expected), atol=1e-6)
    assert found.loss == pytest.approx(expected.loss, abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_company_changes_nothing(bench, examples, count):
    expected = scores(bench.run(examples))
    for start in range(0, len(examples), count):
        np.testing.assert_allclose(
            scores(bench.run(examples[start : start + count])), expected[start : start + count], atol=1e-6
        )


def test_examples_without_labels_have_no_loss(bench, examples):
    bare = [dataclasses.replace(example, labels=None) for example in examples]
    found = bench.run(bare)
    assert found.loss is None
    np.testing.assert_allclose(scores(found), scores(bench.run(examples)), atol=1e-6)


def test_nothing_gives_nothing(bench):
    assert bench.run([]) == Inference([], None, bench.setup)


def test_progress_counts_every_window_once(bench, examples):
    seen: list[int] = []
    bench.run(examples, max_tokens=24, progress=seen.append)
    assert sum(seen) == len(bench.collator(examples).features)


class Rank(World):
    """One rank among several that never run: it keeps what it would have sent to the others."""

    def max(self, value: int) -> int:
        return 9

    def gather(self, item: Any) -> list[Any]:
        return [item, *Rank.others]

    def sum(self, values: Sequence[float]) -> list[float]:
        return list(values)

    others: tuple[Any, ...] = ()


@pytest.mark.parametrize("ranks", [2, 3, 9])
def test_ranks_share_the_examples_and_bring_equally_many_batches(bench, examples, ranks, monkeypatch):
    """Run each rank by itself; ranks with less to do bring stand-ins, which leave no trace."""
    expected = scores(bench.run(examples))
    for rank in range(ranks):
        batches: list[int] = []

        class Counted:
            stage = bench.model.stage
            spread = Spread(rank, ranks, 0, 1)

            def forward(self, found: Sequence[Any], finish: Any) -> Any:
                batches.append(len(found))  # noqa: B023 - used within this turn of the loop
                return bench.model.forward(found, finish)

        rest = [(n, None) for n in range(len(examples)) if n % ranks != rank]
        monkeypatch.setattr(Rank, "others", (rest,))
        found = bench.run(examples, model=Counted(), world=Rank(rank, ranks))
        mine = [n for n in range(len(examples)) if n % ranks == rank]
        assert sum(batches) == 9
        assert [n for n, prediction in enumerate(found.predictions) if prediction is not None] == mine
        if mine:
            own = np.array([list(found.predictions[n].scores.values()) for n in mine])
            np.testing.assert_allclose(own, expected[mine], atol=1e-6)
