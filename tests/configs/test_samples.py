"""The shipped data sets: every file can be read and holds the rows that its README says; their licences are kept."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest

from polyhead.backbone.data.readers import format_of, read_rows

SAMPLES = Path(__file__).parents[2] / "configs" / "samples"
FILES = sorted(SAMPLES.glob("*/*.jsonl*"))
MOST_BYTES = 8_500_000
"""All of them together: they travel in every wheel."""


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows = list(read_rows(path, format_of(path), None))
    assert [row.problem for row in rows if row.problem] == []
    return [dict(row.row) for row in rows]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_file_is_what_its_readme_says(path: Path) -> None:
    readme = (path.parent / "README.md").read_text(encoding="utf-8")
    (stated,) = re.findall(rf"\| {re.escape(path.name)} \| (\d+) \| (\d+) \|", readme)
    assert (len(rows_of(path)), path.stat().st_size) == tuple(map(int, stated))


def test_each_data_set_has_three_splits() -> None:
    for folder in (each for each in SAMPLES.iterdir() if each.is_dir()):
        assert {path.name.split(".")[0] for path in folder.glob("*.jsonl*")} == {"train", "validation", "test"}


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".gz"], ids=lambda path: path.parent.name)
def test_a_packed_file_bears_neither_time_nor_name(path: Path) -> None:
    header = path.read_bytes()[:10]
    assert header[:2] == b"\x1f\x8b"
    assert (header[3], header[4:8]) == (0, b"\0\0\0\0")


def test_the_samples_are_small_together() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < MOST_BYTES


@pytest.mark.parametrize("name", ["squad2_subset", "cmrc2018"])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_answer_stands_where_it_should(name: str, split: str) -> None:
    for row in rows_of(SAMPLES / name / f"{split}.jsonl.gz"):
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
            assert row["context"][start : start + len(text)] == text


def test_every_pair_of_tatoeba_names_who_wrote_it() -> None:
    folder = SAMPLES / "tatoeba_en_zh"
    header, *lines = gzip.decompress((folder / "attribution.tsv.gz").read_bytes()).decode().splitlines()
    assert header == "file\tline\tattribution"
    attribution = re.compile(r"(train|validation|test)\t\d+\ttatoeba\.org #\d+ \(.+\) & #\d+ \(.+\)")
    assert [line for line in lines if not attribution.match(line)] == []
    named = {tuple(line.split("\t")[:2]) for line in lines}
    counts = {split: len(rows_of(folder / f"{split}.jsonl.gz")) for split in ("train", "validation", "test")}
    assert named == {(split, str(line)) for split, count in counts.items() for line in range(1, count + 1)}
