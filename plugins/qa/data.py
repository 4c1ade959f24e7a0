"""From a row to an example, and from examples to features."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from polyhead.registry import DataError, EncodeSettings, Feature, Row, RowError, TaskSetup
from polyhead.registry.toolkit.labels import text_of
from polyhead.registry.toolkit.question_answering import Answer, QuestionExample, read_answers
from polyhead.registry.toolkit.question_windows import QuestionWindow, Tokens, frame_of, tokenise

__all__ = ["QaOptions", "check_example", "encode", "prepare", "setup_from_labels", "to_example"]

UNKNOWN = -100
"""The label of a window whose answer the tokenizer has no token for; no loss counts it."""


@dataclass(frozen=True)
class QaOptions:
    """Settings of the question-answering task."""

    max_answer_length: int = 64
    """Most tokens in an answer."""
    n_best: int = 5
    """How many spans a prediction lists."""
    no_answer: bool | None = None
    """Whether a question may stay unanswered; none: whether the training data holds such questions (a model that
    others trained: yes)."""
    null_threshold: float | None = None
    """A question stays unanswered where "no answer" scores higher than the best span by more than this; none: chosen on
    the validation data for the best F1, 0 without them."""
    language: Literal["auto", "en", "zh"] = "auto"
    """How answers are compared: by words as SQuAD does (``en``) or by Chinese characters as CMRC 2018 does (``zh``);
    ``auto``: by what most characters of the given answers are."""
    template: str = "{question}\n\n{context}\n\n"
    """What a decoder reads. The question stands first: a causal mask hides from the context what comes behind it."""
    causal: bool = True
    """False switches the causal mask of a decoder off, so that a token is scored with all that follows it in view."""

    def __post_init__(self) -> None:
        """Refuse a template without its places, and counts below 1."""
        for name in ("max_answer_length", "n_best"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if [self.template.count(place) for place in ("{question}", "{context}")] != [1, 1]:
            raise ValueError(f"template must hold {{question}} and {{context}} once each, not {self.template!r}")
        if self.template.index("{question}") > self.template.index("{context}"):
            raise ValueError(f"template must hold {{question}} before {{context}}, not {self.template!r}")


def to_example(row: Row, row_id: str, options: Any) -> QuestionExample:  # noqa: ARG001 - the contract's form
    """Read question, paragraphs and answers, and check that each answer stands where the row says."""
    contexts = _contexts_of(row)
    title = text_of(row, "title") if row.get("title") else None
    value = row.get("answers")
    answers = None if value is None else read_answers(value, contexts, "answers")
    return QuestionExample(row_id, text_of(row, "question"), contexts, answers, title)


def _contexts_of(row: Row) -> tuple[str, ...]:
    if row.get("contexts") is None:
        if row.get("context") is None:
            raise RowError("is missing: a row needs 'context' (one paragraph) or 'contexts' (a list)", column="context")
        return (text_of(row, "context"),)
    if row.get("context") is not None:
        raise RowError("a row has either 'context' or 'contexts', not both", column="contexts")
    contexts = row["contexts"]
    if not isinstance(contexts, list | tuple) or not contexts:
        raise RowError(f"expected a list of paragraphs, found {contexts!r:.60}", column="contexts")
    return tuple(text_of({"contexts": context}, "contexts") for context in contexts)


def prepare(examples: Sequence[QuestionExample], options: QaOptions) -> TaskSetup:
    """Learn whether questions may be without an answer.

    Raises:
        DataError: No question has one.

    """
    if not any(example.answers for example in examples):
        raise DataError("the training data holds no question with an answer")
    return TaskSetup(options, facts={"no_answer": any(not example.answers for example in examples)})


def setup_from_labels(labels: tuple[str, ...], options: QaOptions) -> TaskSetup:  # noqa: ARG001 - likewise
    """Take over a model that others fine-tuned: its two "labels" are start and end and say nothing."""
    return TaskSetup(options)


def check_example(example: QuestionExample, setup: TaskSetup) -> None:
    """Accept every example: what can be wrong with one `to_example` has refused already."""


def encode(examples: Sequence[QuestionExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise; each paragraph of each question gives at least one window, with the question in it.

    Offsets count in the paragraphs joined by one character (`QuestionExample.paragraph_starts`).

    Raises:
        DataError: A question leaves no room for its paragraph.

    """
    if not examples:
        return []
    frame = frame_of(settings, settings.setup.options.template)
    questions = tokenise(settings, [example.question for example in examples])
    contexts = tokenise(settings, [context for example in examples for context in example.contexts])
    features: list[Feature] = []
    for position, example in enumerate(examples):
        question = questions[example.question].ids
        if frame.size + len(question) >= settings.max_length:
            raise DataError(
                f"example '{example.id}': the question has {len(question)} tokens and leaves no room for its context "
                f"in a window of {settings.max_length} tokens; raise data.max_length or shorten the question"
            )
        answer = None if settings.predicting else _trained_answer(example)
        for number, start in enumerate(example.paragraph_starts):
            context = contexts[example.contexts[number]]
            here = answer if answer is not None and answer.paragraph == number else None
            known = example.answers is not None and not settings.predicting
            for window in frame.windows(question, context, settings.max_length, settings.stride):
                labels = _labels(window, context, here) if known else {}
                features.append(Feature(position, window.inputs, labels, _moved(window.offsets, start)))
    return features


def _trained_answer(example: QuestionExample) -> Answer | None:
    """Return the answer that most people gave, the first among equals."""
    return Counter(example.answers).most_common(1)[0][0] if example.answers else None


def _moved(offsets: Sequence[tuple[int, int]], by: int) -> list[tuple[int, int]]:
    return [(start + by, end + by) if start >= 0 else (start, end) for start, end in offsets]


def _labels(window: QuestionWindow, context: Tokens, answer: Answer | None) -> Mapping[str, float | Sequence[float]]:
    """Return the labels of a window: where the answer to its paragraph starts and ends, if it holds it whole."""
    start = end = window.no_answer
    span = None if answer is None else _token_span(context, answer)
    if answer is not None and span is None:
        start = end = UNKNOWN
    elif span is not None and window.first <= span[0] and span[1] < window.stop:
        start, end = (place - window.first + window.lead for place in span)
    allowed = [int(left >= 0 or place == window.no_answer) for place, (left, _) in enumerate(window.offsets)]
    return {"start": start, "end": end, "allowed": allowed}


def _token_span(context: Tokens, answer: Answer) -> tuple[int, int] | None:
    """Return the first and the last token that hold a character of the answer; None where no token does."""
    real = [number for number, (left, right) in enumerate(context.spans) if left < right]
    first = bisect_right(real, answer.start, key=lambda number: context.spans[number][1])
    last = bisect_left(real, answer.end, key=lambda number: context.spans[number][0]) - 1
    return (real[first], real[last]) if first <= last else None
