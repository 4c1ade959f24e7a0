"""From a row to an example, and from examples to features: a document, and its summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median, quantiles
from typing import Any, Literal

from polyhead.registry import DataError, EncodeSettings, Feature, Row, RowError, TaskSetup
from polyhead.registry.toolkit.chat_templates import uses_chat
from polyhead.registry.toolkit.labels import text_of
from polyhead.registry.toolkit.languages import east_asian_language
from polyhead.registry.toolkit.prompt_templates import Framing, check_template, frame_of
from polyhead.registry.toolkit.sentence_windows import sentences, words_of
from polyhead.registry.toolkit.text_to_text import Pair, encode_pairs, encode_prompts_of
from polyhead.registry.toolkit.writing_options import WritingOptions

LENGTHS = {"short": 10, "medium": 25, "long": 60}
"""Words (Chinese: characters) that the names of lengths stand for, until the training data tell."""
TEMPLATES = {"en": "{document}\n\nTL;DR{length}: {summary}", "zh": "{document}\n\n摘要{length}：{summary}"}
INSTRUCTIONS = {"en": "Summarize this text{length}:\n{document}", "zh": "请概括下面的文字{length}：\n{document}"}
LENGTH_PHRASES = {"en": " in about {words} words", "zh": "（约{words}字）"}
LENGTH_PREFIXES = {"en": "summarize{length}: ", "zh": "概括{length}："}


@dataclass(frozen=True)
class SummarizationOptions(WritingOptions):
    """Settings of the summarization task."""

    max_new_tokens: int = 128
    """Most tokens that are written for one window of a document; goes with ``min_new_tokens``."""
    language: Literal["auto", "en", "zh"] = "auto"
    """Language of the prompts, and how ROUGE cuts words; ``auto`` tells Chinese by its script."""
    target_length: Literal["short", "medium", "long"] | int | None = None
    """The length that the prompt asks for: a number of words (Chinese: characters), or a name for the lower quartile,
    the median or the upper quartile of the training summaries; null: none is asked for."""
    learn_length: bool = False
    """Whether each training prompt states the length of its own summary, so that a model that follows no instruction
    learns what ``target_length`` means (where that is null, predictions ask for the median)."""
    long_documents: Literal["summarize-again", "join"] = "summarize-again"
    """A document longer than a window: its windows' summaries are joined and summarised ``again`` until one window
    holds them, at most three times more; or they are only joined."""
    prefix: str | None = None
    """What an encoder-decoder reads before the document, such as ``"summarize: "`` for T5; may hold ``{length}``. Null:
    nothing, or the length where one is asked for."""
    template: str | None = None
    """What a decoder reads and writes on, with ``{document}``, ``{length}`` and ``{summary}``, where it has no chat
    template or ``chat`` is false; null: ``{document} TL;DR: {summary}``, in Chinese ``摘要``."""
    instruction: str | None = None
    """What a decoder is asked through its chat template, with ``{document}`` and ``{length}``; null: a request to
    summarise, in the document's language."""
    system: str = ""
    """A system message, for chat templates."""
    stemmer: bool = True
    """Whether ROUGE compares stems of English words."""

    def __post_init__(self) -> None:
        """Refuse lengths below 1, and templates without their document."""
        super().__post_init__()
        if isinstance(self.target_length, int) and self.target_length < 1:
            raise ValueError(f"target_length must be at least 1 word, not {self.target_length}")
        check_template("prefix", f"{self.prefix or ''}{{document}}", source="document", fields=("length",))
        if self.template is not None:
            check_template("template", self.template, source="document", fields=("length", "summary"))
        if self.instruction is not None:
            check_template("instruction", self.instruction, source="document", fields=("length",))


@dataclass(frozen=True)
class SummarizationExample:
    """A document, and its summary where that is known."""

    id: str
    document: str
    summary: str | None = None
    rounds: int = 0
    """How often it has been summarised already: then ``document`` is the summaries of its windows."""


def to_example(row: Row, row_id: str, options: SummarizationOptions) -> SummarizationExample:  # noqa: ARG001
    """Read ``document`` and ``summary``."""
    summary = text_of(row, "summary") if row.get("summary") else None
    return SummarizationExample(row_id, text_of(row, "document"), summary)


