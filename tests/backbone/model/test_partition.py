"""Where a pipeline is cut, and that a process reads the blocks of its stage and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from polyhead.backbone.model import partition
from polyhead.backbone.model.cutting import cut_stage, cuts_of
from polyhead.backbone.model.loading import find_backbone, load_with_head
from polyhead.backbone.model.partition import Partition, balanced, parameters_by_block, seconds_by_block, slowest
from polyhead.backbone.model.parts import Cut
from polyhead.backbone.model.stages import Stage
from polyhead.registry import HeadSpec, Registry, RunError

TOKENS = ("input_ids", "attention_mask")
CASES = [
    ("bert", "AutoModelForSequenceClassification"),
    ("bert", "AutoModelForMaskedLM"),
    ("llama", "AutoModelForCausalLM"),
    ("gpt2", "AutoModelForTokenClassification"),
    ("t5", "AutoModelForSeq2SeqLM"),
    ("t5", "AutoModelForTokenClassification"),
    ("bart", "AutoModelForSeq2SeqLM"),
    ("marian", "AutoModelForSeq2SeqLM"),
]


def names_of(auto_class: str) -> tuple[str, ...]:
    return (*TOKENS, "decoder_input_ids") if "Seq2Seq" in auto_class else TOKENS


def divide(wanted: Any, auto_class: str = CASES[0][1], *, stages: int = 2, stage: int = 0) -> Partition:
    spec = HeadSpec(size=3, auto_class=auto_class)
    return Partition(wanted, stages, stage, spec=spec, input_names=names_of(auto_class), agree=lambda cuts: cuts)


def load(folder: Path, auto_class: str, registry: Registry, choose: Partition | None = None) -> Any:
    torch.manual_seed(3)
    backbone = find_backbone(str(folder), registry)
    return load_with_head(backbone, HeadSpec(size=3, auto_class=auto_class), dropout=None, choose=choose)[0]


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize(("name", "auto_class"), CASES)
def test_a_stage_that_was_read_alone_is_the_stage_of_the_whole(
    name: str, auto_class: str, stage: int, tiny_backbones: dict[str, Path], registry: Registry
) -> None:
    """The same weights, those too that the checkpoint lacks and that are drawn."""
    choose = divide("parameters", auto_class, stage=stage)
    alone = load(tiny_backbones[name], auto_class, registry, choose)
    whole = load(tiny_backbones[name], auto_class, registry)
    assert type(alone) is type(whole)
    cut = choose(whole, bare=False)
    spec = HeadSpec(size=3, auto_class=auto_class)
    one, two = (cut_stage(Stage(model, None, spec, names_of(auto_class)), cut) for model in (alone, whole))
    expected = dict(two.named_parameters())
    assert dict(one.named_parameters()).keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in one.named_parameters())
    assert one.shared_names() == two.shared_names()


@pytest.mark.parametrize("name", ["bert", "bart"])
def test_blocks_of_other_stages_are_never_read(
    name: str, tiny_backbones: dict[str, Path], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import core_model_loading

    read: list[int] = []
    materialize = core_model_loading.spawn_materialize

    def watched(pool: Any, tensor: Any, *arguments: Any, **named: Any) -> Any:
        read.append(int(torch.tensor(tensor.get_shape()).prod()))
        return materialize(pool, tensor, *arguments, **named)

    monkeypatch.setattr(core_model_loading, "spawn_materialize", watched)
    load(tiny_backbones[name], "AutoModelForSequenceClassification", registry, divide("parameters"))
    everything = load_file(tiny_backbones[name] / "model.safetensors")
    blocks = sum(tensor.numel() for key, tensor in everything.items() if any(part.isdigit() for part in key.split(".")))
    others = sum(tensor.numel() for tensor in everything.values()) - blocks
    assert others < sum(read) < others + 0.7 * blocks


# ── dividing ────────────────────────────────────────────────────────────────────────────────────────────


def sizes(cuts: list[Cut]) -> list[int]:
    return [cut.end_block - cut.first_block for cut in cuts]


@pytest.mark.parametrize(
    ("costs", "stages", "expected"),
    [
        ([1, 1, 1, 1], 2, [2, 2]),
        ([1, 1, 1, 5], 2, [3, 1]),
        ([4, 1, 1, 1, 1], 2, [1, 4]),
        ([3, 1, 1, 1, 3], 3, [1, 3, 1]),
        ([1, 1, 1, 1, 1], 3, [2, 1, 2]),
        ([0, 0, 0, 0, 1, 1], 2, [5, 1]),
    ],
)
def test_the_slowest_stage_is_as_fast_as_can_be(costs: list[float], stages: int, expected: list[int]) -> None:
    found = balanced(costs, stages)
    assert max(sizes(found)) >= 1
    assert min(sizes(found)) >= 1
    assert slowest(found, costs) == slowest(cuts_of(expected), costs)


def test_a_heavy_head_moves_blocks_to_the_first_stage(tiny_backbones: dict[str, Path], registry: Registry) -> None:
    model = load(tiny_backbones["llama"], "AutoModelForCausalLM", registry)
    costs = [1.0, 1.0, 1.0, 3.0]  # the head goes with the last block
    assert sizes(balanced(costs, 2)) == [3, 1]
    assert sum(parameters_by_block(model)) >= sum(parameter.numel() for parameter in model.parameters())


def test_blocks_are_shared_out_by_the_time_that_they_take(
    tiny_backbones: dict[str, Path], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "seconds_by_block", lambda *_, **__: [1.0, 1.0, 1.0, 3.0])
    model = load(tiny_backbones["bert"], CASES[0][1], registry)
    assert sizes(divide("auto").cuts(model, bare=False)) == [3, 1]
    monkeypatch.setattr(partition, "seconds_by_block", lambda *_, **__: [1.0, 1.0, 1.0, 1.06])
    assert sizes(divide("auto").cuts(model, bare=False)) == [2, 2]  # not worth it


@pytest.mark.parametrize(("name", "auto_class"), [CASES[0], CASES[2], CASES[4], CASES[6]])
def test_timing_needs_no_weights_and_draws_nothing(
    name: str, auto_class: str, tiny_backbones: dict[str, Path], registry: Registry
) -> None:
    model = load(tiny_backbones[name], auto_class, registry)
    spec = HeadSpec(size=3, auto_class=auto_class)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    drawn = torch.random.get_rng_state()
    costs = seconds_by_block(model.to("meta"), spec, names_of(auto_class), bare=False)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert len(costs) == 4
    assert min(costs) > 0
    assert model.state_dict().keys() == before.keys()


def test_a_list_says_how_many_blocks_each_stage_has(tiny_backbones: dict[str, Path], registry: Registry) -> None:
    model = load(tiny_backbones["bert"], CASES[0][1], registry)
    assert sizes(divide((1, 3)).cuts(model, bare=False)) == [1, 3]
    with pytest.raises(
        RunError, match=r"partition: \[2, 3\] names 2 stages and 5 blocks; the layout has 2 stages, the"
    ):
        divide((2, 3)).cuts(model, bare=False)


def test_what_the_first_process_found_holds_for_all(tiny_backbones: dict[str, Path], registry: Registry) -> None:
    model = load(tiny_backbones["bert"], CASES[0][1], registry)
    told = cuts_of([1, 3])
    spec = HeadSpec(size=3, auto_class=CASES[0][1])
    found = Partition("parameters", 2, 1, spec=spec, input_names=TOKENS, agree=lambda _: told)
    assert found(model, bare=False) == told[1]
