"""Texts without a task: every format, every field that holds text, and how a tokenizer covers them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from polyhead.backbone.data.plain_texts import coverage_of, texts_of_files
from polyhead.backbone.data.tokenizer_training import TokenizerPlan, train_tokenizer
from polyhead.registry import DataError, Registry


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    rows = [
        {"id": "7", "text": "a film", "label": "good", "translation": {"en": "one", "zh": "一"}, "tags": ["B", "O"]},
        {"id": "8", "text": " ", "label": "bad", "translation": {"en": "two", "zh": "二"}, "score": 3},
    ]
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    plain = tmp_path / "plain.txt"
    plain.write_text("第一行\n\nthe second line\n", encoding="gb18030")
    table = tmp_path / "table.csv"
    table.write_text("text,label\nin a table,x\n", encoding="utf-8")
    return {"packed": packed, "plain": plain, "table": table}


def test_every_format_is_read_and_every_text_but_ids_and_labels(files: dict[str, Path], registry: Registry) -> None:
    found = list(texts_of_files(registry, list(files.values())))
    assert found == ["a film", "one", "一", "two", "二", "第一行", "the second line", "in a table"]


def test_named_fields_are_read_only(files: dict[str, Path], registry: Registry) -> None:
    packed = [files["packed"]]
    assert list(texts_of_files(registry, packed, fields=("translation.zh", "label"))) == ["一", "good", "二", "bad"]
    assert list(texts_of_files(registry, packed, fields=("tags",))) == ["B O"]
    with pytest.raises(
        DataError, match=r"has none of the fields txt\. Did you mean 'text'\? Columns found: 'id', 'text'"
    ):
        list(texts_of_files(registry, packed, fields=("txt",)))


def test_coverage_counts_tokens_characters_and_the_unknown() -> None:
    tokenizer = train_tokenizer(TokenizerPlan("wordpiece", 200, "encoder"), ["电影很好", "the film"] * 2)
    found = coverage_of(tokenizer, ["电影好", "龘 film"]).to_json()
    assert found == {
        "texts": 2,
        "characters": 9,
        "tokens": 5,
        "unknown_tokens": 1,
        "unknown_share": 0.2,
        "tokens_per_character": 5 / 9,
    }
    assert coverage_of(tokenizer, []).to_json()["unknown_share"] == 0.0
