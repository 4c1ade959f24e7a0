"""What a question with its paragraphs is, and what is answered to it: the records, and where answers stand."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from polyhead.registry.contracts import TaskSetup
from polyhead.registry.errors import RowError

NEARBY = 20
"""How many characters away a misplaced answer may stand for the message to name the place."""


@dataclass(frozen=True)
class Answer:
    """An answer that people gave: ``contexts[paragraph][start:start + len(text)]`` is its text."""

    text: str
    start: int
    paragraph: int = 0

    @property
    def end(self) -> int:
        """Return where it ends."""
        return self.start + len(self.text)


@dataclass(frozen=True)
class QuestionExample:
    """A question on one or several paragraphs, and its answers.

    ``answers`` is None where they are not known (prediction), empty where the paragraphs do not answer the question.
    """

    id: str
    question: str
    contexts: tuple[str, ...]
    answers: tuple[Answer, ...] | None = None
    title: str | None = None

    @property
    def paragraph_starts(self) -> list[int]:
        """Return where each paragraph begins in the paragraphs joined by one character: what offsets count in."""
        return list(accumulate((len(context) + 1 for context in self.contexts[:-1]), initial=0))


def paragraph_at(starts: Sequence[int], offset: int) -> int:
    """Return the paragraph that a character of the joined paragraphs belongs to."""
    return bisect_right(starts, offset) - 1


@dataclass(frozen=True)
class FoundSpan:
    """A span that may be the answer: ``contexts[paragraph][start:end]`` is its text."""

    text: str
    start: int
    end: int
    paragraph: int
    score: float
    """Its share of the softmax over the spans kept and "no answer"."""


@dataclass(frozen=True)
class AnswerPrediction:
    """The answer to a question with its place; an empty answer without one says that the paragraphs hold none."""

    id: str
    answer: str
    start: int | None
    end: int | None
    paragraph: int | None
    score: float
    """The probability of the answer (of "no answer", where that is what was answered) among the spans kept."""
    no_answer_score: float
    """Logits of "no answer" minus those of the best span: the higher, the less likely the question has an answer."""
    n_best: tuple[FoundSpan, ...]
    """The best spans, best first, whether or not one of them was answered."""

    @property
    def best_text(self) -> str:
        """Return the best span's text, even where it was not good enough to be answered."""
        return self.n_best[0].text if self.n_best else ""


def no_answer_threshold(setup: TaskSetup) -> float:
    """Return the no-answer score above which a question stays unanswered; infinite where each must be answered."""
    wanted, chosen = setup.options.no_answer, setup.options.null_threshold
    if not (setup.facts.get("no_answer", True) if wanted is None else wanted):
        return float("inf")
    return float(setup.facts.get("null_threshold", 0.0) if chosen is None else chosen)


def read_answers(value: object, contexts: Sequence[str], column: str) -> tuple[Answer, ...]:
    """Return the answers in a row, each at its checked place.

    Args:
        value: ``{"text": [...], "answer_start": [...]}`` as in SQuAD, or a list of ``{"text", "answer_start"}`` or of
            plain texts; empty lists: no answer. With several paragraphs ``paragraph`` (from 0) goes beside
            ``answer_start``. An answer without a start is looked for.
        contexts: The paragraphs.
        column: The column, for messages.

    Raises:
        RowError: An answer that does not stand where the row says, or that is nowhere, or in several places.

    """
    entries = _as_entries(value, column)
    return tuple(_located(entry, contexts, f"answer {number}", column) for number, entry in enumerate(entries, start=1))


def _as_entries(value: object, column: str) -> list[Mapping[str, object]]:
    """Return one mapping for each answer, whatever form they came in."""
    if isinstance(value, Mapping):
        unknown = sorted(set(value) - {"text", "answer_start", "paragraph"})
        lists = {name: entries for name, entries in value.items() if entries is not None}
        if unknown or "text" not in lists or not all(isinstance(entries, list | tuple) for entries in lists.values()):
            raise RowError('expected {"text": [...], "answer_start": [...]}, found ' + f"{value!r:.80}", column=column)
        if len({len(entries) for entries in lists.values()}) > 1:
            counts = ", ".join(f"{len(entries)} in '{name}'" for name, entries in lists.items())
            raise RowError(f"expected as many starts as texts, found {counts}", column=column)
        return [dict(zip(lists, entries, strict=True)) for entries in zip(*lists.values(), strict=True)]
    if not isinstance(value, list | tuple):
        raise RowError(f"expected answers with their starts, found {type(value).__name__} {value!r:.60}", column=column)
    return [entry if isinstance(entry, Mapping) else {"text": entry} for entry in value]


def _located(entry: Mapping[str, object], contexts: Sequence[str], which: str, column: str) -> Answer:
    """Return one answer at its place."""
    text = entry.get("text")
    if not isinstance(text, str) or not text.strip():
        hint = "; a question without an answer has an empty list" if text == "" else ""
        raise RowError(f"{which}: expected a text, found {text!r:.60}{hint}", column=column)
    start, paragraph = (_whole(entry.get(name), name, which, column) for name in ("answer_start", "paragraph"))
    if paragraph is not None and not 0 <= paragraph < len(contexts):
        raise RowError(f"{which}: paragraph {paragraph} is none of 0 to {len(contexts) - 1}", column=column)
    among = range(len(contexts)) if paragraph is None else [paragraph]
    places = [(at, number) for number in among for at in _places(contexts[number], text)]
    found = places if start is None else [(at, number) for at, number in places if at == start]
    if len(found) == 1:
        return Answer(text, *found[0])
    if start is None:
        problem = (
            f"stands {len(found)} times in the context; give its answer_start" if found else "is not in the context"
        )
        raise RowError(f"{which}: '{text:.60}' {problem}", column=column)
    if found:
        problem = f"'{text:.60}' stands at {start} in several paragraphs; say in which (paragraph, from 0)"
        raise RowError(f"{which}: {problem}", column=column)
    there = contexts[among[0]][max(start, 0) :][: len(text)] if len(among) == 1 else ""
    raise RowError(f"{which}: {_misplaced(text, start, there, [at for at, _ in places])}", column=column)


def _whole(value: object, name: str, which: str, column: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise RowError(f"{which}: expected a whole number as {name}, found {value!r:.20}", column=column)


def _places(context: str, text: str) -> list[int]:
    """Return every place of a text in a context, overlapping ones too."""
    places, at = [], context.find(text)
    while at >= 0:
        places.append(at)
        at = context.find(text, at + 1)
    return places


def _misplaced(text: str, start: int, there: str, places: Sequence[int]) -> str:
    """Say what stands where an answer should, and where the answer stands instead."""
    said = f"'{text:.60}' does not stand at character {start}" + (f" (there stands '{there:.60}')" if there else "")
    if not places:
        return f"{said}, nor anywhere in the context"
    nearest = min(places, key=lambda place: abs(place - start))
    if abs(nearest - start) > NEARBY:
        return f"{said}; the nearest place is character {nearest}"
    way = "later" if nearest > start else "earlier"
    return f"{said}; it stands {abs(nearest - start)} characters {way}, at {nearest}: count characters, not bytes"
