"""Untrained models of every architecture, of width 32 and with 4 or 5 blocks, under every head that there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from polyhead.backbone.model.architectures import ARCHITECTURES, family_of
from polyhead.backbone.model.stages import Stage
from polyhead.registry import HeadSpec, Output
from polyhead.registry.toolkit.pooled_head import build_pooled_head

LABELS = ("a", "b", "c")
VOCABULARY = 60
BLOCKS: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "initializer_range": 0.15,
}
# 0 pads, 1 begins, 2 ends
IDS: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SMALL: dict[str, Any] = {**IDS, **BLOCKS}
STACKS: dict[str, Any] = {
    **IDS,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 40,
    "init_std": 0.15,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}
T5: dict[str, Any] = {
    **IDS,
    "d_model": 32,
    "d_ff": 48,
    "d_kv": 8,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "decoder_start_token_id": 0,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
}
LOCAL = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
GROUPED: dict[str, Any] = {**SMALL, "num_key_value_heads": 2}


def _pair() -> Any:
    half = transformers.BertConfig(**SMALL)
    decoder = transformers.BertConfig(**{**SMALL, "num_hidden_layers": 2}, is_decoder=True, add_cross_attention=True)
    return transformers.EncoderDecoderConfig(
        encoder=half.to_dict(), decoder=decoder.to_dict(), decoder_start_token_id=1, pad_token_id=0
    )


CONFIGS: dict[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertConfig(**SMALL),
    "roberta": lambda: transformers.RobertaConfig(**SMALL),
    "xlm-roberta": lambda: transformers.XLMRobertaConfig(**SMALL),
    "camembert": lambda: transformers.CamembertConfig(**SMALL),
    "electra": lambda: transformers.ElectraConfig(**SMALL, embedding_size=32),
    "electra-small": lambda: transformers.ElectraConfig(**SMALL, embedding_size=16),
    "distilbert": lambda: transformers.DistilBertConfig(
        **IDS, dim=32, n_layers=4, n_heads=4, hidden_dim=48, max_position_embeddings=40
    ),
    "deberta-v2": lambda: transformers.DebertaV2Config(
        **SMALL,
        relative_attention=True,
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
        conv_kernel_size=3,
        conv_act="gelu",
    ),
    "modernbert": lambda: transformers.ModernBertConfig(
        **{**SMALL, "initializer_range": 0.02}, local_attention=4, layer_types=LOCAL, cls_token_id=1, sep_token_id=2
    ),
    "gpt2": lambda: transformers.GPT2Config(
        **IDS, n_embd=32, n_layer=4, n_head=4, n_positions=40, initializer_range=0.15
    ),
    "llama": lambda: transformers.LlamaConfig(**GROUPED),
    "mistral": lambda: transformers.MistralConfig(**GROUPED, sliding_window=4),
    "qwen2": lambda: transformers.Qwen2Config(
        **GROUPED, use_sliding_window=True, sliding_window=4, layer_types=LOCAL, tie_word_embeddings=True
    ),
    "qwen3": lambda: transformers.Qwen3Config(**GROUPED, head_dim=8),
    "gemma3_text": lambda: transformers.Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=4, layer_types=LOCAL),
    "t5": lambda: transformers.T5Config(**T5),
    "mt5": lambda: transformers.MT5Config(**T5, tie_word_embeddings=False),
    "bart": lambda: transformers.BartConfig(**STACKS),
    "mbart": lambda: transformers.MBartConfig(**STACKS),
    "marian": lambda: transformers.MarianConfig(**STACKS),
    "encoder-decoder": _pair,
}


class _TokenHead(torch.nn.Module):
    def __init__(self, width: int, size: int, *, split: bool) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(width, size)
        self.split = split

    def forward(self, hidden_BTD: torch.Tensor, mask_BT: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits_BTL = self.linear(hidden_BTD)
        return logits_BTL.unbind(-1) if self.split else (logits_BTL,)


def _build_token(config: Any, spec: HeadSpec) -> torch.nn.Module:
    return _TokenHead(config.hidden_size, spec.size, split=len(spec.outputs) == 2)


TOKENS = (Output("logits", per="token"),)
SPECS: dict[str, HeadSpec] = {
    "sequence": HeadSpec(3, LABELS, "AutoModelForSequenceClassification", build_pooled_head),
    "pooled": HeadSpec(3, LABELS, None, build_pooled_head),
    "token": HeadSpec(3, LABELS, "AutoModelForTokenClassification", _build_token, TOKENS),
    "span": HeadSpec(
        2,
        (),
        "AutoModelForQuestionAnswering",
        _build_token,
        (Output("start_logits", per="token"), Output("end_logits", per="token")),
    ),
    "lm": HeadSpec(1, (), "AutoModelForCausalLM", None, TOKENS),
    "pair": HeadSpec(1, (), "AutoModelForSeq2SeqLM", None, TOKENS),
    "masked": HeadSpec(1, (), "AutoModelForMaskedLM", None, TOKENS),
}


def heads_of(architecture: str) -> list[str]:
    """Return the names of the heads that an architecture can bear without another model beside it."""
    family = family_of(CONFIGS[architecture]())
    further = {"encoder": [], "decoder": ["lm"], "encoder-decoder": ["pair"]}[family]
    return ["sequence", "pooled", "token", "span", *further]


CELLS = [(architecture, head) for architecture in CONFIGS for head in heads_of(architecture)]
assert {CONFIGS[name]().model_type for name in CONFIGS} == set(ARCHITECTURES)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``architecture`` (and ``head_name``) over all of them, where it names none itself."""
    marked = {name for mark in metafunc.definition.iter_markers("parametrize") for name in _names(mark.args[0])}
    wanted = set(metafunc.fixturenames) - marked
    if {"architecture", "head_name"} <= wanted:
        metafunc.parametrize(("architecture", "head_name"), CELLS)
    elif "architecture" in wanted:
        metafunc.parametrize("architecture", list(CONFIGS))


