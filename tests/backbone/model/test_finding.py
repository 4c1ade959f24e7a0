"""Finding backbones: names, folders, what they can read, and what is said when something is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import transformers

from polyhead.backbone.model.architectures import family_of
from polyhead.backbone.model.finding import UNLIMITED, Backbone, decoder_start, find_backbone, reading_family
from polyhead.backbone.model.named import locate_minilm
from polyhead.registry import BackboneError, HeadSpec, Registry

PAIR = HeadSpec(size=1, auto_class="AutoModelForSeq2SeqLM")
CLASSIFIER = HeadSpec(size=2, auto_class="AutoModelForSequenceClassification")


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
        "the hub is off (HF_HUB_OFFLINE). Did you mean 'minilm'? Available: minilm, smollm2-135m."
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


def test_an_architecture_that_transformers_does_not_know_is_refused(copied: Path, registry: Registry) -> None:
    config = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    (copied / "config.json").write_text(json.dumps({**config, "model_type": "wonderful"}), encoding="utf-8")
    text = message(copied, registry)
    assert text.startswith(f"backbone '{copied}' cannot be read from {copied}: ")
    assert "model type `wonderful`" in text


@pytest.mark.parametrize("inside", ["0_Transformer", "."])
def test_a_folder_of_sentence_transformers_is_found(
    inside: str, tiny_bert: Path, tmp_path: Path, registry: Registry
) -> None:
    folder = tmp_path / "sentences"
    shutil.copytree(tiny_bert, folder / inside)
    (folder / "modules.json").write_text("[]", encoding="utf-8")
    assert Path(find_backbone(str(folder), registry).path) == folder / inside


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (transformers.T5Config(), UNLIMITED),
        (transformers.GPT2Config(n_positions=1024), 1024),
        (transformers.LlamaConfig(max_position_embeddings=8192), 8192),
        (transformers.BartConfig(max_position_embeddings=1024), 1024),
        (transformers.RobertaConfig(max_position_embeddings=514, pad_token_id=1), 512),
        (
            transformers.EncoderDecoderConfig(
                encoder=transformers.BertConfig(max_position_embeddings=128).to_dict(),
                decoder=transformers.BertConfig(max_position_embeddings=64).to_dict(),
            ),
            64,
        ),
    ],
)
def test_the_most_that_a_model_can_read(config: Any, expected: int) -> None:
    backbone = Backbone("x", "x", family_of(config), config, SimpleNamespace(model_max_length=10**30))
    assert expected == backbone.most_positions
    assert backbone.longest_window == min(512, expected)


def test_a_tokenizer_can_limit_what_relative_positions_would_allow() -> None:
    backbone = Backbone("x", "x", "encoder-decoder", transformers.T5Config(), SimpleNamespace(model_max_length=700))
    assert (backbone.most_positions, backbone.longest_window) == (700, 512)


# ── padding ─────────────────────────────────────────────────────────────────────────────────────────────


def without_pad(folder: Path, **tokens: str) -> None:
    """Take the pad token out of a folder and leave its tokenizer the named special tokens."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.no_padding()
    plain = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, **tokens)
    plain.padding_side = "left"
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    plain.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": None}), encoding="utf-8")


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [({"eos_token": "[SEP]", "unk_token": "[UNK]"}, "[SEP]"), ({"unk_token": "[UNK]"}, "[UNK]")],
)
def test_a_tokenizer_without_padding_pads_with_its_end(
    tokens: dict[str, str], expected: str, tiny_backbones: dict[str, Path], tmp_path: Path, registry: Registry
) -> None:
    folder = Path(shutil.copytree(tiny_backbones["llama"], tmp_path / "llama"))
    without_pad(folder, **tokens)
    backbone = find_backbone(str(folder), registry)
    assert backbone.tokenizer.pad_token == expected
    assert backbone.config.pad_token_id == backbone.tokenizer.convert_tokens_to_ids(expected)
    assert backbone.tokenizer.padding_side == "right"


def test_a_tokenizer_with_nothing_to_pad_with_is_refused(
    tiny_backbones: dict[str, Path], tmp_path: Path, registry: Registry
) -> None:
    folder = Path(shutil.copytree(tiny_backbones["llama"], tmp_path / "llama"))
    without_pad(folder)
    assert message(folder, registry).endswith("its tokenizer has neither a pad nor an end token to pad with")


# ── how a model reads ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "family", "with_pair", "start"),
    [
        ("bert", "encoder", "encoder-decoder", 101),
        ("t5", "encoder-decoder", "encoder-decoder", 0),
        ("bart", "encoder-decoder", "encoder-decoder", 102),
        ("marian", "encoder-decoder", "encoder-decoder", 0),
        ("llama", "decoder", "decoder", 101),
    ],
)
def test_how_a_model_reads_depends_on_its_head(
    name: str, family: str, with_pair: str, start: int, tiny_backbones: dict[str, Path], registry: Registry
) -> None:
    backbone = find_backbone(str(tiny_backbones[name]), registry)
    assert backbone.family == family
    assert reading_family(backbone, CLASSIFIER) == family
    assert reading_family(backbone, PAIR) == with_pair
    assert decoder_start(backbone, CLASSIFIER) is None
    assert decoder_start(backbone, PAIR) == start


def test_a_t5_that_was_saved_with_a_token_head_is_still_an_encoder_decoder() -> None:
    assert family_of(transformers.T5Config(is_encoder_decoder=False)) == "encoder-decoder"
