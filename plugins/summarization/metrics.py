"""How summaries are scored, and what they are compared with: the document's first sentences."""

from __future__ import annotations

from collections.abc import Sequence

from polyhead.plugins.summarization.data import SummarizationExample
from polyhead.plugins.summarization.head import SummaryPrediction
from polyhead.registry import Scores, TaskSetup
from polyhead.registry.toolkit.sentence_windows import sentences
from polyhead.registry.toolkit.written_texts import join_texts


def score(
    predictions: Sequence[SummaryPrediction], examples: Sequence[SummarizationExample], setup: TaskSetup
) -> Scores:
    """Compute ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum, and how long the summaries are."""
    from polyhead.registry.toolkit.summary_metrics import summary_scores  # heavy: imports evaluate

    return summary_scores(
        [prediction.summary for prediction in predictions],
        [example.summary or "" for example in examples],
        [example.document for example in examples],
        language=setup.options.language,
        stemmer=setup.options.stemmer,
    )


def headline(setup: TaskSetup) -> str:  # noqa: ARG001 - the contract's form
    """Name the value that decides which model is best: ROUGE-1, the one that baselines are usually told in."""
    return "rouge1"


def baseline(examples: Sequence[SummarizationExample], setup: TaskSetup) -> list[SummaryPrediction]:
    """Take as many of the first sentences as the training summaries have (one, where these are not known)."""
    count = setup.facts.get("sentences", 1)
    return [
        SummaryPrediction(
            id=example.id,
            summary=join_texts(sentences(example.document)[:count]),
            log_probability=0.0,
            tokens=0,
            finished=True,
            windows=1,
            rounds=1,
        )
        for example in examples
    ]