def prepare(examples: Sequence[SummarizationExample], options: SummarizationOptions) -> TaskSetup:
    """Learn from the training summaries how many sentences, and words, they have.

    Raises:
        DataError: An example has no summary.

    """
    for example in examples:
        if example.summary is None:
            raise DataError(f"example '{example.id}' has no summary: nothing can be learned from it")
    summaries = [example.summary or "" for example in examples]
    counts = [len(words_of(summary)) for summary in summaries]
    cuts = quantiles(counts, n=4, method="inclusive") if len(counts) > 1 else counts * 3
    lengths = {name: max(1, round(cut)) for name, cut in zip(LENGTHS, cuts, strict=True)}
    sentence_count = max(1, round(median(len(sentences(summary)) for summary in summaries)))
    return TaskSetup(options, (), {"sentences": sentence_count, "lengths": lengths})


def setup_from_labels(labels: tuple[str, ...], options: SummarizationOptions) -> TaskSetup:  # noqa: ARG001
    """Take over a model that others fine-tuned: it has no labels."""
    return TaskSetup(options)


def check_example(example: SummarizationExample, setup: TaskSetup) -> None:  # noqa: ARG001 - the contract's form
    """Refuse an example without a summary to compare with."""
    if example.summary is None:
        raise RowError("there is no summary to compare with", column="summary")


def encode(examples: Sequence[SummarizationExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise documents with their summaries."""
    options = settings.setup.options
    pairs = [_pair(example, settings, learned=options.learn_length) for example in examples]
    return encode_pairs(pairs, settings, chat=options.chat, system=options.system)


def encode_prompts(examples: Sequence[SummarizationExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise what the model writes on from: the windows of each document."""
    options = settings.setup.options
    pairs = [_pair(example, settings, learned=False) for example in examples]
    return encode_prompts_of(
        pairs, settings, max_new_tokens=options.max_new_tokens, chat=options.chat, system=options.system
    )


def follow_up(example: SummarizationExample, prediction: Any, setup: TaskSetup) -> SummarizationExample | None:
    """Return the joined summaries of a document's windows, to be summarised again: at most three times."""
    if setup.options.long_documents == "join" or prediction.windows < 2 or example.rounds == 3:
        return None
    if not prediction.summary:  # nothing was written that could be read
        return None
    return replace(example, document=prediction.summary, summary=None, rounds=example.rounds + 1)


def _pair(example: SummarizationExample, settings: EncodeSettings, *, learned: bool) -> Pair:
    """Return what is to be read and written of an example; ``learned``: with the length of its own summary."""
    own = len(words_of(example.summary)) if learned and example.summary else None
    return Pair(example.document, example.summary, *_frame(example.document, own, settings), id=example.id)


def _frame(document: str, own_length: int | None, settings: EncodeSettings) -> Framing:
    """Return what stands around a document, as the model reads."""
    options = settings.setup.options
    language = options.language
    if language == "auto":
        language = "zh" if east_asian_language(document[:2000]) == "zh" else "en"
    words = own_length or _wanted_length(settings.setup)
    fields = {"length": LENGTH_PHRASES[language].replace("{words}", str(_rounded(words))) if words else ""}
    if uses_chat(settings, options.chat):
        return frame_of(options.instruction or INSTRUCTIONS[language], "document", fields)
    if settings.family == "decoder":
        return frame_of(options.template or TEMPLATES[language], "document", fields, "summary")
    prefix = options.prefix
    if prefix is None:
        prefix = LENGTH_PREFIXES[language] if words else ""
    return frame_of(f"{prefix}{{document}}", "document", fields)


def _wanted_length(setup: TaskSetup) -> int | None:
    """Return how many words the prompt of a prediction asks for."""
    wanted: str | int | None = setup.options.target_length
    if wanted is None and setup.options.learn_length:
        wanted = "medium"
    return int(setup.facts.get("lengths", LENGTHS)[wanted]) if isinstance(wanted, str) else wanted


def _rounded(words: int) -> int:
    """Return a number of words as people say it: so that a model sees each often enough to learn what it means."""
    step = 1 if words < 10 else 5 if words < 50 else 10
    return max(1, step * round(words / step))
