"""What a whole model gives, family by family: the library's own answers, and those that it cannot give."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from polyhead.backbone.model.architectures import ARCHITECTURES
from polyhead.backbone.model.loading import quiet_transformers
from polyhead.backbone.model.stages import Stage
from polyhead.registry import PolyheadError

MakeStage = Callable[..., Stage]
InputsFor = Callable[[Stage], tuple[torch.Tensor, ...]]
DECODERS = sorted(name for name, found in ARCHITECTURES.items() if found.family == "decoder")
WITH_DECODER = sorted(name for name, found in ARCHITECTURES.items() if found.family == "encoder-decoder")


def differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two results are further apart than rounding explains; T5 without training gives large numbers."""
    return bool((one - other).abs().max() > 1e-6 * max(1.0, float(one.detach().abs().max())))


def library_inputs(stage: Stage, inputs: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
    """Return a batch as a user of plain ``transformers`` would write it."""
    given = dict(zip(stage.input_names, inputs, strict=True))
    return {name: tensor for name, tensor in given.items() if name != "token_type_ids"}


WRITERS = [
    (name, {"encoder": "masked", "decoder": "lm", "encoder-decoder": "pair"}[found.family])
    for name, found in ARCHITECTURES.items()
]


# ── every family ────────────────────────────────────────────────────────────────────────────────────────


def test_each_text_gets_the_answer_that_it_gets_alone(
    architecture: str, head_name: str, make_stage: MakeStage, inputs_for: InputsFor
) -> None:
    """Padding changes nothing, with whatever head."""
    stage = make_stage(architecture, head_name)
    inputs = inputs_for(stage)
    together = stage(inputs)
    for row, length in enumerate((12, 9, 5)):
        alone = stage(
            tuple(
                tensor[row : row + 1] if name == "decoder_input_ids" else tensor[row : row + 1, :length]
                for name, tensor in zip(stage.input_names, inputs, strict=True)
            )
        )
        for output, one in zip(together, alone, strict=True):
            per_token = one.ndim > 1 and one.shape[1] == length
            assert not differ(output[row, :length] if per_token else output[row], one[0])


@pytest.mark.parametrize(("architecture", "head_name"), WRITERS)
def test_words_at_some_places_are_those_of_all_places(
    architecture: str, head_name: str, make_stage: MakeStage, inputs_for: InputsFor
) -> None:
    stage = make_stage(architecture, head_name)
    inputs = inputs_for(stage)
    everywhere = stage(inputs)[0]
    places = torch.tensor([1, 2, everywhere.shape[0] * everywhere.shape[1] - 1])
    with stage.writing_at(places):
        found = stage(inputs)[0]
    assert found.shape == (1, 3, everywhere.shape[2])
    assert not differ(found[0], everywhere.flatten(0, 1)[places])
    found.square().sum().backward()
    gradients = {name: one.grad.clone() for name, one in stage.named_parameters() if one.grad is not None}
    stage.zero_grad()
    again = stage(inputs)[0]
    assert torch.equal(again, everywhere)
    again.flatten(0, 1)[places].square().sum().backward()
    for name, one in stage.named_parameters():
        assert (name in gradients) == (one.grad is not None)
        if one.grad is not None:
            assert not differ(gradients[name], one.grad), name


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "modernbert", *DECODERS, "t5", "mt5", "bart", "mbart"])
@pytest.mark.parametrize("head_name", ["sequence", "token", "span"])
def test_the_library_gives_the_same(
    architecture: str, head_name: str, make_stage: MakeStage, inputs_for: InputsFor
) -> None:
    """Unpadded, which is where ``transformers`` classifies texts with an encoder-decoder."""
    stage = make_stage(architecture, head_name)
    if stage.head is not None:
        assert (architecture, head_name) in {
            ("gemma3_text", "token"),
            ("gemma3_text", "span"),
            ("bart", "token"),
            ("mbart", "token"),
        }
        return
    inputs = tuple(tensor[:1] for tensor in inputs_for(stage))
    with torch.no_grad():
        result = stage.model(**library_inputs(stage, inputs))
        for output, tensor in zip(stage.spec.outputs, stage(inputs), strict=True):
            assert not differ(getattr(result, output.name), tensor)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "t5", "bart", "distilbert"])
def test_kinds_of_tokens_do_not_reach_a_model_that_knows_none(
    architecture: str, make_stage: MakeStage, inputs_for: InputsFor
) -> None:
    stage = make_stage(architecture, "token")
    ids, kinds, mask = inputs_for(stage)
    assert not differ(stage((ids, kinds, mask))[0], stage((ids, kinds + 3, mask))[0])


def test_kinds_of_tokens_reach_bert_and_the_encoder_of_a_pair(make_stage: MakeStage, inputs_for: InputsFor) -> None:
    for architecture, head in (("bert", "token"), ("encoder-decoder", "token"), ("encoder-decoder", "pair")):
        stage = make_stage(architecture, head)
        ids, kinds, mask, *rest = inputs_for(stage)
        kinds_of_two = (torch.arange(12) > 3).long().expand_as(kinds)
        assert differ(stage((ids, kinds, mask, *rest))[0], stage((ids, kinds_of_two, mask, *rest))[0])


