"""How likely known texts are and how varied written ones, and what that is compared with: characters by frequency."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from polyhead.plugins.generation.data import GenerationExample
from polyhead.plugins.generation.head import GenerationPrediction, Likelihood
from polyhead.registry import DataError, Scores, TaskSetup
from polyhead.registry.toolkit.character_frequencies import character_counts, negative_log_likelihoods
from polyhead.registry.toolkit.sentence_windows import CJK

REPEATED = 4
"""Length of the sequences whose repetition is measured, as in Welleck et al. 2020."""
_WORD = re.compile(rf"[{CJK}]|(?:(?![{CJK}])\w)+|[^\w\s]")


def score(
    predictions: Sequence[GenerationPrediction],
    examples: Sequence[GenerationExample],  # noqa: ARG001 - the contract's form
    setup: TaskSetup,  # noqa: ARG001 - likewise
) -> Scores:
    """Compute perplexity and bits by byte and character of known texts, and the variety of written ones."""
    scored = [prediction.likelihood for prediction in predictions if prediction.likelihood is not None]
    if not scored:
        raise DataError("nothing to score: no text has two tokens or more, and no prompt has a completion")
    nll, tokens = math.fsum(found.nll for found in scored), sum(found.tokens for found in scored)
    values: dict[str, float] = {"perplexity": math.exp(min(nll / tokens, 700.0))} if tokens else {}
    bits = nll / math.log(2)
    characters, size = sum(found.characters for found in scored), sum(found.bytes for found in scored)
    if characters:
        values |= {"bits_per_byte": bits / size, "bits_per_character": bits / characters}
    values |= {"scored_tokens": tokens} if tokens else {}
    texts = [_words(prediction.text) for prediction in predictions if prediction.tokens]
    signature = "perplexity:exp(nll/tokens)|bits:log2|bytes:utf-8"
    if texts:
        values |= {
            "distinct_1": _distinct(texts, 1),
            "distinct_2": _distinct(texts, 2),
            "repetition": _repetition(texts),
        }
        signature += f"|distinct:corpus|repetition:{REPEATED}-grams|words:\\w+,cjk-characters"
    return Scores(values, signature)


def headline(setup: TaskSetup) -> str:  # noqa: ARG001 - the contract's form
    """Name the value that decides which model is best."""
    return "perplexity"


def baseline(examples: Sequence[GenerationExample], setup: TaskSetup) -> list[GenerationPrediction]:
    """Expect each character as often as it occurs in the training texts, whatever stands before it.

    The characters of these very texts are counted where the training texts are not known.
    """
    texts = [example.known or "" for example in examples]
    counts = setup.facts.get("characters") or character_counts(texts)
    return [
        GenerationPrediction(
            example.id,
            prompt=example.asked if example.text is None else "",
            text="",
            log_probability=0.0,
            tokens=0,
            finished=False,
            likelihood=Likelihood(nll, 0, len(text), len(text.encode())),
        )
        for example, text, nll in zip(examples, texts, negative_log_likelihoods(texts, counts), strict=True)
    ]


# ── written texts ───────────────────────────────────────────────────────────────────────────────────────


def _words(text: str) -> list[str]:
    """Return words and marks; of scripts without blanks every character is a word."""
    return _WORD.findall(text)


def _sequences(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + length]) for at in range(len(words) - length + 1)]


def _distinct(texts: Sequence[Sequence[str]], length: int) -> float:
    """Return the share of different sequences among all of all texts (Li et al. 2016)."""
    found = [sequence for words in texts for sequence in _sequences(words, length)]
    return len(set(found)) / len(found) if found else 0.0


def _repetition(texts: Sequence[Sequence[str]]) -> float:
    """Return the share of sequences that occurred before in their text, averaged over texts (Welleck et al. 2020)."""
    shares = []
    for words in texts:
        found = _sequences(words, REPEATED)
        shares.append(1 - len(set(found)) / len(found) if found else 0.0)
    return math.fsum(shares) / len(shares)
