"""Models cut into stages: the parts together are the whole, for every architecture under every head."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from polyhead.backbone.model.cutting import block_count, cut_stage, holders_of_shared, plan_cuts
from polyhead.backbone.model.parts import Cut
from polyhead.backbone.model.stages import Stage
from polyhead.registry import BackboneError, HeadSpec, PolyheadError

MakeStage = Callable[..., Stage]
InputsFor = Callable[[Stage], tuple[torch.Tensor, ...]]


@cache
def cut_up(whole: Stage, stages: int) -> list[Stage]:
    """Return the stages of a copy of a whole model; each is cut from a model of its own, as on ranks of their own."""
    return [cut_stage(copy.deepcopy(whole), cut) for cut in plan_cuts(block_count(whole.model), stages)]


def run_parts(parts: list[Stage], tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Hand tensors from stage to stage as a pipeline does: cut off from their history, ready to take a gradient."""
    for part in parts:
        tensors = part(tensors)
    return tensors


def scalar(outputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return a number that depends on every output in its own way."""
    draw = torch.Generator().manual_seed(9)
    return sum((output * torch.randn(output.shape, generator=draw)).mean() for output in outputs)  # type: ignore[return-value]


def gradients(stages: list[Stage]) -> dict[str, torch.Tensor]:
    """Return gradients by the names of the checkpoint, summed over the stages that hold a parameter."""
    found: dict[str, torch.Tensor] = {}
    for stage in stages:
        for name, parameter in stage.named_parameters():
            assert parameter.grad is not None, name
            known = stage.library_name(name)
            found[known] = found[known] + parameter.grad if known in found else parameter.grad
    return found


def test_the_parts_together_are_the_whole(
    architecture: str, head_name: str, make_stage: MakeStage, inputs_for: InputsFor
) -> None:
    whole = make_stage(architecture, head_name)
    inputs = inputs_for(whole)
    expected = whole(inputs)
    blocks = block_count(whole.model)
    everything = [cut_up(whole, stages) for stages in sorted({2, min(3, blocks), blocks})]
    scalar(expected).backward()
    of_whole = gradients([whole])
    assert whole.shared_names() == set()
    for parts in everything:
        for part in parts:
            part.zero_grad()
        actual = run_parts(parts, inputs)
        for one, other in zip(expected, actual, strict=True):
            assert (one - other).abs().max() <= 1e-6
        scalar(actual).backward()
        of_parts = gradients(parts)
        assert of_whole.keys() == of_parts.keys()
        for name, gradient in of_whole.items():
            assert (gradient - of_parts[name]).abs().max() <= 1e-6 * max(1.0, float(gradient.abs().max())), name


def test_what_several_stages_hold_is_known(architecture: str, head_name: str, make_stage: MakeStage) -> None:
    whole = make_stage(architecture, head_name)
    blocks = block_count(whole.model)
    for stages in {2, blocks}:
        parts = cut_up(whole, stages)
        held = [{part.library_name(name) for name, _ in part.named_parameters()} for part in parts]
        for index, part in enumerate(parts):
            others = set[str]().union(*(names for at, names in enumerate(held) if at != index))
            assert held[index] & others == part.shared_names()
        several = set[str]().union(*(part.shared_names() for part in parts))
        assert several == set(holders_of_shared(whole.model, plan_cuts(blocks, stages)))


def test_dropout_falls_where_it_falls_in_the_whole(
    architecture: str, make_stage: MakeStage, inputs_for: InputsFor
) -> None:
    """The same seed drops the same states: no dropout acts twice or is lost between stages."""
    whole = make_stage(architecture, "sequence", dropout=0.2).train()
    inputs = inputs_for(whole)
    torch.manual_seed(1)
    expected = whole(inputs)
    torch.manual_seed(2)
    other = whole(inputs)
    assert not torch.equal(expected[0], other[0]) or architecture in {
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "gemma3_text",
    }
    for stages in (2, block_count(whole.model)):
        parts = [part.train() for part in cut_up(whole, stages)]
        torch.manual_seed(1)
        assert (expected[0] - run_parts(parts, inputs)[0]).abs().max() <= 1e-6


def test_names_are_those_of_the_checkpoint(
    architecture: str, head_name: str, make_stage: MakeStage, tmp_path: Path
) -> None:
    whole = make_stage(architecture, head_name)
    whole.model.save_pretrained(tmp_path)
    expected = set(load_file(tmp_path / "model.safetensors"))
    if whole.head is not None:
        expected |= {f"polyhead_head.{name}" for name, _ in whole.head.named_parameters()}
    for stages in (1, 2, block_count(whole.model)):
        parts = cut_up(whole, stages)
        names = [[part.library_name(name) for name in tensors_of(part)] for part in parts]
        assert expected == {name for part in names for name in part}
        assert all(len(part) == len(set(part)) for part in names)


def tensors_of(stage: Stage) -> list[str]:
    """Return the names of what a stage saves: parameters and persistent buffers."""
    kept = stage.state_dict().keys()
    parameters = [name for name, _ in stage.named_parameters()]
    return parameters + [name for name, _ in stage.named_buffers() if name in kept]


def test_each_stage_holds_its_own_blocks_only(architecture: str, make_stage: MakeStage) -> None:
    whole = make_stage(architecture, "sequence")
    every = sum(parameter.numel() for parameter in whole.parameters())
    parts = cut_up(whole, block_count(whole.model))
    held = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    shared = {
        part.library_name(name): parameter.numel()
        for part in parts
        for name, parameter in part.named_parameters()
        if part.library_name(name) in part.shared_names()
    }
    assert sum(held) <= every + (len(parts) - 1) * sum(shared.values())
    assert max(held) < every


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "llama", "gpt2", "gemma3_text"])
def test_the_states_that_travel_are_those_of_the_whole(
    architecture: str, make_stage: MakeStage, inputs_for: InputsFor
) -> None:
    whole = make_stage(architecture, "token")
    inputs = inputs_for(whole)
    arguments = {"input_ids": inputs[0], "attention_mask": inputs[2]}
    expected = whole.model(**arguments, output_hidden_states=True).hidden_states
    first, second, _ = cut_up(whole, 3)
    hidden, mask = first(inputs)
    assert torch.allclose(expected[2], hidden, atol=1e-6)  # 4 blocks on 3 stages: 2, 1, 1
    assert torch.allclose(expected[3], second((hidden, mask))[0], atol=1e-6)
    assert torch.equal(inputs[2], mask)


def test_the_mask_reaches_every_stage(architecture: str, make_stage: MakeStage, inputs_for: InputsFor) -> None:
    """What stands behind a text's end changes nothing; without the mask it would."""
    whole = make_stage(architecture, "token", causal=False)
    inputs = inputs_for(whole)
    ids = inputs[0].clone()
    ids[2, 8:] = 33
    for parts in (cut_up(whole, 2), cut_up(whole, block_count(whole.model))):
        expected = run_parts(parts, inputs)[0][2, :5]
        assert torch.allclose(expected, run_parts(parts, (ids, *inputs[1:]))[0][2, :5], atol=1e-6)
        hidden, mask = parts[0](inputs)
        blind = run_parts(parts[1:], (hidden, torch.ones_like(mask)))[0][2, :5]
        assert not torch.allclose(expected, blind, atol=1e-6)


@pytest.mark.parametrize("architecture", ["t5", "bart", "marian", "encoder-decoder"])
def test_what_travels_to_and_in_a_decoder(architecture: str, make_stage: MakeStage, inputs_for: InputsFor) -> None:
    whole = make_stage(architecture, "pair")
    inputs = inputs_for(whole)
    seen = inputs
    for part in cut_up(whole, block_count(whole.model))[:-1]:
        seen = part(seen)
        hidden, mask, last = seen
        assert hidden.requires_grad
        assert torch.equal(mask, inputs[2])
        assert mask.dtype == torch.int64
        if last.dtype == torch.int64:
            assert torch.equal(last, inputs[3])
            assert hidden.shape == (3, 12, 32)
        else:
            assert hidden.shape == (3, 7, 32)
            assert last.shape == (3, 12, 32)
            assert last.requires_grad


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2", "gemma3_text"])
def test_rows_of_several_texts_travel_with_their_positions(
    architecture: str, make_stage: MakeStage, inputs_for: InputsFor
) -> None:
    whole = make_stage(architecture, "lm", packed=True)
    inputs = inputs_for(whole)
    parts = cut_up(whole, 3)
    hidden, _, positions = parts[0](inputs)
    assert hidden.requires_grad
    assert torch.equal(positions, inputs[3])
    assert torch.allclose(whole(inputs)[0], run_parts(parts, inputs)[0], atol=1e-6)


def test_a_stage_keeps_the_config_of_the_whole_model(make_stage: MakeStage) -> None:
    part = cut_up(make_stage("modernbert", "sequence"), 2)[1]
    assert part.model.config.num_hidden_layers == 2
    assert part.library_config.num_hidden_layers == 4
    assert len(part.library_config.layer_types) == 4
    assert part.library_config.architectures == ["ModernBertForSequenceClassification"]


def test_blocks_are_shared_out_evenly() -> None:
    assert plan_cuts(5, 2) == [Cut(0, 3, 5, is_first=True, is_last=False), Cut(3, 5, 5, is_first=False, is_last=True)]
    assert [(cut.first_block, cut.end_block) for cut in plan_cuts(12, 5)] == [(0, 3), (3, 6), (6, 8), (8, 10), (10, 12)]


def test_more_stages_than_blocks_are_refused() -> None:
    with pytest.raises(PolyheadError, match=r"^layout asks for 7 pipeline stages, but the backbone has 6 blocks$"):
        plan_cuts(6, 7)


def test_an_architecture_that_nobody_described_is_refused() -> None:
    config = transformers.MPNetConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    spec: Any = HeadSpec(3)
    stage = Stage(transformers.MPNetModel(config), None, spec, ("input_ids", "attention_mask"))
    with pytest.raises(BackboneError, match=r"'mpnet' cannot be cut into pipeline stages yet; these can: bart, bert, "):
        block_count(stage.model)
