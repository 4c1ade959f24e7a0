"""Models cut into stages: the parts together are the whole, to the last bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from polyhead.backbone.model.architectures import ARCHITECTURES
from polyhead.backbone.model.stages import Cut, Stage, block_count, cut_stage, plan_cuts
from polyhead.registry import BackboneError, HeadSpec, PolyheadError
from polyhead.registry.toolkit.pooled_head import build_pooled_head

SMALL: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertConfig(**SMALL),
    "roberta": lambda: transformers.RobertaConfig(**SMALL, pad_token_id=1),
    "xlm-roberta": lambda: transformers.XLMRobertaConfig(**SMALL, pad_token_id=1),
    "camembert": lambda: transformers.CamembertConfig(**SMALL, pad_token_id=1),
    "electra": lambda: transformers.ElectraConfig(**SMALL, embedding_size=32),
    "electra-small": lambda: transformers.ElectraConfig(**SMALL, embedding_size=16),
    "distilbert": lambda: transformers.DistilBertConfig(
        vocab_size=60, dim=32, n_layers=5, n_heads=4, hidden_dim=48, max_position_embeddings=40
    ),
    "modernbert": lambda: transformers.ModernBertConfig(
        **SMALL,
        local_attention=4,
        layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        pad_token_id=0,
        bos_token_id=1,
        cls_token_id=1,
        eos_token_id=2,
        sep_token_id=2,
    ),
}
CLASSIFIER = HeadSpec(size=3, labels=("a", "b", "c"), auto_class="AutoModelForSequenceClassification")
POOLED = HeadSpec(size=3, labels=("a", "b", "c"), build=build_pooled_head)


def whole_stage(architecture: str, spec: HeadSpec) -> Stage:
    torch.manual_seed(3)
    config = CONFIGS[architecture]()
    config.num_labels = 3
    if spec.auto_class:
        model, head = transformers.AutoModelForSequenceClassification.from_config(config), None
    else:
        model, head = transformers.AutoModel.from_config(config), build_pooled_head(config, spec)
        pooler = ARCHITECTURES[config.model_type].pooler
        if pooler is not None:
            setattr(model, pooler, None)
    takes_types = config.model_type in {"bert", "roberta", "xlm-roberta", "camembert", "electra"}
    names = ("input_ids", "token_type_ids", "attention_mask") if takes_types else ("input_ids", "attention_mask")
    return Stage(model, head, spec, names).eval()


def inputs_for(stage: Stage) -> tuple[torch.Tensor, ...]:
    """Return a batch of three texts of 14, 9 and 5 tokens, padded."""
    draw = torch.Generator().manual_seed(5)
    mask = torch.tensor([[1] * length + [0] * (14 - length) for length in (14, 9, 5)])
    ids = torch.randint(5, 60, (3, 14), generator=draw) * mask
    if stage.model.config.model_type in {"roberta", "xlm-roberta", "camembert"}:
        ids = ids + (1 - mask)  # their pad
    return (ids, torch.zeros_like(ids), mask) if len(stage.input_names) == 3 else (ids, mask)


def cut_up(whole: Stage, stages: int) -> list[Stage]:
    cuts = plan_cuts(block_count(whole.model), stages)
    return [cut_stage(copy.deepcopy(whole), cut) for cut in cuts]


def run_parts(parts: list[Stage], tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    for part in parts:
        tensors = part(tensors)
    return tensors


@pytest.mark.parametrize("stages", [1, 2, 3, 5])
@pytest.mark.parametrize("spec", [CLASSIFIER, POOLED], ids=["library-head", "pooled-head"])
@pytest.mark.parametrize("architecture", sorted(CONFIGS))
def test_the_parts_together_are_the_whole(architecture: str, spec: HeadSpec, stages: int) -> None:
    whole = whole_stage(architecture, spec)
    parts = cut_up(whole, stages)
    inputs = inputs_for(whole)
    target = torch.tensor([0, 2, 1])

    expected, actual = whole(inputs), run_parts(parts, inputs)
    assert torch.equal(expected[0], actual[0])
    torch.nn.functional.cross_entropy(expected[0], target).backward()
    torch.nn.functional.cross_entropy(actual[0], target).backward()

    of_whole = {whole.library_name(name): p.grad for name, p in whole.named_parameters()}
    of_parts = {part.library_name(name): p.grad for part in parts for name, p in part.named_parameters()}
    assert of_whole.keys() == of_parts.keys()
    assert sum(len(list(part.parameters())) for part in parts) == len(of_whole)  # no parameter stands in two parts
    for name, gradient in of_whole.items():
        other = of_parts[name]
        assert (gradient is None) == (other is None), name
        if gradient is not None and other is not None:
            assert (gradient - other).abs().max() <= 1e-6, name


@pytest.mark.parametrize("architecture", sorted(CONFIGS))
def test_the_states_that_travel_are_those_of_the_whole(architecture: str) -> None:
    whole = whole_stage(architecture, CLASSIFIER)
    inputs = inputs_for(whole)
    arguments = dict(zip(whole.input_names, inputs, strict=True))
    expected = whole.model(**arguments, output_hidden_states=True).hidden_states
    first, second, _ = cut_up(whole, 3)
    hidden, mask = first(inputs)
    assert torch.equal(expected[2], hidden)  # 5 blocks on 3 stages: 2, 2, 1
    assert torch.equal(expected[4], second((hidden, mask))[0])
    assert torch.equal(inputs[-1], mask)


@pytest.mark.parametrize("architecture", sorted(CONFIGS))
def test_the_mask_reaches_every_stage(architecture: str) -> None:
    """What stands behind a text's end changes nothing; without the mask it would."""
    parts = cut_up(whole_stage(architecture, CLASSIFIER), 2)
    inputs = inputs_for(parts[0])
    ids = inputs[0].clone()
    ids[2, 8:] = 33
    assert torch.allclose(run_parts(parts, inputs)[0], run_parts(parts, (ids, *inputs[1:]))[0], atol=1e-6)
    hidden, mask = parts[0](inputs)
    blind = parts[1]((hidden, torch.ones_like(mask)))[0]
    assert not torch.allclose(run_parts(parts, inputs)[0], blind, atol=1e-6)


