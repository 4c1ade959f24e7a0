"""Which models AutoTP divides, and what is said of the others."""

from __future__ import annotations

import pytest
import torch
import transformers

from polyhead.backbone.parallel.tensor_shares import is_divided, own_share, refuse_undivided, whole_tensor
from polyhead.registry import RunError


def test_an_architecture_that_was_not_tried_is_refused() -> None:
    with pytest.raises(RunError) as caught:
        refuse_undivided(transformers.GPT2Config(), "tp2", 2)
    assert str(caught.value) == (
        "layout 'tp2': nobody has shown that DeepSpeed's AutoTP divides architecture 'gpt2' rightly; it does bart, "
        "bert, camembert, llama, mistral, qwen2, qwen3, roberta, xlm-roberta. Use zero3, or a pipeline"
    )


def test_both_halves_of_a_pair_must_be_divided() -> None:
    half = transformers.BertConfig()
    pair = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(half, half)
    refuse_undivided(pair, "tp2", 2)
    with pytest.raises(RunError, match="num_attention_heads=12 cannot be divided by 5"):
        refuse_undivided(pair, "tp5", 5)


def test_shared_heads_of_attention_must_divide_too() -> None:
    config = transformers.LlamaConfig(num_attention_heads=8, num_key_value_heads=2)
    refuse_undivided(config, "tp2", 2)
    with pytest.raises(RunError, match="layout 'tp4': num_key_value_heads=2 cannot be divided by 4"):
        refuse_undivided(config, "tp4", 4)


def test_a_parameter_that_nobody_divided_is_whole() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    assert not is_divided(parameter)
    assert whole_tensor(parameter, parameter) is parameter
    assert own_share(parameter, parameter) is parameter
