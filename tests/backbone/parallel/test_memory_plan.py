"""Predicted memory: formulas against counts by hand, saved bytes against a real forward pass, and no weights read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import safetensors
import torch

from polyhead.backbone.parallel import memory_plan
from polyhead.backbone.parallel.deepspeed_config import sized_for
from polyhead.backbone.parallel.memory_choice import advice, candidates, recommended
from polyhead.backbone.parallel.memory_counting import Activations, Parameters
from polyhead.backbone.parallel.memory_plan import Planner
from polyhead.backbone.parallel.memory_sketch import Sketch, StageSizes, Workload, longest_step
from polyhead.backbone.parallel.processes import World
from polyhead.backbone.training.preparation import prepare_run
from polyhead.configs.layouts import parse_layout
from polyhead.configs.load import load_config

MIB = 2**20
TRAINED = 60 * MIB
SIZES = StageSizes(
    Parameters(
        blocks=40 * MIB,
        embeddings=19 * MIB,
        head=MIB,
        trained=TRAINED,
        largest=19 * MIB,
        small=MIB,
        largest_block=10 * MIB,
        buffer_bytes=0,
    ),
    Activations(
        blocks=100 * MIB,
        embeddings=10 * MIB,
        head=20 * MIB,
        peak=150 * MIB,
        peak_with_gradients=170 * MIB,
        travelling=2 * MIB,
    ),
)
BUCKET = TRAINED // 16 + 2


class ThoughtUp:
    """A sketch of made-up sizes, the same for each stage."""

    blocks = 4

    def __init__(self, micro_batches: int) -> None:
        self.micro_batches = micro_batches

    def workload(self, data_size: int) -> Workload:
        return Workload((torch.zeros(4, 32),), self.micro_batches)

    def sizes(self, stages: int, data_size: int, *, checkpointing: bool, persistent: int) -> list[StageSizes]:
        return [SIZES] * stages


def planner(*overrides: str, micro_batches: int = 4, on_gpu: bool = True) -> Planner:
    config = load_config("classification", overrides)
    return Planner(config, ThoughtUp(micro_batches), libraries=7, on_gpu=on_gpu)  # type: ignore[arg-type]


def peak(layout: str, processes: int, *overrides: str, **settings: Any) -> memory_plan.Memory:
    return planner(*overrides, **settings).plan(parse_layout(layout), processes).peak


# ── formulas, in float32, N = 2, four micro-batches ──


def test_one_process_holds_weights_gradients_and_two_moments() -> None:
    found = _moments("zero0")[0]
    assert (found.weights, found.embeddings) == (160 * MIB, 76 * MIB)
    assert (found.gradients, found.optimizer) == (4 * TRAINED, 8 * TRAINED)
    assert found.head == 4 * MIB + 20 * MIB
    assert found.activations == 110 * MIB + (150 - 130) * MIB
    assert found.communication == 0
    assert found.tensors == found.total == 16 * TRAINED + 150 * MIB


def test_a_single_micro_batch_has_its_gradients_only_when_its_activations_are_gone() -> None:
    first, second, *_ = _moments("zero0", micro_batches=1)
    assert (first.gradients, first.activations + first.head) == (20 * MIB, 154 * MIB)
    assert second.tensors == 16 * TRAINED


@pytest.mark.parametrize("layout", ["single", "zero0"])
def test_without_zero_all_gradients_are_flattened(layout: str) -> None:
    found = peak(layout, 1 if layout == "single" else 2)
    assert found.total == 20 * TRAINED + 7
    assert (found.communication, found.framework) == (4 * TRAINED, 7)
    assert found.tensors == found.total - 7
    assert peak(layout, 2, "training.optimizer=sgd").tensors == 12 * TRAINED


def test_the_norm_takes_the_largest_gradient_in_float64() -> None:
    assert _moments("zero0")[-2].communication == 8 * 19 * MIB
    assert _moments("zero1")[-2].communication == 8 * 19 * MIB


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "optimizer", "buckets"),
    [
        (1, 4 * TRAINED, 4 * TRAINED, 12 * TRAINED // 2, 1),
        (2, 4 * TRAINED, 4 * TRAINED // 2, 12 * TRAINED // 2, 1),
    ],
)
def test_zero_divides_what_its_stage_says(
    stage: int, weights: int, gradients: int, optimizer: int, buckets: int
) -> None:
    first = _moments(f"zero{stage}")[0]
    assert first.weights + first.embeddings + 4 * MIB == weights
    assert (first.gradients, first.optimizer) == (gradients, optimizer)
    assert first.communication == buckets * 4 * BUCKET


def test_zero_3_divides_weights_too_and_gathers_the_largest_parameter() -> None:
    backward, _, step = _moments("zero3")
    assert backward.weights + backward.embeddings + 2 * MIB == 4 * TRAINED // 2 + 4 * MIB  # small ones stay whole
    assert (backward.gradients, backward.optimizer) == (2 * TRAINED, 8 * TRAINED // 2)
    assert backward.communication == 4 * 19 * MIB + 2 * 4 * BUCKET
    assert step.gradients == 2 * 2 * TRAINED


def test_16_bits_halve_weights_and_keep_float32_copies() -> None:
    found = peak("zero1", 2, "training.precision=bf16")
    assert found.weights + found.embeddings == 2 * 59 * MIB
    assert found.optimizer == 12 * TRAINED // 2
    assert found.gradients == 6 * TRAINED


def test_the_first_stages_of_a_pipeline_keep_more_micro_batches() -> None:
    first, last = (_moments("pipe2+zero1", in_flight=count)[0] for count in (2, 1))
    assert first.activations - last.activations == 110 * MIB
    assert first.head - last.head == 20 * MIB
    assert first.communication == 2 * last.communication == 2 * 2 * 2 * MIB
    assert planner().plan(parse_layout("pipe2+zero1"), 2).idle == pytest.approx(1 / 5)


def test_offloading_leaves_the_optimizer_to_the_host() -> None:
    plan = planner().plan(parse_layout("zero2+offload"), 2)
    assert plan.peak.optimizer == 0
    assert plan.host == 12 * TRAINED // 2 + 4 * TRAINED // 2


def test_a_heap_has_holes() -> None:
    assert peak("single", 1, on_gpu=False).framework == 7 + int(0.5 * (4 * TRAINED + 4 * TRAINED))


def _moments(layout: str, micro_batches: int = 4, in_flight: int = 1) -> list[memory_plan.Memory]:
    parsed, config = parse_layout(layout), load_config("classification", [f"layout={layout}"])
    work = ThoughtUp(micro_batches).workload(2)
    return memory_plan._Rank(config, parsed, SIZES, work, 2, in_flight=in_flight).moments()


# ── choosing ──


def test_the_layout_that_sends_least_of_those_that_fit_is_recommended() -> None:
    found = planner()
    plans = [found.plan(layout, count) for layout, count in candidates(found, 2)]
    totals = {plan.layout: plan.peak.total for plan in plans}
    assert set(totals) == {
        *("single", "zero0", "zero1", "zero2", "zero3", "pipe2+zero1"),
        *("zero1+offload", "zero2+offload", "zero3+offload"),
    }
    assert totals["zero3"] < totals["zero2"] < totals["zero1"] < totals["zero0"]
    assert recommended(plans, 10**12).layout == "zero0"  # type: ignore[union-attr]
    assert recommended(plans, totals["zero1"]).layout == "zero1"  # type: ignore[union-attr]
    kept = [plan for plan in plans if plan.layout != "pipe2+zero1"]
    assert recommended(kept, totals["zero3"]).layout == "zero3"  # type: ignore[union-attr]
    assert recommended(plans, 1) is None
    assert {"zero1+offload"} & {layout.name for layout, _ in candidates(planner(on_gpu=False), 2)} == set()


def test_where_nothing_fits_the_changes_are_named_with_what_they_would_give() -> None:
    found = planner()
    plans = [found.plan(layout, count) for layout, count in candidates(found, 2)]
    first, *rest = advice(found, plans, 100 * MIB)
    assert "needs least" in first
    assert any(line.startswith("training.activation_checkpointing=true: ") for line in rest)
    assert any(line.startswith("data.max_tokens=1024: about ") for line in rest)


def test_buckets_suit_the_model_and_the_users_own_hold() -> None:
    sized = sized_for({"zero_optimization": {"stage": 3, "reduce_bucket_size": 5}}, 80_000_000)["zero_optimization"]
    assert sized["reduce_bucket_size"] == 5
    assert sized["allgather_bucket_size"] == 5_000_002
    assert sized["stage3_max_live_parameters"] == sized["stage3_max_reuse_distance"] == 10_000_000
    assert sized_for({"zero_optimization": {"stage": 0}}, 80_000_000) == {"zero_optimization": {"stage": 0}}
    assert (
        sized_for({"zero_optimization": {"stage": 2}}, 10**12)["zero_optimization"]["reduce_bucket_size"] == 50_000_002
    )


# ── counting on a model without weights ──


@pytest.fixture
def settings(reviews: Any) -> Callable[..., list[str]]:
    def of(backbone: Any, *more: str) -> list[str]:
        return [
            f"backbone={backbone}",
            f"data.train={reviews / 'train.jsonl'}",
            "data.cache=false",
            "data.max_tokens=128",
            "training.batch_size=10",
            *more,
        ]

    return of


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_saved_bytes_are_those_of_a_real_forward_pass(registry, tiny_backbones, settings, name) -> None:
    config = load_config("sentiment", settings(tiny_backbones[name]))
    prepared = prepare_run(config, registry, World(), lambda _: None)
    batch = max(longest_step(prepared, config, 1, 0), key=lambda each: each.inputs[0].numel())
    stage = prepared.stage.train()
    there = {each.untyped_storage().data_ptr() for each in (*stage.parameters(), *stage.buffers(), *batch.inputs)}
    saved: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in there:
            saved.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = stage(batch.inputs)
    real = sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
    assert outputs[0].requires_grad

    sketch = Sketch(config, registry, lambda _: None)
    (counted,) = sketch.sizes(1, 1, checkpointing=False, persistent=0)
    of_loss = 2 * outputs[0].nbytes + 64  # log-probabilities, targets
    assert 0 <= counted.activations.saved - real <= of_loss
    assert counted.parameters.all == sum(parameter.numel() for parameter in stage.parameters())


def test_words_are_counted_where_they_are_computed(registry, tiny_backbones, tmp_path) -> None:
    rows = [{"prompt": "so long a prompt " * 10, "completion": " and an end"}] * 8
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    given = [
        f"backbone={tiny_backbones['gpt2']}",
        f"data.train={path}",
        "data.cache=false",
        "data.max_length=64",
        "training.batch_size=4",
    ]
    sketch = Sketch(load_config("generation", given, tasks=registry.tasks()), registry, lambda _: None)
    work = sketch.workload(1)
    places = len(work.labelled)
    assert 0 < places < work.rows * work.tokens / 3
    (whole,) = sketch.sizes(1, 1, checkpointing=False, persistent=0)
    *_, last = sketch.sizes(2, 1, checkpointing=False, persistent=0)
    bytes_of_all = work.rows * work.tokens * sketch.stage.model.config.vocab_size * 4
    assert last.activations.head > bytes_of_all  # a pipeline computes every one
    assert whole.activations.head < bytes_of_all / 2


def test_stages_share_out_what_the_whole_takes_and_checkpointing_keeps_less(registry, tiny_bert, settings) -> None:
    sketch = Sketch(load_config("sentiment", settings(tiny_bert)), registry, lambda _: None)
    (whole,) = sketch.sizes(1, 1, checkpointing=False, persistent=0)
    first, last = sketch.sizes(2, 1, checkpointing=False, persistent=0)
    assert first.parameters.all + last.parameters.all == whole.parameters.all
    assert (first.parameters.embeddings, last.parameters.embeddings) == (whole.parameters.embeddings, 0)
    assert first.parameters.blocks == last.parameters.blocks
    assert first.activations.travelling > 0 == last.activations.travelling
    together = first.activations.blocks + last.activations.blocks
    assert together == pytest.approx(whole.activations.blocks, rel=0.05)
    (less,) = sketch.sizes(1, 1, checkpointing=True, persistent=0)
    assert less.activations.blocks < whole.activations.blocks / 4
    assert less.activations.peak < whole.activations.peak


def test_no_weights_are_read(registry, tiny_bert, settings, monkeypatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        pytest.fail("weights were read")

    monkeypatch.setattr(safetensors, "safe_open", never)
    monkeypatch.setattr("transformers.modeling_utils.safe_open", never)
    sketch = Sketch(load_config("sentiment", settings(tiny_bert)), registry, lambda _: None)
    assert {parameter.device.type for parameter in sketch.stage.parameters()} == {"meta"}
    assert sketch.workload(1).micro_batches > 1 == sketch.workload(10).micro_batches


def test_without_data_full_windows_are_assumed(registry, tiny_bert) -> None:
    config = load_config("sentiment", [f"backbone={tiny_bert}", "data.max_tokens=512", "data.train=[]"])
    work = Sketch(config, registry, lambda _: None).workload(1)
    assert (work.rows, work.tokens, work.micro_batches) == (4, 128, 8)


def test_lora_has_gradients_and_moments_of_small_matrices_only(registry, tiny_bert, settings) -> None:
    config = load_config("sentiment", settings(tiny_bert, "backbone.lora.rank=2"))
    found = Planner(config, Sketch(config, registry, lambda _: None), libraries=0, on_gpu=True)
    peak = found.plan(parse_layout("single"), 1).peak
    assert peak.gradients < peak.weights / 5
    assert peak.optimizer == 2 * peak.gradients
