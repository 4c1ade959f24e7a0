"""How predictions are scored, what they are compared with, and what is learned from validation data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from polyhead.registry import DataError, Scores, TaskSetup, TextExample
from polyhead.registry.toolkit.label_predictions import LabelPrediction, LabelSetPrediction, ScopedPrediction
from polyhead.registry.toolkit.labels import label_counts, majority_labels

Answer = LabelPrediction | LabelSetPrediction

AUTOMATIC_SHARE = 0.05
"""What ``options.reject=auto`` rejects of the validation rows where none of them is labelled out of scope."""


def score(predictions: Sequence[Answer], examples: Sequence[TextExample], setup: TaskSetup) -> Scores:
    """Compute accuracy, precision, recall, F1, MCC and calibration error; multi-label: F1 and Hamming loss."""
    from polyhead.registry.toolkit import classification_metrics  # heavy: imports evaluate

    expected = [example.labels or () for example in examples]
    if setup.options.multi_label:
        chosen = [answer.labels for answer in predictions if isinstance(answer, LabelSetPrediction)]
        return classification_metrics.multi_label_scores(chosen, expected, setup.labels)
    answers = [answer for answer in predictions if isinstance(answer, LabelPrediction)]
    wanted = [labels[0] for labels in expected]
    rejects = setup.options.reject is not None
    names = (*setup.labels, setup.options.out_of_scope) if rejects else setup.labels
    scores = classification_metrics.single_label_scores([answer.label for answer in answers], wanted, names)
    scores = _joined(scores, _calibration(answers, wanted, setup))
    return _joined(scores, _scope(answers, wanted, setup.options.out_of_scope)) if rejects else scores


def headline(setup: TaskSetup) -> str:
    """Name the value that decides which model is best."""
    return "f1_micro" if setup.options.multi_label else "accuracy"


def baseline(examples: Sequence[TextExample], setup: TaskSetup) -> list[Answer]:
    """Answer the majority class of the training data to everything; multi-label: the labels of more than half."""
    majority = setup.facts.get("majority_labels")
    if majority is None:  # a model that others fine-tuned: the training data is not known
        majority = majority_labels(label_counts(examples), len(examples), multi_label=setup.options.multi_label)
    if setup.options.multi_label:
        return [LabelSetPrediction(example.id, tuple(majority), {}) for example in examples]
    label = majority[0]
    if setup.options.reject is not None:
        return [ScopedPrediction(example.id, label, 1.0, {label: 1.0}, label) for example in examples]
    return [LabelPrediction(example.id, label, 1.0, {label: 1.0}) for example in examples]


def calibrate(predictions: Sequence[Answer], examples: Sequence[TextExample], setup: TaskSetup) -> TaskSetup:
    """Choose on validation data: multi-label, thresholds; else, where asked for, temperature and rejection."""
    from polyhead.registry.toolkit import calibration  # heavy: imports numpy

    options, expected = setup.options, [example.labels or () for example in examples]
    if options.multi_label:
        if options.threshold != "tuned":
            return setup
        tuned = calibration.label_thresholds([answer.scores for answer in predictions], expected, setup.labels)
        return replace(setup, facts={**setup.facts, "thresholds": tuned})
    if options.reject is None and not options.calibrated:
        return setup
    wanted = [labels[0] for labels in expected]
    inside = [at for at, label in enumerate(wanted) if label in setup.labels]
    if not inside:
        raise DataError("every validation row is labelled out of scope: calibration needs some that are in scope")
    before = setup.facts.get("temperature", 1.0)
    logits_NL = calibration.log_scores([answer.scores for answer in predictions], setup.labels, before)
    numbers = [setup.labels.index(wanted[at]) for at in inside]
    temperature = calibration.fit_temperature(logits_NL[inside], numbers)
    facts = {**setup.facts, "temperature": temperature}
    if options.reject is not None:
        confidences = calibration.confidences_at(logits_NL, temperature).tolist()
        if options.reject == "auto" and len(inside) < len(wanted):
            outside = [label not in setup.labels for label in wanted]
            facts["reject_below"] = calibration.rejection_by_f1(confidences, outside)
        else:
            share = AUTOMATIC_SHARE if options.reject == "auto" else options.reject
            facts["reject_below"] = calibration.rejection_by_share([confidences[at] for at in inside], share)
    return replace(setup, facts=facts)


def _calibration(answers: Sequence[LabelPrediction], wanted: Sequence[str], setup: TaskSetup) -> Scores:
    """Compute the expected calibration error on the rows in scope; where a temperature is fitted, without it too."""
    from polyhead.registry.toolkit import calibration  # heavy: imports numpy

    inside = [(answer, label) for answer, label in zip(answers, wanted, strict=True) if label in setup.labels]
    signature = f"ece|bins:{calibration.BINS}"
    if not inside:
        return Scores({}, signature)
    correct = [_candidate(answer) == label for answer, label in inside]
    found = calibration.reliability([answer.score for answer, _ in inside], correct)
    values = {"ece": found.error}
    if setup.options.reject is None and not setup.options.calibrated:
        return Scores(values, signature)
    temperature = setup.facts.get("temperature", 1.0)
    logits_NL = calibration.log_scores([answer.scores for answer, _ in inside], setup.labels, temperature)
    raw = calibration.reliability(calibration.confidences_at(logits_NL, 1.0).tolist(), correct)
    signature += f"|temperature:{temperature:.4g}"
    return Scores({**values, "ece_uncalibrated": raw.error}, signature, (found.table,))


def _scope(answers: Sequence[LabelPrediction], wanted: Sequence[str], out_of_scope: str) -> Scores:
    """Compute how rejection does: coverage, accuracy in scope and of what is answered, and how it finds the rest."""
    from polyhead.registry.toolkit.classification_metrics import detection_scores  # heavy: imports evaluate

    right = [answer.label == label for answer, label in zip(answers, wanted, strict=True)]
    answered = [answer.label != out_of_scope for answer in answers]
    inside = [label != out_of_scope for label in wanted]
    values = {"accuracy_answered": _share(right, answered)}
    if any(inside):
        values |= {"accuracy_in_scope": _share(right, inside), "coverage": _share(answered, inside)}
    if all(inside):
        return Scores(values, "rejection")
    detected = detection_scores(
        [not given for given in answered], [1 - answer.score for answer in answers], [not within for within in inside]
    )
    return Scores({**values, **{f"out_of_scope_{name}": value for name, value in detected.items()}}, "rejection")


def _share(what: Sequence[bool], among: Sequence[bool]) -> float:
    """Return how many of those that are among are it; 0 where none is among."""
    chosen = [value for value, counts in zip(what, among, strict=True) if counts]
    return sum(chosen) / len(chosen) if chosen else 0.0


def _candidate(answer: LabelPrediction) -> str:
    return answer.candidate if isinstance(answer, ScopedPrediction) else answer.label


def _joined(first: Scores, second: Scores) -> Scores:
    signature = f"{first.signature} {second.signature}"
    return Scores({**first.values, **second.values}, signature, (*first.tables, *second.tables))
