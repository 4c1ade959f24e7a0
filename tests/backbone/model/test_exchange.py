"""Another tokenizer for trained weights: what both know keeps its rows, whatever either calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from polyhead.backbone.data.tokenizer_training import TokenizerPlan, train_tokenizer
from polyhead.backbone.model.exchange import places_in
from polyhead.backbone.model.finding import find_backbone
from polyhead.backbone.model.loading import load_with_head
from polyhead.registry import BackboneError, Family, HeadSpec, Registry

TEXTS = [
    "the film is good and the end is bad",
    "这部电影很好看，我非常喜欢。",
    "playing, played and plays; the filming",
] * 5
MASKED = HeadSpec(1, auto_class="AutoModelForMaskedLM")
CAUSAL = HeadSpec(1, auto_class="AutoModelForCausalLM")
PAIR = HeadSpec(1, auto_class="AutoModelForSeq2SeqLM")
CLASSIFIER = HeadSpec(2, ("a", "b"), auto_class="AutoModelForSequenceClassification")


def written(folder: Path, kind: Any, family: Family, size: int = 320) -> Path:
    """Train a tokenizer and return its folder."""
    train_tokenizer(TokenizerPlan(kind, size, family, min_count=None), TEXTS).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tokenizers")
    return {
        "wordpiece": written(root / "wordpiece", "wordpiece", "encoder"),
        "bpe": written(root / "bpe", "bpe", "encoder"),
        "unigram": written(root / "unigram", "unigram", "encoder-decoder", 110),
    }


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_tokens_are_the_same_by_text_and_place_in_the_word(
    kind: str, tokenizers: dict[str, Path], registry: Registry
) -> None:
    backbone = find_backbone("minilm", registry, tokenizer=tokenizers[kind])
    assert backbone.own is not None
    old, new = backbone.own.tokenizer, backbone.tokenizer
    places = places_in(old, new)
    assert len(places) == len(new)
    assert [places[new.pad_token_id], places[new.unk_token_id]] == [old.pad_token_id, old.unk_token_id]
    assert places[new.sep_token_id or new.eos_token_id] == old.sep_token_id
    film = new("a film", add_special_tokens=False)["input_ids"][-1]
    assert places[film] == old.convert_tokens_to_ids("film")
    chinese = new("好", add_special_tokens=False)["input_ids"][-1]
    assert places[chinese] == old.get_vocab().get("好")


def test_a_piece_inside_a_word_is_another_than_one_that_begins_it(
    tokenizers: dict[str, Path], registry: Registry
) -> None:
    backbone = find_backbone("minilm", registry, tokenizer=tokenizers["wordpiece"])
    assert backbone.own is not None
    old, new = backbone.own.tokenizer.get_vocab(), backbone.tokenizer.get_vocab()
    places = places_in(backbone.own.tokenizer, backbone.tokenizer)
    assert places[new["##s"]] == old["##s"] != old["s"] == places[new["s"]]


@pytest.mark.parametrize(
    ("name", "kind", "spec"),
    [
        ("bert", "wordpiece", MASKED),
        ("bert", "bpe", CLASSIFIER),
        ("bert", "wordpiece", PAIR),
        ("gpt2", "bpe", CAUSAL),
        ("llama", "bpe", CAUSAL),
        ("t5", "unigram", PAIR),
        ("bart", "bpe", PAIR),
        ("bart", "bpe", CLASSIFIER),
        ("marian", "unigram", PAIR),
        ("bart", "wordpiece", HeadSpec(1, build=lambda config, spec: torch.nn.Linear(config.hidden_size, spec.size))),
    ],
)
def test_rows_move_with_their_tokens_in_every_family(
    name: str,
    kind: str,
    spec: HeadSpec,
    tiny_backbones: dict[str, Path],
    tokenizers: dict[str, Path],
    registry: Registry,
    tmp_path: Path,
) -> None:
    torch.manual_seed(3)
    before, _ = load_with_head(find_backbone(str(tiny_backbones[name]), registry), spec, dropout=None)
    backbone = find_backbone(str(tiny_backbones[name]), registry, tokenizer=tokenizers[kind])
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(load_with_head(backbone, spec, dropout=None)[0].eval())
    model = drawn[0]
    assert all(map(torch.equal, model.state_dict().values(), drawn[1].state_dict().values()))
    assert backbone.own is not None
    places = places_in(backbone.own.tokenizer, backbone.tokenizer)
    kept = [(new, old) for new, old in enumerate(places) if old is not None]
    news, olds = (torch.tensor(ids) for ids in zip(*kept, strict=True))
    for old_part, part in zip(halves(before), halves(model), strict=True):
        assert torch.equal(part.get_input_embeddings().weight[news], old_part.get_input_embeddings().weight[olds])
        assert part.get_input_embeddings().weight.shape[0] == part.config.vocab_size == len(backbone.tokenizer)
        output = part.get_output_embeddings()
        if output is not None:
            assert torch.equal(output.weight[news], old_part.get_output_embeddings().weight[olds])
    config = model.config
    assert config.pad_token_id == backbone.tokenizer.pad_token_id
    assert all(part.get_input_embeddings().padding_idx in (None, config.pad_token_id) for part in halves(model))
    if spec.auto_class is None:
        return
    ids = backbone.tokenizer(TEXTS[1], return_tensors="pt")["input_ids"]
    inputs = {"input_ids": ids, **({"decoder_input_ids": ids} if config.is_encoder_decoder and spec is PAIR else {})}
    logits = model(**inputs, use_cache=False).logits if spec is not MASKED else model(**inputs).logits
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(**inputs).logits, logits)


def halves(model: Any) -> list[Any]:
    """Return what holds tables of its own: the model, or the halves of a pair."""
    if model.config.model_type == "encoder-decoder":
        return [model.encoder, model.decoder]
    return [model.encoder if getattr(model, "decoder", model) is None else model]


def test_the_bias_of_a_masked_language_model_moves_too(
    tiny_bert: Path, tokenizers: dict[str, Path], registry: Registry, tmp_path: Path
) -> None:
    model, _ = load_with_head(find_backbone(str(tiny_bert), registry), MASKED, dropout=None)
    with torch.no_grad():
        model.get_output_embeddings().bias += torch.arange(model.config.vocab_size)
    model.save_pretrained(tmp_path)
    find_backbone(str(tiny_bert), registry).tokenizer.save_pretrained(tmp_path)
    backbone = find_backbone(str(tmp_path), registry, tokenizer=tokenizers["wordpiece"])
    moved, _ = load_with_head(backbone, MASKED, dropout=None)
    assert backbone.own is not None
    places = places_in(backbone.own.tokenizer, backbone.tokenizer)
    assert moved.get_output_embeddings().bias.tolist() == [place or 0 for place in places]
    moved.save_pretrained(tmp_path / "again")
    again = type(moved).from_pretrained(tmp_path / "again")
    assert torch.equal(again.get_output_embeddings().bias, moved.get_output_embeddings().bias)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(BackboneError, match=r"backbone\.tokenizer: .* holds no tokenizer\.json.*tokenizer train"):
        find_backbone("minilm", registry, tokenizer=tmp_path)


def test_a_model_that_counts_positions_from_its_pad_token_keeps_its_id(
    tokenizers: dict[str, Path], registry: Registry, tmp_path: Path
) -> None:
    import transformers

    transformers.RobertaConfig(vocab_size=330, pad_token_id=1).save_pretrained(tmp_path)
    find_backbone("minilm", registry, tokenizer=tokenizers["bpe"]).tokenizer.save_pretrained(tmp_path)
    assert find_backbone(str(tmp_path), registry, tokenizer=tokenizers["bpe"]).config.pad_token_id == 1
    with pytest.raises(BackboneError, match=r"counts positions from the id of its pad token, which is 1, and 0 in"):
        find_backbone(str(tmp_path), registry, tokenizer=tokenizers["wordpiece"])
