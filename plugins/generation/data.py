"""From a row to an example, and from examples to features: whole documents, or prompts with what follows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any

from polyhead.registry import DataError, EncodeSettings, Feature, Row, RowError, TaskSetup
from polyhead.registry.toolkit.character_frequencies import character_counts
from polyhead.registry.toolkit.chat_templates import chat_prompt, uses_chat
from polyhead.registry.toolkit.document_windows import encode_documents
from polyhead.registry.toolkit.labels import text_of
from polyhead.registry.toolkit.prompt_templates import check_template, frame_of
from polyhead.registry.toolkit.text_to_text import Pair, encode_pairs, encode_prompts_of
from polyhead.registry.toolkit.writing_options import WritingOptions


@dataclass(frozen=True)
class GenerationOptions(WritingOptions):
    """Settings of the generation task."""

    template: str = "{prompt}{completion}"
    """What is read and written on, where there is no chat template or ``chat`` is false; an encoder-decoder reads what
    stands before ``{completion}``."""
    system: str = ""
    """A system message, for chat templates."""
    end_token: bool = False
    """Whether documents end with the tokenizer's end token, also where it puts none itself, so that a decoder learns
    where texts end; perplexity then counts it."""

    def __post_init__(self) -> None:
        """Refuse a template without its prompt, or with anything behind the completion."""
        super().__post_init__()
        check_template("template", self.template, source="prompt", fields=("completion",))
        if not self.template.endswith("{completion}"):
            raise ValueError("template must end with {completion}")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class GenerationExample:
    """A document, or a prompt (a text, or a conversation so far) with what follows it where that is known."""

    id: str
    text: str | None = None
    prompt: str | None = None
    messages: tuple[Message, ...] = ()
    completion: str | None = None

    @property
    def asked(self) -> str:
        """Return the prompt as a text, whatever it was read from."""
        if not self.messages:
            return self.prompt if self.prompt is not None else self.text or ""
        if len(self.messages) == 1:
            return self.messages[0].content
        return "".join(f"{message.role}: {message.content}\n" for message in self.messages) + "assistant: "

    @property
    def known(self) -> str | None:
        """Return what a model can be scored on."""
        return self.completion if self.text is None else self.text


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────


def to_example(row: Row, row_id: str, options: GenerationOptions) -> GenerationExample:  # noqa: ARG001
    """Read ``text``, or ``prompt`` with its ``completion``, or ``messages``."""
    given = [column for column in ("text", "prompt", "messages") if row.get(column)]
    if len(given) != 1:
        found = f"found {' and '.join(given)}" if given else "found none of them"
        raise RowError(f"expected one of the columns text, prompt (with completion) and messages; {found}")
    if given == ["messages"]:
        messages = _messages(row["messages"])
        answered = messages[-1].role == "assistant"
        asked = messages[:-1] if answered else messages
        if not any(message.role == "user" for message in asked):
            raise RowError("no message of the user is to be answered", column="messages")
        return GenerationExample(row_id, messages=asked, completion=messages[-1].content if answered else None)
    if given == ["text"]:
        return GenerationExample(row_id, text=text_of(row, "text"))
    completion = text_of(row, "completion") if row.get("completion") else None
    return GenerationExample(row_id, prompt=text_of(row, "prompt"), completion=completion)


def _messages(value: Any) -> tuple[Message, ...]:
    form = "[{'role': 'user', 'content': '...'}, ...]"
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise RowError(f"expected {form}, found {value!r:.60}", column="messages")
    for message in value:
        keys = ("role", "content")
        if not isinstance(message, Mapping) or not all(isinstance(message.get(key), str) for key in keys):
            raise RowError(f"expected {form}; one message is {message!r:.60}", column="messages")
    return tuple(Message(message["role"], message["content"]) for message in value)


# ── setup ───────────────────────────────────────────────────────────────────────────────────────────────


def prepare(examples: Sequence[GenerationExample], options: GenerationOptions) -> TaskSetup:
    """Learn the characters' frequencies, for the baseline, and whether the texts are documents.

    Raises:
        DataError: An example has nothing to be learned.

    """
    for example in examples:
        if example.known is None:
            raise DataError(f"example '{example.id}' has no completion: nothing can be learned from it")
    documents = all(example.text is not None for example in examples)
    facts = {"characters": character_counts(example.known or "" for example in examples), "documents": documents}
    return TaskSetup(options, (), facts)


def setup_from_labels(labels: tuple[str, ...], options: GenerationOptions) -> TaskSetup:  # noqa: ARG001
    """Take over a model that others trained: it has no labels."""
    return TaskSetup(options)


def check_example(example: GenerationExample, setup: TaskSetup) -> None:  # noqa: ARG001 - the contract's form
    """Refuse a prompt without a completion: there is nothing to score."""
    if example.known is None:
        raise RowError("there is no completion to score; rows need text, or prompt and completion")


# ── features ────────────────────────────────────────────────────────────────────────────────────────────


def encode(examples: Sequence[GenerationExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise documents in windows, and prompts with their completions, of which only these count.

    Where the features only serve to predict there are none: a document is a prompt then.
    """
    if settings.predicting:
        return []
    features: list[Feature] = []
    options = settings.setup.options
    for documents, group in groupby(enumerate(examples), key=lambda item: item[1].text is not None):
        items = list(group)
        if documents:
            texts = [(position, example.text or "") for position, example in items]
            features += encode_documents(texts, settings, end_token=options.end_token)
            continue
        pairs = [_pair(example, settings) for _, example in items]
        found = encode_pairs(pairs, settings, chat=_chat(settings), system=options.system)
        features += [replace(feature, example=items[feature.example][0]) for feature in found]
    return features


def encode_prompts(examples: Sequence[GenerationExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise what the model writes on from; a document is a prompt only where the task is to predict.

    Raises:
        DataError: A prompt that leaves no room for what is to be written.

    """
    options = settings.setup.options
    at = [n for n, example in enumerate(examples) if example.text is None or settings.predicting]
    features = encode_prompts_of(
        [_pair(examples[position], settings) for position in at],
        settings,
        max_new_tokens=options.max_new_tokens,
        chat=_chat(settings),
        system=options.system,
    )
    features = [replace(feature, example=at[feature.example]) for feature in features]
    for before, after in pairwise(features):
        if before.example == after.example:
            raise DataError(
                f"example '{examples[after.example].id}': its prompt does not fit into {settings.max_length} tokens "
                f"beside options.max_new_tokens={options.max_new_tokens}; raise data.max_length, or shorten one of them"
            )
    return features


def _chat(settings: EncodeSettings) -> bool | None:
    """Return ``options.chat``; a model that learned to go on with documents is not asked by its chat template."""
    chat: bool | None = settings.setup.options.chat
    return False if chat is None and settings.setup.facts.get("documents") else chat


def _pair(example: GenerationExample, settings: EncodeSettings) -> Pair:
    """Return what is read and what is to be written."""
    options = settings.setup.options
    if not uses_chat(settings, _chat(settings)):
        frame = frame_of(options.template, "prompt", {}, "completion")
        return Pair(example.asked, example.completion, *frame, id=example.id)
    if not example.messages:
        return Pair(example.asked, example.completion, id=example.id)
    spoken = [{"role": message.role, "content": message.content} for message in example.messages]
    if options.system and spoken[0]["role"] != "system":
        spoken.insert(0, {"role": "system", "content": options.system})
    return Pair(chat_prompt(settings.tokenizer, spoken), example.completion, rendered=True, id=example.id)
