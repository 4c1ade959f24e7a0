"""How well tokens are restored, and what that is compared with: words guessed by their frequency."""

from __future__ import annotations

import math
from collections.abc import Sequence

from polyhead.plugins.pretraining.data import PretrainingExample
from polyhead.plugins.pretraining.head import PretrainingPrediction
from polyhead.registry import DataError, Scores, TaskSetup
from polyhead.registry.toolkit.word_frequencies import guess_words, word_counts


def score(
    predictions: Sequence[PretrainingPrediction],
    examples: Sequence[PretrainingExample],  # noqa: ARG001 - the contract's form
    setup: TaskSetup,  # noqa: ARG001 - likewise
) -> Scores:
    """Compute perplexity, bits by token and the share of right tokens over the whole data set."""
    nll, tokens = math.fsum(found.nll for found in predictions), sum(found.tokens for found in predictions)
    if not tokens:
        raise DataError("nothing to score: no text has a token that is to be restored")
    values = {
        "perplexity": math.exp(min(nll / tokens, 700.0)),
        "bits_per_token": nll / tokens / math.log(2),
        "accuracy": sum(found.right for found in predictions) / tokens,
        "scored_tokens": tokens,
    }
    return Scores(values, "perplexity:exp(nll/tokens)|bits:log2|accuracy:likeliest-token")


def headline(setup: TaskSetup) -> str:  # noqa: ARG001 - the contract's form
    """Name the value that decides which model is best."""
    return "perplexity"


def baseline(examples: Sequence[PretrainingExample], setup: TaskSetup) -> list[PretrainingPrediction]:
    """Expect each word as often as it occurs in the training texts, whatever stands around it.

    The words of these very texts are counted where the training texts are not known.
    """
    texts = [example.text for example in examples]
    counts = setup.facts.get("words") or word_counts(texts)
    return [
        PretrainingPrediction(example.id, guess.nll, guess.words, guess.right)
        for example, guess in zip(examples, guess_words(texts, counts), strict=True)
    ]
