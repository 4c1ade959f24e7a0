"""From a row to an example, and from examples to features: one text, or one for each direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from polyhead.registry import DataError, EncodeSettings, Feature, Row, RowError, TaskSetup
from polyhead.registry.toolkit.chat_templates import uses_chat
from polyhead.registry.toolkit.labels import text_of
from polyhead.registry.toolkit.languages import likeliest_language, name_of, tokenizer_code
from polyhead.registry.toolkit.prompt_templates import Framing, check_template, frame_of
from polyhead.registry.toolkit.text_to_text import Pair, encode_pairs, encode_prompts_of
from polyhead.registry.toolkit.writing_options import WritingOptions

SEVERAL_DIRECTIONS_PREFIX = "translate {source_language} to {target_language}: "
_LANGUAGES = ("source_language", "target_language", "source_code", "target_code")


class Direction(NamedTuple):
    """From which language into which, by their codes; empty where a row does not say."""

    source: str
    target: str

    @property
    def name(self) -> str:
        """Return ``en-zh``, or ``zh-TW>en`` where a code has a hyphen of its own."""
        return f"{self.source}{'>' if '-' in self.source + self.target else '-'}{self.target}"


@dataclass(frozen=True)
class TranslationOptions(WritingOptions):
    """Settings of the translation task."""

    max_new_tokens: int = 128
    """Most tokens that are written for one window of a source."""
    source_language: str | None = None
    """Code of the language to translate from, such as ``en``; null: as the rows say."""
    target_language: str | None = None
    """Code of the language to translate into, such as ``zh``; null: as the rows say."""
    directions: str | tuple[str, ...] = ()
    """Several directions in one model: ``[en-zh, zh-en]``, or ``both`` for the one of ``source_language`` and
    ``target_language`` and the way back. Each row that has the texts is learned, and translated, in all of them."""
    prefix: str | None = None
    """What an encoder-decoder reads before the source, such as ``"translate English to Chinese: "`` or
    ``"<2{target_code}> "``; null: nothing with one direction, ``translate ... to ...:`` with several."""
    template: str = "{source_language}: {source}\n{target_language}: {target}"
    """What a decoder reads and writes on, where it has no chat template or ``chat`` is false."""
    instruction: str = "Translate from {source_language} to {target_language}:\n{source}"
    """What a decoder is asked through its chat template."""
    system: str = ""
    """A system message, for chat templates."""
    language_codes: Mapping[str, str] = field(default_factory=dict)
    """Names of languages in a multilingual tokenizer, by code: ``zh: zh_CN``. Those of mBART and NLLB are known."""
    bleu_tokenizer: Literal["auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores200", "none"] = "auto"
    """How BLEU cuts words; ``auto`` goes by the target language."""

    def __post_init__(self) -> None:
        """Refuse directions that cannot be told, and templates without their source."""
        super().__post_init__()
        self.named_directions()
        check_template("template", self.template, source="source", fields=(*_LANGUAGES, "target"))
        check_template("instruction", self.instruction, source="source", fields=_LANGUAGES)
        check_template("prefix", f"{self.prefix or ''}{{source}}", source="source", fields=_LANGUAGES)

    def named_directions(self) -> tuple[Direction, ...]:
        """Return the directions that the options name; none where the rows are to say.

        Raises:
            ValueError: A name is no direction, or ``both`` has no languages.

        """
        source, target = self.source_language, self.target_language
        if (source is None) != (target is None):
            raise ValueError("source_language and target_language: state both of them, or neither")
        own = (Direction(source, target),) if source and target else ()
        if self.directions == "both":
            if not own:
                raise ValueError("directions=both needs source_language and target_language")
            return (*own, Direction(own[0].target, own[0].source))
        names = (self.directions,) if isinstance(self.directions, str) else self.directions
        return tuple(dict.fromkeys([*own, *(_direction(name) for name in names)]))


@dataclass(frozen=True)
class Passage:
    """A text to be translated in one direction, and its translation where that is known."""

    source: str
    target: str | None
    source_language: str
    target_language: str

    @property
    def direction(self) -> Direction:
        """Return the direction."""
        return Direction(self.source_language, self.target_language)


@dataclass(frozen=True)
class TranslationExample:
    """One row in all directions that are wanted of it."""

    id: str
    passages: tuple[Passage, ...]


def _direction(name: str) -> Direction:
    codes = name.split(">") if ">" in name else name.split("-")
    if len(codes) != 2 or not all(codes):
        raise ValueError(f"directions: expected such as 'en-zh', 'zh-TW>en' or 'both', not '{name}'")
    return Direction(*codes)


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────


def to_example(row: Row, row_id: str, options: TranslationOptions) -> TranslationExample:
    """Read ``translation`` (texts by language), or ``source`` and ``target``."""
    wanted = options.named_directions()
    if row.get("translation"):
        texts, own = _texts_by_language(row)
    elif wanted:
        texts, own = _source_and_target(row, wanted)
    else:
        languages = _language(row, "source_language"), _language(row, "target_language")
        return TranslationExample(row_id, (Passage(text_of(row, "source"), _target(row), *languages),))
    possible = tuple(direction for direction in wanted or (own,) if direction.source in texts)
    if not possible:
        names = ", ".join(direction.name for direction in wanted or (own,))
        column = "translation" if row.get("translation") else "source_language"
        raise RowError(f"the row has {', '.join(texts)}; wanted: {names}", column=column)
    known = tuple(direction for direction in possible if direction.target in texts)
    passages = (Passage(texts[way.source], texts.get(way.target), *way) for way in known or possible)
    return TranslationExample(row_id, tuple(passages))


def _texts_by_language(row: Row) -> tuple[dict[str, str], Direction]:
    """Return the texts of ``translation``, and the direction that the row itself says: by default of the first two."""
    found = row["translation"]
    if not isinstance(found, Mapping):
        raise RowError("expected texts by language, such as {'en': ..., 'zh': ...}", column="translation")
    texts = {str(code): text for code, text in found.items() if isinstance(text, str) and text.strip()}
    if not texts:
        raise RowError("holds no text", column="translation")
    codes = [*texts, ""]
    return texts, Direction(
        _language(row, "source_language") or codes[0], _language(row, "target_language") or codes[1]
    )


def _source_and_target(row: Row, wanted: Sequence[Direction]) -> tuple[dict[str, str], Direction]:
    """Return the texts of ``source`` and ``target`` by language: as the row says, else by script and options."""
    source, target = text_of(row, "source"), _target(row)
    sources = list(dict.fromkeys(way.source for way in wanted))
    language = _language(row, "source_language") or likeliest_language(source, sources)
    targets = [way.target for way in wanted if way.source == language]
    other = _language(row, "target_language") or next(iter(targets), "")
    return {language: source} if target is None else {language: source, other: target}, Direction(language, other)


def _target(row: Row) -> str | None:
    return text_of(row, "target") if row.get("target") else None


def _language(row: Row, column: str) -> str:
    value = row.get(column)
    return value.strip() if isinstance(value, str) else ""


# ── setup and features ──────────────────────────────────────────────────────────────────────────────────


def prepare(examples: Sequence[TranslationExample], options: TranslationOptions) -> TaskSetup:
    """Learn the directions from the training examples.

    Raises:
        DataError: An example has no translation.

    """
    for example in examples:
        for passage in example.passages:
            if passage.target is None:
                raise DataError(f"example '{example.id}' has no translation: nothing can be learned from it")
    found = dict.fromkeys(passage.direction.name for example in examples for passage in example.passages)
    return TaskSetup(options, (), {"directions": list(found)})


def setup_from_labels(labels: tuple[str, ...], options: TranslationOptions) -> TaskSetup:  # noqa: ARG001
    """Take over a model that others fine-tuned: it has no labels."""
    return TaskSetup(options, (), {"directions": [direction.name for direction in options.named_directions()]})


def check_example(example: TranslationExample, setup: TaskSetup) -> None:  # noqa: ARG001 - the contract's form
    """Refuse an example without a translation to compare with."""
    for passage in example.passages:
        if passage.target is None:
            where = f" into {passage.target_language}" if passage.target_language else ""
            raise RowError(f"there is no translation{where} to compare with")


def encode(examples: Sequence[TranslationExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise sources with their translations, a feature for each direction."""
    owners, pairs = _pairs(examples, settings)
    options = settings.setup.options
    features = encode_pairs(pairs, settings, chat=options.chat, system=options.system)
    return [replace(feature, example=owners[feature.example]) for feature in features]