@pytest.mark.parametrize("spec", [CLASSIFIER, POOLED], ids=["library-head", "pooled-head"])
@pytest.mark.parametrize("architecture", sorted(CONFIGS))
def test_names_are_those_of_the_checkpoint(architecture: str, spec: HeadSpec, tmp_path: Path) -> None:
    whole = whole_stage(architecture, spec)
    whole.model.save_pretrained(tmp_path)
    expected = set(load_file(tmp_path / "model.safetensors"))
    if spec is POOLED:
        expected |= {"polyhead_head.linear.weight", "polyhead_head.linear.bias"}
    found = [part.library_name(name) for part in cut_up(whole, 3) for name, _ in part.named_parameters()]
    assert sorted(expected) == sorted(found)


def test_a_stage_keeps_the_config_of_the_whole_model() -> None:
    part = cut_up(whole_stage("modernbert", CLASSIFIER), 2)[1]
    assert part.model.config.num_hidden_layers == 2
    assert part.library_config.num_hidden_layers == 5
    assert len(part.library_config.layer_types) == 5
    assert part.library_config.architectures == ["ModernBertForSequenceClassification"]


def test_blocks_are_shared_out_evenly() -> None:
    assert plan_cuts(5, 2) == [Cut(0, 3, 5, is_first=True, is_last=False), Cut(3, 5, 5, is_first=False, is_last=True)]
    assert [(cut.first_block, cut.end_block) for cut in plan_cuts(12, 5)] == [(0, 3), (3, 6), (6, 8), (8, 10), (10, 12)]


def test_more_stages_than_blocks_are_refused() -> None:
    with pytest.raises(PolyheadError, match=r"^layout asks for 7 pipeline stages, but the backbone has 6 blocks$"):
        plan_cuts(6, 7)


def test_an_architecture_that_nobody_described_is_refused() -> None:
    config = transformers.MPNetConfig(**SMALL)
    stage = Stage(transformers.MPNetModel(config), None, POOLED, ("input_ids", "attention_mask"))
    with pytest.raises(BackboneError, match=r"'mpnet' cannot be cut into pipeline stages yet; these can: bert, "):
        block_count(stage.model)
