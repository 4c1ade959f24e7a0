"""GGUF files become folders once, and whole: weights, vocabulary, template, the split at digits."""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers

from polyhead.backbone.model import gguf_folder
from polyhead.backbone.model.finding import find_backbone
from polyhead.backbone.model.gguf_folder import folder_from_gguf
from polyhead.backbone.model.loading import quiet_transformers
from polyhead.registry import BackboneError, Registry

WIDTH, INNER, HEADS, BLOCKS = 32, 64, 4, 2
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder where backbones are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "polyhead" / "backbones"


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a GGUF file with an untrained Llama of two blocks and a byte-level vocabulary."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(bytes_to_unicode().values()), "12", "Ġa"]
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3, *[1] * (len(tokens) - 3)])
    writer.add_token_merges(["1 2", "Ġ a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    draw = np.random.default_rng(1)
    shapes = {"token_embd.weight": (len(tokens), WIDTH), "output_norm.weight": (WIDTH,)}
    for block in range(BLOCKS):
        names = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH))
        names |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
        names |= {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,)}
        shapes |= {f"blk.{block}.{name}.weight": shape for name, shape in names.items()}
    for name, shape in shapes.items():
        writer.add_tensor(name, draw.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_becomes_a_folder_that_transformers_loads(tiny_gguf: Path, cache: Path) -> None:
    folder = folder_from_gguf("tiny", tiny_gguf)
    assert folder == cache / f"tiny-tiny-{tiny_gguf.stat().st_size}"
    ids = torch.tensor([[5, 9, 40, 3]])
    with quiet_transformers():
        model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        original = transformers.AutoModelForCausalLM.from_pretrained(
            str(tiny_gguf.parent), gguf_file=tiny_gguf.name, dtype=torch.float32
        ).eval()
    assert torch.equal(original(ids).logits, model(ids).logits)
    assert not hasattr(model.config, "quantization_config")
    assert model.config.architectures == ["LlamaForCausalLM"]
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (2, 2)


def test_the_tokenizer_is_whole(tiny_gguf: Path, cache: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder_from_gguf("tiny", tiny_gguf))
    assert tokenizer.is_fast
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
    )
    assert tokenizer.model_max_length == 64
    assert tokenizer.convert_ids_to_tokens(tokenizer("x a12")["input_ids"]) == ["x", "Ġa", "1", "2"]
    text = "你好, a 12 🙂\r\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.apply_chat_template([{"content": "hi", "role": "user"}], tokenize=False) == (
        "<|im_start|>hi<|im_end|>"
    )
    assert tokenizer("<|im_end|>")["input_ids"] == [2]


def test_it_is_converted_once(tiny_gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = folder_from_gguf("tiny", tiny_gguf)
    monkeypatch.setattr(gguf_folder, "_convert", lambda *_: pytest.fail("converted again"))
    assert folder_from_gguf("tiny", tiny_gguf) == first
    assert sorted(path.name for path in cache.iterdir()) == [first.name, f"{first.name}.lock"]


def test_a_conversion_that_broke_off_leaves_nothing(
    tiny_gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(transformers.PreTrainedModel, "save_pretrained", fail)
        with pytest.raises(
            BackboneError, match=r"^backbone 'tiny' cannot be converted from .*No space left on device$"
        ):
            folder_from_gguf("tiny", tiny_gguf)
    assert [path for path in cache.iterdir() if path.is_dir()] == []
    assert (folder_from_gguf("tiny", tiny_gguf) / "config.json").is_file()


def test_without_the_package_gguf_it_says_how_to_get_it(
    tiny_gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_folder.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        BackboneError, match=r"^backbone 'tiny' needs the package gguf .*pip install 'polyhead\[gguf\]'$"
    ):
        folder_from_gguf("tiny", tiny_gguf)


def test_new_weights_do_not_depend_on_whether_it_had_to_be_converted(tiny_gguf: Path, cache: Path) -> None:
    torch.manual_seed(1)
    folder_from_gguf("tiny", tiny_gguf)
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(3))


def test_a_gguf_file_is_a_backbone(tiny_gguf: Path, cache: Path, registry: Registry, tmp_path: Path) -> None:
    found = find_backbone(str(tiny_gguf), registry)
    assert (found.family, found.most_positions, found.config.model_type) == ("decoder", 64, "llama")
    assert Path(found.path).is_relative_to(cache)
    assert find_backbone(str(tiny_gguf), registry).path == found.path
    copied = shutil.copy(tiny_gguf, tmp_path / tiny_gguf.name)  # of the same name and size, but perhaps another one
    assert find_backbone(str(copied), registry).path != found.path


def test_a_gguf_file_that_cannot_be_read_is_told(cache: Path, registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"^backbone '.*none\.gguf' cannot be read: No such file or directory$"):
        find_backbone(str(tmp_path / "none.gguf"), registry)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF, it says")
    with pytest.raises(BackboneError, match=r"^backbone '.*broken\.gguf' cannot be converted from .*broken\.gguf: "):
        find_backbone(str(tmp_path / "broken.gguf"), registry)