def _names(given: Any) -> list[str]:
    return [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)


@pytest.fixture(scope="session")
def make_stage(saved: Callable[[str], Any]) -> Callable[..., Stage]:
    """Return ``make_stage(architecture, head name, causal=, packed=, dropout=)``: a whole model, in evaluation mode.

    Asked again it gives the same model: leave its weights as they are.
    """
    from dataclasses import replace
    from functools import cache

    from polyhead.backbone.model.loading import load_with_head

    @cache
    def make(architecture: str, head_name: str, causal: bool, packed: bool, dropout: float | None) -> Stage:
        spec = replace(SPECS[head_name], causal=causal)
        torch.manual_seed(3)
        model, head = load_with_head(saved(architecture), spec, dropout=dropout)
        names = ["input_ids", "token_type_ids", "attention_mask"]
        names += ["position_ids"] * packed + ["decoder_input_ids"] * (head_name == "pair")
        stage = Stage(model, head, spec, names)
        _scatter(stage)
        return stage

    def ready(
        architecture: str, head_name: str, *, causal: bool = True, packed: bool = False, dropout: float | None = None
    ) -> Stage:
        stage = make(architecture, head_name, causal, packed, dropout).eval()
        stage.zero_grad()
        return stage

    return ready


def _scatter(stage: Stage) -> None:
    """Move what libraries begin with at zero or one: a norm or a bias that nobody reads would not be missed."""
    draw = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in stage.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=draw)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Return ``saved(architecture)``: the backbone of an untrained model in a folder, made when it is first wanted."""
    from types import SimpleNamespace

    from polyhead.backbone.model.finding import Backbone
    from polyhead.backbone.model.loading import quiet_transformers

    tokenizer = SimpleNamespace(
        model_max_length=10**30, cls_token_id=1, bos_token_id=1, sep_token_id=2, eos_token_id=2, pad_token_id=0
    )
    found: dict[str, Backbone] = {}

    def make(architecture: str) -> Backbone:
        if architecture not in found:
            folder = tmp_path_factory.mktemp(architecture)
            config = CONFIGS[architecture]()
            is_pair = config.model_type == "encoder-decoder"
            with torch.random.fork_rng(), quiet_transformers():
                torch.manual_seed(3)
                auto = transformers.AutoModelForSeq2SeqLM if is_pair else transformers.AutoModel
                auto.from_config(config).save_pretrained(folder)
                config = transformers.AutoConfig.from_pretrained(folder)
            found[architecture] = Backbone(architecture, str(folder), family_of(config), config, tokenizer)
        return found[architecture]

    return make


@pytest.fixture(scope="session")
def inputs_for() -> Callable[[Stage], tuple[torch.Tensor, ...]]:
    """Return ``inputs_for(stage)``: three texts of 12, 9 and 5 tokens, padded, and what else the stage takes."""

    def make(stage: Stage) -> tuple[torch.Tensor, ...]:
        draw = torch.Generator().manual_seed(5)
        lengths = (12, 9, 5)
        mask = torch.tensor([[1] * length + [0] * (12 - length) for length in lengths])
        ids = torch.randint(5, VOCABULARY, (3, 12), generator=draw) * mask
        ids[torch.arange(3), torch.tensor(lengths) - 1] = 2
        ids[:, 0] = 1
        every = {
            "input_ids": ids,
            "token_type_ids": torch.zeros_like(ids),
            "attention_mask": mask,
            "position_ids": torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2]).expand(3, -1) * mask,
            "decoder_input_ids": torch.randint(5, VOCABULARY, (3, 7), generator=draw),
        }
        return tuple(every[name] for name in stage.input_names)

    return make