def encode_prompts(examples: Sequence[TranslationExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise what the model writes on from: the windows of each direction's source, one direction after the other."""
    owners, pairs = _pairs(examples, settings)
    options = settings.setup.options
    features = encode_prompts_of(
        pairs, settings, max_new_tokens=options.max_new_tokens, chat=options.chat, system=options.system
    )
    return [replace(feature, example=owners[feature.example]) for feature in features]


def _pairs(examples: Sequence[TranslationExample], settings: EncodeSettings) -> tuple[list[int], list[Pair]]:
    """Return for each passage the position of its example, and what is to be read and written."""
    owners, pairs = [], []
    frames: dict[Direction, Framing] = {}
    for position, example in enumerate(examples):
        for passage in example.passages:
            way = passage.direction
            if way not in frames:
                frames[way] = _frame(way, settings)
            owners.append(position)
            pairs.append(
                Pair(passage.source, passage.target, *frames[way], id=example.id, **_tokens_of_languages(way, settings))
            )
    return owners, pairs


def _frame(way: Direction, settings: EncodeSettings) -> Framing:
    """Return what stands around a source, as the model reads."""
    options = settings.setup.options
    fields = {
        "source_language": name_of(way.source) or "Source",
        "target_language": name_of(way.target) or "Translation",
        "source_code": way.source,
        "target_code": way.target,
    }
    if uses_chat(settings, options.chat):
        return frame_of(options.instruction, "source", fields)
    if settings.family == "decoder":
        return frame_of(options.template, "source", fields, "target")
    prefix = options.prefix
    if prefix is None:
        tells = len(settings.setup.facts.get("directions", ())) > 1 and not _is_multilingual(settings)
        prefix = SEVERAL_DIRECTIONS_PREFIX if tells else ""
    return frame_of(f"{prefix}{{source}}", "source", fields)


def _is_multilingual(settings: EncodeSettings) -> bool:
    return settings.family == "encoder-decoder" and hasattr(settings.tokenizer, "src_lang")


def _tokens_of_languages(way: Direction, settings: EncodeSettings) -> dict[str, Any]:
    """Return how a multilingual tokenizer is told the languages: it begins source and target with a token for each."""
    if not _is_multilingual(settings) or not (way.source and way.target):
        return {}
    tokenizer, codes = settings.tokenizer, settings.setup.options.language_codes
    target = tokenizer_code(tokenizer, way.target, codes)
    return {
        "source_code": tokenizer_code(tokenizer, way.source, codes),
        "target_prefix_ids": (tokenizer.convert_tokens_to_ids(target),),
    }
