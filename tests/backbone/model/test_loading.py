"""Finding and loading backbones: names, folders, heads, and what is said when something is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from polyhead.backbone.model.architectures import family_of
from polyhead.backbone.model.loading import HEAD_FILE, Backbone, find_backbone, load_with_head
from polyhead.backbone.model.named import locate_minilm
from polyhead.registry import BackboneError, HeadSpec, Registry
from polyhead.registry.toolkit.pooled_head import build_pooled_head

CLASSIFIER = HeadSpec(size=2, labels=("负面", "正面"), auto_class="AutoModelForSequenceClassification")
POOLED = HeadSpec(size=2, labels=("负面", "正面"), build=build_pooled_head)


@pytest.fixture
def copied(tiny_bert: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny BERT that a test may change."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def message(reference: str | Path, registry: Registry, **options: Any) -> str:
    with pytest.raises(BackboneError) as caught:
        find_backbone(str(reference), registry, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


# ── finding ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_registered_name_is_found(registry: Registry) -> None:
    backbone = find_backbone("minilm", registry)
    assert (backbone.path, backbone.family) == (str(locate_minilm()), "encoder")
    assert backbone.config.hidden_size == 384
    assert backbone.tokenizer.is_fast
    assert backbone.longest_window == 512


def test_a_folder_is_found(tiny_bert: Path, registry: Registry) -> None:
    backbone = find_backbone(str(tiny_bert), registry)
    assert (backbone.path, backbone.longest_window) == (str(tiny_bert), 128)


def test_a_run_stands_for_its_model(copied: Path, registry: Registry) -> None:
    assert find_backbone(str(copied.parent), registry).path == str(copied)


def test_a_folder_without_a_model_is_refused(tmp_path: Path, registry: Registry) -> None:
    expected = f"{tmp_path} holds no config.json: expected a Hugging Face model folder or a run folder"
    assert expected == message(tmp_path, registry)


def test_a_missing_folder_is_refused(tmp_path: Path, registry: Registry) -> None:
    text = message(tmp_path / "gone", registry)
    assert text.startswith(f"backbone '{tmp_path / 'gone'}' is no registered name, no folder")


def test_an_unknown_name_gets_a_hint_and_says_that_the_hub_is_off(registry: Registry) -> None:
    expected = (
        "backbone 'minilmm' is no registered name, no folder, and could not be read from the hub: "
        "the hub is off (HF_HUB_OFFLINE). Did you mean 'minilm'? Available: minilm."
    )
    assert expected == message("minilmm", registry)


def test_a_broken_config_is_refused(copied: Path, registry: Registry) -> None:
    (copied / "config.json").write_text("{", encoding="utf-8")
    assert message(copied, registry).startswith(f"backbone '{copied}' cannot be read from {copied}: ")


def test_remote_code_does_not_run_unless_it_is_asked_for(copied: Path, registry: Registry) -> None:
    (copied / "modeling_own.py").write_text(
        "from pathlib import Path\n"
        "from transformers import BertConfig\n"
        f"Path({str(copied / 'it_ran')!r}).touch()\n"
        "class OwnConfig(BertConfig):\n"
        "    model_type = 'own'\n",
        encoding="utf-8",
    )
    config = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "modeling_own.OwnConfig"}}
    (copied / "config.json").write_text(json.dumps(config), encoding="utf-8")
    text = message(copied, registry)
    assert text.startswith(f"backbone '{copied}' needs Python code that lies beside its weights")
    assert text.endswith("say backbone.trust_remote_code=true")
    assert not (copied / "it_ran").exists()


def test_a_slow_tokenizer_is_refused(tiny_bert: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SimpleNamespace(is_fast=False)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: slow)
    expected = f"backbone '{tiny_bert}' has no fast tokenizer (tokenizer.json); polyhead needs one"
    assert expected == message(tiny_bert, registry)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (transformers.BertConfig(max_position_embeddings=128), 128),
        (transformers.RobertaConfig(max_position_embeddings=514, pad_token_id=1), 512),
        (transformers.RobertaConfig(max_position_embeddings=130, pad_token_id=1), 128),
        (transformers.XLMRobertaConfig(max_position_embeddings=66, pad_token_id=1), 64),
        (transformers.ModernBertConfig(max_position_embeddings=8192), 512),
    ],
)
def test_the_longest_window_is_what_positions_allow(config: Any, expected: int) -> None:
    backbone = Backbone("x", "x", "encoder", config, SimpleNamespace(model_max_length=10**30))
    assert expected == backbone.longest_window


def test_the_longest_window_is_what_the_tokenizer_allows() -> None:
    backbone = Backbone("x", "x", "encoder", transformers.BertConfig(), SimpleNamespace(model_max_length=77))
    assert backbone.longest_window == 77


@pytest.mark.parametrize(
    ("config", "family"),
    [
        (transformers.BertConfig(), "encoder"),
        (transformers.RobertaConfig(), "encoder"),
        (transformers.ElectraConfig(), "encoder"),
        (transformers.DistilBertConfig(), "encoder"),
        (transformers.ModernBertConfig(), "encoder"),
        (transformers.GPT2Config(), "decoder"),
        (transformers.LlamaConfig(), "decoder"),
        (transformers.T5Config(), "encoder-decoder"),
        (transformers.BartConfig(), "encoder-decoder"),
    ],
)
def test_the_family_is_told_by_the_architecture(config: Any, family: str) -> None:
    assert family == family_of(config)


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_head_of_transformers_gets_the_labels(tiny_bert: Path, registry: Registry) -> None:
    model, head = load_with_head(find_backbone(str(tiny_bert), registry), CLASSIFIER, dropout=None)
    assert (type(model).__name__, head) == ("BertForSequenceClassification", None)
    assert model.config.id2label == {0: "负面", 1: "正面"}
    assert model.config.label2id == {"负面": 0, "正面": 1}
    assert model.classifier.out_features == 2


def test_weights_are_float32_whatever_the_folder_says(copied: Path, registry: Registry) -> None:
    transformers.AutoModel.from_pretrained(copied, dtype=torch.bfloat16).save_pretrained(copied)
    model, _ = load_with_head(find_backbone(str(copied), registry), CLASSIFIER, dropout=None)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_new_weights_come_from_the_seed(tiny_bert: Path, registry: Registry) -> None:
    backbone = find_backbone(str(tiny_bert), registry)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(load_with_head(backbone, CLASSIFIER, dropout=None)[0].classifier.weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(("dropout", "expected"), [(None, {0.1}), (0.0, {0.0}), (0.3, {0.3})])
def test_dropout_can_be_replaced(
    tiny_bert: Path, registry: Registry, dropout: float | None, expected: set[float]
) -> None:
    model, _ = load_with_head(find_backbone(str(tiny_bert), registry), CLASSIFIER, dropout=dropout)
    assert expected == {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}


def test_the_pooled_head_has_no_pooler_beside_it(tiny_bert: Path, registry: Registry) -> None:
    trunk, head = load_with_head(find_backbone(str(tiny_bert), registry), POOLED, dropout=0.2)
    assert [name for name, _ in trunk.named_parameters() if "pooler" in name] == []
    assert head is not None
    assert head.linear.weight.shape == (2, 32)
    assert head.dropout.p == 0.2


def test_the_pooled_head_finds_its_saved_weights(copied: Path, registry: Registry) -> None:
    from safetensors.torch import save_file

    saved = {"linear.weight": torch.full((2, 32), 0.5), "linear.bias": torch.tensor([1.0, 2.0])}
    save_file(saved, copied / HEAD_FILE)
    _, head = load_with_head(find_backbone(str(copied), registry), POOLED, dropout=None)
    assert head is not None
    assert all(torch.equal(saved[name], tensor) for name, tensor in head.state_dict().items())


def test_a_head_of_another_size_is_drawn_anew(copied: Path, registry: Registry) -> None:
    config = transformers.AutoConfig.from_pretrained(copied, num_labels=5)
    before = transformers.AutoModelForSequenceClassification.from_pretrained(copied, config=config)
    before.save_pretrained(copied)
    model, _ = load_with_head(find_backbone(str(copied), registry), CLASSIFIER, dropout=None)
    assert model.classifier.weight.shape == (2, 32)
    assert torch.equal(before.bert.pooler.dense.weight, model.bert.pooler.dense.weight)


def test_a_head_that_nobody_has_is_refused(tiny_bert: Path, registry: Registry) -> None:
    spec = HeadSpec(size=1, auto_class="AutoModelForSpeechSeq2Seq")
    with pytest.raises(BackboneError, match=r"^transformers has no AutoModelForSpeechSeq2Seq for architecture 'bert'$"):
        load_with_head(find_backbone(str(tiny_bert), registry), spec, dropout=None)


def test_a_folder_without_weights_is_refused(copied: Path, registry: Registry) -> None:
    (copied / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=rf"^backbone '{copied}' cannot be read from {copied}: .*safetensors"):
        load_with_head(find_backbone(str(copied), registry), CLASSIFIER, dropout=None)


def test_damaged_weights_are_refused(copied: Path, registry: Registry) -> None:
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BackboneError, match=rf"^backbone '{copied}' cannot be read from {copied}: "):
        load_with_head(find_backbone(str(copied), registry), CLASSIFIER, dropout=None)
