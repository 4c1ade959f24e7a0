"""How predictions are scored, and what they are compared with: labels, grades or numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

from polyhead.plugins.sentiment.data import NumberPrediction, PolarityPrediction
from polyhead.registry import Scores, Table, TaskSetup, TextExample
from polyhead.registry.toolkit import single_label
from polyhead.registry.toolkit.label_predictions import LabelPrediction
from polyhead.registry.toolkit.polarity import label_scale, number_in, to_polarity

Answer = LabelPrediction | NumberPrediction

MOST_ASPECTS = 20
"""With more aspects than this there is no table by aspect."""


def score(predictions: Sequence[Answer], examples: Sequence[TextExample], setup: TaskSetup) -> Scores:
    """Compute accuracy, precision, recall, F1 and MCC; of grades also MAE and kappa; of numbers MAE and correlation."""
    scores = _scores(predictions, examples, setup)
    return Scores(scores.values, scores.signature, (*scores.tables, *_by_aspect(predictions, examples, setup)))


def headline(setup: TaskSetup) -> str:
    """Name the value that decides which model is best."""
    if "range" in setup.facts:
        return "mae"
    return "kappa_quadratic" if setup.options.ordinal else "accuracy"


def baseline(examples: Sequence[TextExample], setup: TaskSetup) -> list[Answer]:
    """Answer the majority class of the training data to everything, of numbers their median.

    Where the training data are not known, those of the examples.
    """
    if "range" not in setup.facts:
        return [
            PolarityPrediction(given.id, given.label, given.score, given.scores, None)
            for given in single_label.baseline(examples, setup)
        ]
    number = setup.facts.get("median")
    if number is None:
        number = median(_number_of(example) for example in examples)
    span = setup.facts["range"]
    polarity = None if span is None else to_polarity(number, span)
    return [NumberPrediction(example.id, number, polarity) for example in examples]


def _scores(predictions: Sequence[Answer], examples: Sequence[TextExample], setup: TaskSetup) -> Scores:
    if "range" in setup.facts:
        return _number_scores(predictions, examples, setup)
    labelled = [given for given in predictions if isinstance(given, LabelPrediction)]
    scores = single_label.score(labelled, examples, setup)
    ranks = label_scale(setup.labels, setup.options.scale, setup.options.polarity).ranks
    if ranks is None or (len(ranks) == 2 and not setup.options.ordinal):  # of two, accuracy says it all
        return scores
    from polyhead.registry.toolkit.number_metrics import ordinal_scores  # heavy: imports evaluate

    rank_of = dict(zip(setup.labels, ranks, strict=True))
    expected = [rank_of[(example.labels or ("",))[0]] for example in examples]
    graded = ordinal_scores([rank_of[given.label] for given in labelled], expected, ranks)
    return Scores({**scores.values, **graded.values}, f"{scores.signature} {graded.signature}", scores.tables)


def _number_scores(predictions: Sequence[Answer], examples: Sequence[TextExample], setup: TaskSetup) -> Scores:
    from polyhead.registry.toolkit.number_metrics import number_scores  # heavy: imports evaluate

    numbers = [given.number for given in predictions if isinstance(given, NumberPrediction)]
    span = setup.facts["range"] or (0.0, 0.0)
    return number_scores(numbers, [_number_of(example) for example in examples], sum(span) / 2)


def _by_aspect(predictions: Sequence[Answer], examples: Sequence[TextExample], setup: TaskSetup) -> list[Table]:
    """Return the table of scores by aspect; none where there are no aspects, or too many."""
    counts = Counter(example.text_pair for example in examples if example.text_pair is not None)
    if not 0 < len(counts) <= MOST_ASPECTS:
        return []
    names = ("mae", "pearson") if "range" in setup.facts else ("accuracy", "f1_macro")
    rows: list[tuple[str | int | float, ...]] = []
    for aspect, count in counts.most_common():
        chosen = [at for at, example in enumerate(examples) if example.text_pair == aspect]
        values = _scores([predictions[at] for at in chosen], [examples[at] for at in chosen], setup).values
        rows.append((str(aspect), count, *(values[name] for name in names)))
    return [Table("Scores by aspect", ("aspect", "count", *names), tuple(rows))]


def _number_of(example: TextExample) -> float:
    return number_in((example.labels or ("",))[0]) or 0.0