# ── decoders ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("architecture", DECODERS)
def test_texts_packed_into_a_row_do_not_see_each_other(
    architecture: str, make_stage: MakeStage, inputs_for: InputsFor
) -> None:
    stage = make_stage(architecture, "lm", packed=True)
    ids, kinds, mask, positions = inputs_for(stage)
    packed = stage((ids, kinds, mask, positions))[0][0]
    for begin, end in ((0, 5), (5, 9), (9, 12)):
        own = torch.arange(end - begin)[None]
        alone = stage((ids[:1, begin:end], kinds[:1, begin:end], mask[:1, begin:end], own))[0][0]
        assert not differ(packed[begin:end], alone)
    unpacked = stage((ids, kinds, mask, torch.arange(12).expand(3, -1)))[0][0]
    assert differ(packed[5:9], unpacked[5:9])


@pytest.mark.parametrize("architecture", DECODERS)
def test_padding_behind_packed_texts_harms_nobody(
    architecture: str, make_stage: MakeStage, inputs_for: InputsFor
) -> None:
    stage = make_stage(architecture, "lm", packed=True)
    ids, kinds, mask, positions = inputs_for(stage)
    alone = stage((ids[2:, :5], kinds[2:, :5], mask[2:, :5], positions[2:, :5]))[0][0]
    assert not differ(stage((ids, kinds, mask, positions))[0][2, :5], alone)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("architecture", DECODERS)
def test_the_causal_mask_can_be_switched_off(
    architecture: str, padded: bool, make_stage: MakeStage, inputs_for: InputsFor, tmp_path: Path
) -> None:
    """In polyhead, and in plain transformers when the saved folder is loaded there."""
    row = slice(1, 2) if padded else slice(0, 1)
    last = 8 if padded else 11
    for causal in (True, False):
        stage = make_stage(architecture, "token", causal=causal)
        ids, kinds, mask = (tensor[row] for tensor in inputs_for(stage))
        other = ids.clone()
        other[0, last] = 37
        first = stage((ids, kinds, mask))[0][0, 0]
        assert differ(first, stage((other, kinds, mask))[0][0, 0]) is not causal

        with quiet_transformers():
            stage.library_config.save_pretrained(tmp_path)
            stage.model.save_pretrained(tmp_path)
            plain = transformers.AutoModel.from_pretrained(tmp_path).eval()
        for implementation in ("sdpa", "eager"):
            plain.set_attn_implementation(implementation)
            seen = [
                plain(input_ids=found, attention_mask=mask, use_cache=False).last_hidden_state[0, 0]
                for found in (ids, other)
            ]
            assert differ(*seen) is not causal


def test_packed_rows_need_a_causal_mask(make_stage: MakeStage) -> None:
    with pytest.raises(PolyheadError, match=r"^several texts in a row need a causal mask"):
        make_stage("llama", "token", causal=False, packed=True)


def test_a_decoder_classifies_by_the_last_real_token_not_by_the_pad_id(
    make_stage: MakeStage, inputs_for: InputsFor
) -> None:
    stage = make_stage("llama", "sequence")
    ids, kinds, mask = inputs_for(stage)
    ids = ids.clone()
    ids[2, 4] = 0  # a real token that is the pad token as well, as the end token is where it has to pad
    first = stage((ids, kinds, mask))[0]
    ids[2, 5:] = 33
    assert not differ(first, stage((ids, kinds, mask))[0])


# ── encoder-decoders ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("architecture", WITH_DECODER)
def test_sequence_to_sequence_is_what_the_library_gives(
    architecture: str, make_stage: MakeStage, inputs_for: InputsFor
) -> None:
    stage = make_stage(architecture, "pair")
    inputs = inputs_for(stage)
    with torch.no_grad():
        logits = stage(inputs)[0]
        expected = stage.model(**library_inputs(stage, inputs)).logits
    assert logits.shape == (3, 7, 60)
    assert not differ(expected, logits)


@pytest.mark.parametrize("architecture", ["t5", "mt5", "bart", "mbart"])
def test_texts_with_several_ends_are_classified_beside_others(
    architecture: str, make_stage: MakeStage, inputs_for: InputsFor
) -> None:
    """The library refuses such a batch; alone it takes each of them."""
    stage = make_stage(architecture, "sequence")
    ids, kinds, mask = inputs_for(stage)
    ids = ids.clone()
    ids[1, 3] = 2
    with pytest.raises(ValueError, match="same number of <eos> tokens"):
        stage.model(input_ids=ids, attention_mask=mask)
    logits = stage((ids, kinds, mask))[0]
    for row, length in enumerate((12, 9, 5)):
        expected = stage.model(input_ids=ids[row : row + 1, :length], attention_mask=mask[row : row + 1, :length])
        assert not differ(expected.logits[0], logits[row])


@pytest.mark.parametrize("architecture", WITH_DECODER)
def test_our_own_head_reads_the_encoder_and_the_decoder_is_gone(
    architecture: str, make_stage: MakeStage, inputs_for: InputsFor, saved: Callable[[str], Any]
) -> None:
    stage = make_stage(architecture, "pooled")
    assert not [name for name, _ in stage.named_parameters() if "decoder" in name.removeprefix("model.encoder.")]
    inputs = inputs_for(stage)
    encoder = copy.deepcopy(stage.model.get_encoder())
    states = encoder(input_ids=inputs[0], attention_mask=inputs[2]).last_hidden_state
    assert stage.head is not None
    assert not differ(stage.head(states, inputs[2])[0], stage(inputs)[0])


def test_a_table_of_sines_is_no_parameter(make_stage: MakeStage) -> None:
    stage = make_stage("marian", "pair")
    assert not [name for name in stage.state_dict() if "embed_positions" in name]
    table = stage.model.model.encoder.embed_positions.weight
    expected = torch.sin(torch.tensor(1.0))
    assert table[1, 0] == pytest.approx(float(expected))
