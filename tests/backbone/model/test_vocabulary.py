"""New tokens for unknown characters: nothing unknown is left, offsets and old ids hold, the model follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from polyhead.backbone.model.adapters import add_lora
from polyhead.backbone.model.loading import find_backbone, load_with_head
from polyhead.backbone.model.vocabulary import extend_tokenizer, resize
from polyhead.configs.schema import LoraSettings
from polyhead.registry import HeadSpec, Registry

TEXTS = (
    "这部电影很好看，我非常喜欢。",
    "太无聊了，看到一半就睡着了！",
    "演员的表演 nice🙂，值得再看 ＡＢＣ。",
    "the end",
)


@dataclass(frozen=True)
class Example:
    """Holds text in every way that an example may."""

    id: str
    text: str
    labels: tuple[str, ...] = ()
    answers: tuple[tuple[str, int], ...] = ()
    translation: Mapping[str, Any] = field(default_factory=dict)
    score: float | None = None


def examples(*texts: str) -> list[Example]:
    return [Example(f"行:{number}", text) for number, text in enumerate(texts)]


def tokenizer_of(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


def unknown(tokenizer: Any, text: str) -> int:
    return tokenizer(text)["input_ids"].count(tokenizer.unk_token_id)


def test_nothing_that_was_seen_stays_unknown(tiny_bert: Path) -> None:
    tokenizer = tokenizer_of(tiny_bert)
    size, english = len(tokenizer), tokenizer("an old sentence, with [MASK]")["input_ids"]
    assert all(unknown(tokenizer, text) for text in TEXTS[:3])
    count = extend_tokenizer(tokenizer, examples(*TEXTS), min_count=1)
    assert len(tokenizer) == size + count
    assert [unknown(tokenizer, text) for text in TEXTS] == [0, 0, 0, 0]
    assert tokenizer("an old sentence, with [MASK]")["input_ids"] == english
    assert extend_tokenizer(tokenizer, examples(*TEXTS), min_count=1) == 0
    again = tokenizer_of(tiny_bert)
    extend_tokenizer(again, examples(*reversed(TEXTS)), min_count=1)
    assert again.get_vocab() == tokenizer.get_vocab()  # whatever the order


@pytest.mark.parametrize("text", [*TEXTS, "看🙂\r\n  好 Ｃ", "喜Ｂ🙂🙂很\u00e9"])
def test_offsets_point_into_the_text(tiny_bert: Path, text: str) -> None:
    tokenizer = tokenizer_of(tiny_bert)
    extend_tokenizer(tokenizer, examples(*TEXTS), min_count=1)
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    pieces = [text[start:end] for start, end in encoded["offset_mapping"]]
    assert "".join(pieces) == "".join(text.split())
    for piece, token in zip(pieces, tokenizer.convert_ids_to_tokens(encoded["input_ids"]), strict=True):
        if "\u4e00" <= piece[0] <= "\u9fff":
            assert piece == token


def test_a_character_inside_a_word_goes_on_with_it(tiny_bert: Path) -> None:
    tokenizer = tokenizer_of(tiny_bert)
    assert extend_tokenizer(tokenizer, examples("nice🙂", "🙂 bad🙂")) == 2
    assert tokenizer.tokenize("nice🙂 🙂") == ["nice", "##🙂", "🙂"]


def test_a_character_that_is_too_rare_stays_unknown(tiny_bert: Path) -> None:
    tokenizer = tokenizer_of(tiny_bert)
    assert extend_tokenizer(tokenizer, examples("很龘", "很")) == 1
    assert tokenizer.tokenize("很龘") == ["很", "[UNK]"]


def test_every_string_of_an_example_counts_but_ids_and_labels(tiny_bert: Path) -> None:
    tokenizer = tokenizer_of(tiny_bert)
    example = Example("龘", "很", ("龙",), (("好", 3),), {"zh": "看", "more": ["喜", {"x": "欢"}]}, 0.5)
    extend_tokenizer(tokenizer, [example], min_count=1)
    assert tokenizer.tokenize("很好看喜欢龘龙") == ["很", "好", "看", "喜", "欢", "[UNK]", "[UNK]"]


def test_saved_and_loaded_tokenizer_and_model_are_the_same(tiny_bert: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tiny_bert)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_bert).eval()
    old = model.get_input_embeddings().weight.detach().clone()
    count = extend_tokenizer(tokenizer, examples(*TEXTS), min_count=1)
    torch.manual_seed(1)
    resize(model, tokenizer)
    new = model.get_input_embeddings().weight
    assert torch.equal(new[: len(old)], old)
    assert (len(new), model.config.vocab_size) == (len(old) + count, len(tokenizer))
    assert new[len(old) :].std().item() == pytest.approx(model.config.initializer_range, rel=0.1)
    tokenizer.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    batch = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    again = tokenizer_of(tmp_path)(list(TEXTS), padding=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], again["input_ids"])
    assert torch.equal(model(**batch).logits, loaded(**again).logits)


@pytest.mark.parametrize(
    ("name", "auto_class"),
    [
        ("llama", "AutoModelForCausalLM"),
        ("gpt2", "AutoModelForCausalLM"),
        ("t5", "AutoModelForSeq2SeqLM"),
        ("bart", "AutoModelForSeq2SeqLM"),
        ("marian", "AutoModelForSeq2SeqLM"),
    ],
)
def test_every_family_gets_embeddings_for_new_tokens(
    name: str, auto_class: str, tiny_backbones: dict[str, Path], tmp_path: Path
) -> None:
    tokenizer = tokenizer_of(tiny_backbones[name])
    extend_tokenizer(tokenizer, examples(*TEXTS), min_count=1)
    fresh = []
    for _ in range(2):
        model = getattr(transformers, auto_class).from_pretrained(tiny_backbones[name]).eval()
        old = model.get_input_embeddings().weight.shape[0]
        torch.manual_seed(1)
        resize(model, tokenizer)
        fresh.append(model.get_input_embeddings().weight.detach()[old:])
    assert torch.equal(*fresh)
    ids = tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    both = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    logits = model(ids, **both).logits
    assert logits.shape[-1] == len(tokenizer)
    model.save_pretrained(tmp_path)
    loaded = getattr(transformers, auto_class).from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(ids, **both).logits, logits)


def test_both_halves_of_a_pair_get_the_same_rows(tiny_bert: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tiny_bert)
    count = extend_tokenizer(tokenizer, examples(*TEXTS), min_count=1)
    pair = transformers.EncoderDecoderModel.from_encoder_decoder_pretrained(tiny_bert, tiny_bert).eval()
    resize(pair, tokenizer)
    halves = [half.get_input_embeddings().weight for half in (pair.encoder, pair.decoder)]
    assert torch.equal(halves[0][-count:], halves[1][-count:])
    assert halves[0].shape[0] == halves[1].shape[0] == len(tokenizer)
    ids = tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    logits = pair(ids, decoder_input_ids=ids).logits
    assert logits.shape[-1] == len(tokenizer)
    pair.save_pretrained(tmp_path)
    loaded = transformers.EncoderDecoderModel.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(loaded(ids, decoder_input_ids=ids).logits, logits)


def test_a_larger_table_than_the_tokenizer_stays(tiny_bert: Path) -> None:
    model = transformers.AutoModel.from_pretrained(tiny_bert)
    model.resize_token_embeddings(40_000, mean_resizing=False)
    tokenizer = tokenizer_of(tiny_bert)
    extend_tokenizer(tokenizer, examples(*TEXTS), min_count=1)
    resize(model, tokenizer)
    assert model.get_input_embeddings().weight.shape[0] == 40_000


# ── other kinds of tokenizers ───────────────────────────────────────────────────────────────────────────


def wrapped(backend: Tokenizer, **special: str) -> Any:
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def test_a_byte_level_tokenizer_knows_everything() -> None:
    vocabulary = {sign: number for number, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel()
    with_unknown, without = wrapped(backend, unk_token="!"), wrapped(backend)
    assert extend_tokenizer(with_unknown, examples(*TEXTS), min_count=1) == 0
    assert extend_tokenizer(without, examples(*TEXTS), min_count=1) == 0


def unigram() -> Tokenizer:
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("▁the", -3.0), ("▁end", -3.0), *((sign, -6.0) for sign in "thendABC，。！")]
    backend = Tokenizer(models.Unigram(pieces, 0, False))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return backend


@pytest.mark.parametrize("has_added_token", [False, True])
def test_a_unigram_tokenizer_learns_characters(tmp_path: Path, has_added_token: bool) -> None:
    tokenizer = wrapped(unigram(), unk_token="<unk>")
    if has_added_token:
        tokenizer.add_tokens(AddedToken("<sep>", special=True))
    texts = ("这部电影很好看", "the end 好", "很🙂")
    english = tokenizer("the end")["input_ids"]
    assert tokenizer.unk_token_id in tokenizer(texts[0])["input_ids"]
    assert extend_tokenizer(tokenizer, examples(*texts), min_count=1) == 8
    assert [unknown(tokenizer, text) for text in texts] == [0, 0, 0]
    assert tokenizer("the end")["input_ids"] == english
    encoded = tokenizer(texts[0], return_offsets_mapping=True)
    spans = [texts[0][start:end] for start, end in encoded["offset_mapping"] if end > start]
    assert [span for span in spans if span][-6:] == list("部电影很好看")
    tokenizer.save_pretrained(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert [again(text)["input_ids"] for text in texts] == [tokenizer(text)["input_ids"] for text in texts]


# ── trunks under heads of our own ───────────────────────────────────────────────────────────────────────


def build(config: Any, spec: HeadSpec) -> torch.nn.Module:
    return torch.nn.Linear(config.hidden_size, spec.size)


@pytest.mark.parametrize("name", ["bert", "llama", "gpt2", "t5", "bart", "marian", "pair"])
def test_a_trunk_under_our_own_head_gets_embeddings_too(
    name: str, tiny_backbones: dict[str, Path], registry: Registry, tmp_path: Path
) -> None:
    folder = tiny_backbones.get(name)
    if folder is None:  # what training a pair leaves
        folder = tmp_path
        pair = transformers.EncoderDecoderModel.from_encoder_decoder_pretrained(*[tiny_backbones["bert"]] * 2)
        pair.save_pretrained(folder)
        tokenizer_of(tiny_backbones["bert"]).save_pretrained(folder)
    backbone = find_backbone(str(folder), registry)
    trunk, _ = load_with_head(backbone, HeadSpec(size=2, build=build), dropout=None)
    count = extend_tokenizer(backbone.tokenizer, examples(*TEXTS), min_count=1)
    resize(trunk, backbone.tokenizer)
    ids = backbone.tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    assert int(ids.max()) >= len(backbone.tokenizer) - count
    reader = trunk.get_encoder() if trunk.config.is_encoder_decoder and name != "t5" else trunk
    expected = reader.eval()(ids).last_hidden_state
    saved = tmp_path / "saved"
    trunk.config.save_pretrained(saved)
    backbone.tokenizer.save_pretrained(saved)
    save_file({name: value.detach() for name, value in trunk.named_parameters()}, saved / "model.safetensors")
    again = find_backbone(str(saved), registry)
    assert again.tokenizer(TEXTS[0])["input_ids"] == ids[0].tolist()
    loaded, _ = load_with_head(again, HeadSpec(size=2, build=build), dropout=None)
    loaded_reader = loaded.get_encoder() if reader is not trunk else loaded
    torch.testing.assert_close(loaded_reader.eval()(ids).last_hidden_state, expected)
    add_lora(trunk, LoraSettings(rank=2), train_embeddings=True)
    assert trunk.get_input_embeddings().weight.requires_grad


@pytest.mark.parametrize("tied", [True, False])
def test_lora_trains_every_table_that_has_new_rows(tied: bool, tiny_backbones: dict[str, Path]) -> None:
    llama = transformers.AutoModelForCausalLM.from_pretrained(tiny_backbones["llama"], tie_word_embeddings=tied)
    pair = transformers.EncoderDecoderModel.from_encoder_decoder_pretrained(*[tiny_backbones["bert"]] * 2)
    for model in (llama, pair):
        add_lora(model, LoraSettings(rank=2), train_embeddings=True)
    tables = [llama.get_input_embeddings(), llama.get_output_embeddings()]
    tables += [pair.encoder.get_input_embeddings(), pair.decoder.get_input_embeddings()]
    assert all(table.weight.requires_grad for table in tables)
