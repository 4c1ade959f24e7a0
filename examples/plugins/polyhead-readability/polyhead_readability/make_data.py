"""Write data for the task: Chinese sentences with their HSK level, or English paragraphs with Flesch's score.

::

    pip install hsk-sentences-audio         # 4,354 sentences, CC BY-SA 4.0
    python -m polyhead_readability.make_data hsk data/hsk
    python -m polyhead_readability.make_data flesch data/flesch/train.jsonl train.jsonl.gz --column context
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from polyhead_readability.flesch import reading_ease

SEED = 20240517
SHARES = {"validation": 0.1, "test": 0.1}


def hsk_rows() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each split: sentences of the package ``hsk-sentences-audio`` and their levels, 1 to 6."""
    from hsk_sentences_audio import load_sentences

    levels: dict[str, int] = {}
    for sentence in load_sentences():
        levels.setdefault(sentence["chinese"], sentence["hsk_level"])  # the lowest: they come in this order
    rows = [{"text": text, "score": level} for text, level in levels.items()]
    random.Random(SEED).shuffle(rows)  # noqa: S311 - no secret
    splits: dict[str, list[dict[str, Any]]] = {}
    for name, share in SHARES.items():
        size = round(share * len(levels))
        splits[name], rows = rows[:size], rows[size:]
    return {"train": rows, **splits}


def flesch_rows(files: Sequence[Path], column: str) -> Iterator[dict[str, Any]]:
    """Yield each different text in a column of JSONL files, with the reading ease of the whole text."""
    seen: set[str] = set()
    for file in files:
        content = file.read_bytes()
        lines = (gzip.decompress(content) if file.suffix == ".gz" else content).decode("utf-8").split("\n")
        for line in filter(None, lines):
            text = json.loads(line)[column]
            ease = reading_ease(text)
            if text not in seen and ease is not None:
                seen.add(text)
                yield {"text": text, "score": round(ease, 2)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m polyhead_readability.make_data")
    kinds = parser.add_subparsers(dest="kind", required=True)
    hsk = kinds.add_parser("hsk", help="sentences for learners of Chinese, with their level")
    hsk.add_argument("folder", type=Path)
    flesch = kinds.add_parser("flesch", help="English texts with Flesch's reading ease")
    flesch.add_argument("output", type=Path)
    flesch.add_argument("files", type=Path, nargs="+", help="JSONL, also .gz")
    flesch.add_argument("--column", default="text", help="the column that holds the text")
    asked = parser.parse_args(arguments)
    if asked.kind == "hsk":
        for name, rows in hsk_rows().items():
            _write(asked.folder / f"{name}.jsonl", rows)
    else:
        _write(asked.output, list(flesch_rows(asked.files, asked.column)))
    return 0


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    sys.stderr.write(f"{path}: {len(rows):,} rows\n")


if __name__ == "__main__":
    sys.exit(main())
