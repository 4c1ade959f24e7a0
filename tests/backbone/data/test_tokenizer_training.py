"""A tokenizer from texts: a plain Hugging Face folder, special tokens of the family, Chinese character by character."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from polyhead.backbone.data.plain_texts import texts_of_files
from polyhead.backbone.data.tokenizer_training import Kind, TokenizerPlan, save_tokenizer, train_tokenizer
from polyhead.registry import DataError, Family, Registry, RunError

TEXTS = [
    "The film was good, the end was not.",
    "这部电影很好看，我非常喜欢这部电影。",
    "电影 and films: playing, played, plays.",
] * 20
MIXED = "The film 电影很好看."


def trained(kind: Kind, family: Family, size: int, **options: Any) -> Any:
    return train_tokenizer(TokenizerPlan(kind, size, family, **options), TEXTS)


@pytest.mark.parametrize(
    ("kind", "family", "size", "special", "frame"),
    [
        ("wordpiece", "encoder", 200, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], ("[CLS]", "[SEP]")),
        ("bpe", "encoder", 400, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], ("<s>", "</s>")),
        ("bpe", "decoder", 400, ["<s>", "<pad>", "</s>", "<unk>"], ("<s>", None)),
        ("bpe", "encoder-decoder", 400, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], ("<s>", "</s>")),
        ("unigram", "encoder-decoder", 200, ["<pad>", "</s>", "<unk>"], (None, "</s>")),
        ("unigram", "decoder", 200, ["<s>", "<pad>", "</s>", "<unk>"], ("<s>", None)),
    ],
)
def test_every_kind_is_a_plain_folder_with_the_special_tokens_of_its_family(
    kind: Kind, family: Family, size: int, special: list[str], frame: tuple[str | None, str | None], tmp_path: Path
) -> None:
    made = trained(kind, family, size)
    made.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.is_fast
    assert len(tokenizer) <= size
    assert tokenizer.convert_ids_to_tokens(range(len(special))) == special
    encoded = tokenizer(MIXED, return_offsets_mapping=True)
    assert encoded["input_ids"] == made(MIXED)["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    begin, end = frame
    assert (tokens[0] == begin, tokens[-1] == end) == (begin is not None, end is not None)
    inside = [token for token in tokens if token not in special]
    pieces = [MIXED[start:stop] for start, stop in encoded["offset_mapping"] if stop > start]
    assert [piece for piece in pieces if "\u4e00" <= piece <= "\u9fff"] == list("电影很好看")
    assert tokenizer.unk_token not in tokens
    assert len(inside) >= len(pieces)
    assert ("token_type_ids" in encoded) == (kind == "wordpiece")
    assert tokenizer.decode(encoded["input_ids"], skip_special_tokens=True).replace(" ", "") == MIXED.replace(" ", "")


def test_two_texts_are_told_apart_as_in_bert() -> None:
    tokenizer = trained("wordpiece", "encoder", 200)
    encoded = tokenizer("电影", "好")
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == ["[CLS]", "电", "影", "[SEP]", "好", "[SEP]"]
    assert encoded["token_type_ids"] == [0, 0, 0, 0, 1, 1]


def test_words_of_several_characters_where_they_are_wanted() -> None:
    for kind, size in (("wordpiece", 300), ("bpe", 500), ("unigram", 300)):
        family: Family = "decoder" if kind == "bpe" else "encoder"
        vocabularies = [trained(kind, family, size, chinese=how).get_vocab() for how in ("characters", "words")]  # type: ignore[arg-type]
        longest = [
            max(sum("\u4e00" <= sign <= "\u9fff" for sign in token) for token in found) for found in vocabularies
        ]
        if kind != "bpe":
            assert longest[0] == 1
            assert longest[1] > 1
        else:  # bytes, three of them a character
            assert len(vocabularies[1]) >= len(vocabularies[0])


def test_sentinels_come_last_and_stay_whole() -> None:
    tokenizer = trained("unigram", "encoder-decoder", 300, sentinels=True)
    ids = tokenizer.convert_tokens_to_ids([f"<extra_id_{number}>" for number in range(100)])
    assert ids == list(range(len(tokenizer) - 100, len(tokenizer)))
    assert tokenizer("电影<extra_id_7>好")["input_ids"].count(ids[7]) == 1
    assert len(tokenizer) <= 300


def test_letters_become_small_where_that_is_wanted() -> None:
    assert trained("wordpiece", "encoder", 200, lowercase=True).tokenize("THE FILM") == ["the", "film"]
    assert "the" not in [token.lower() for token in trained("wordpiece", "encoder", 200).tokenize("THE FILM")]


def test_rare_pieces_are_left_out() -> None:
    texts = [*TEXTS, "zebra zebra"]
    often, rare = (
        train_tokenizer(TokenizerPlan("wordpiece", 400, "encoder", min_count=count), texts).get_vocab()
        for count in (20, 2)
    )
    assert "zebra" in rare
    assert "zebra" not in often
    assert "film" in often


def test_texts_are_read_once_and_not_kept() -> None:
    most = alive = 0

    class Text(str):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def texts() -> Iterator[str]:
        nonlocal most, alive
        for number in range(5_000):
            alive += 1
            most = max(most, alive)
            yield Text(f"{TEXTS[number % 60]} {number}")

    train_tokenizer(TokenizerPlan("wordpiece", 200, "encoder"), texts())
    assert most <= 2_001


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        (TokenizerPlan("unigram", 300, "encoder", min_count=3), "--min-count: unigram keeps the likeliest pieces"),
        (TokenizerPlan("wordpiece", 300, "decoder"), "--family decoder: wordpiece is BERT's"),
        (TokenizerPlan("bpe", 200, "decoder"), "--size: 200 tokens are too few for bpe: at least 260"),
        (TokenizerPlan("unigram", 120, "encoder-decoder", sentinels=True), "too few for unigram: at least 135"),
    ],
)
def test_what_cannot_be_trained_is_refused(plan: TokenizerPlan, problem: str) -> None:
    with pytest.raises(RunError, match=problem):
        train_tokenizer(plan, TEXTS)


def test_texts_that_give_no_tokenizer_are_an_error() -> None:
    for kind in ("wordpiece", "bpe", "unigram"):
        with pytest.raises(DataError, match="there is no text to learn a tokenizer from"):
            train_tokenizer(TokenizerPlan(kind, 300, "encoder"), [])  # type: ignore[arg-type]
    signs = ["".join(chr(0x4E00 + number) for number in range(400))]
    with pytest.raises(DataError, match=r"no tokenizer of 60 tokens can be learned .*not large enough"):
        train_tokenizer(TokenizerPlan("unigram", 60, "encoder"), signs)


def test_a_broken_row_ends_the_training_with_its_line(tmp_path: Path, registry: Registry) -> None:
    file = tmp_path / "broken.jsonl"
    file.write_text('{"text": "a"}\n{no json\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"broken\.jsonl, line 2: invalid JSON"):
        train_tokenizer(TokenizerPlan("wordpiece", 200, "encoder"), texts_of_files(registry, [file]))


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    tokenizer = trained("wordpiece", "encoder", 200)
    folder = tmp_path / "deep" / "tokenizer"
    with pytest.raises(KeyboardInterrupt), save_tokenizer(folder):
        raise KeyboardInterrupt
    assert list(folder.parent.iterdir()) == []
    folder.mkdir()  # an empty folder is free
    with save_tokenizer(folder) as save:
        save(tokenizer)
    assert [path.name for path in folder.parent.iterdir()] == ["tokenizer"]
    assert (folder / "tokenizer.json").is_file()
    with pytest.raises(RunError, match=r"--output: .* exists already"), save_tokenizer(folder):
        pass
    with pytest.raises(RunError, match="cannot be written"), save_tokenizer(folder / "tokenizer.json" / "x"):
        pass
