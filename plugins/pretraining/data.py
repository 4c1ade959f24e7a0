"""From a row to a document, from documents to windows, and what each objective takes away from a window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyhead.registry import DataError, EncodeSettings, Feature, Row, TaskSetup
from polyhead.registry.toolkit.document_windows import encode_documents
from polyhead.registry.toolkit.row_texts import texts_of_fields
from polyhead.registry.toolkit.word_frequencies import word_counts

if TYPE_CHECKING:
    import numpy as np

    from polyhead.registry.toolkit.masking import Integers
    from polyhead.registry.toolkit.word_boundaries import WordCutter

FIELDS = (
    *("title", "text", "context", "document", "content", "sentence1", "sentence2", "prompt", "completion"),
    *("translation.en", "translation.zh"),
)
Corrupt = Callable[[Feature, "np.random.Generator", EncodeSettings], Feature]
LEARN, CHARACTERS = "learn", "characters"
MOST_COUNTED = 20_000
"""Training texts whose words are counted, for the baseline."""
MOST_LEARNED_FROM = 5_000
"""Training texts that Chinese words are learned from."""


@dataclass(frozen=True)
class TextOptions:
    """Settings that all objectives share."""

    fields: tuple[str, ...] = FIELDS
    """What of a row is read, joined by line breaks; ``translation.en`` is the field ``en`` of the column
    ``translation``. Fields that a row lacks are left out."""

    def __post_init__(self) -> None:
        """Refuse to read nothing."""
        if not self.fields:
            raise ValueError("fields must name at least one field of the rows")


@dataclass(frozen=True)
class CausalOptions(TextOptions):
    """Settings of causal language modelling."""

    end_token: bool = True
    """Whether a document ends with the tokenizer's end token, so that the model learns where texts end."""


@dataclass(frozen=True)
class WordOptions(TextOptions):
    """Settings of objectives that hide whole words."""

    whole_words: bool = True
    """Whether all tokens of a word are hidden together; false draws each token by itself."""
    chinese_words: str = LEARN
    """What a word is where there are no blanks: ``learn`` finds out from the training texts, ``characters`` takes each
    character for a word, anything else is a file with a word a line (and, behind a blank, how often it occurs)."""


@dataclass(frozen=True)
class MaskedOptions(WordOptions):
    """Settings of masked language modelling."""

    mask_probability: float = 0.15
    """The share of all tokens that have to be restored."""
    mask_share: float = 0.8
    """The share of these that the mask stands for."""
    random_share: float = 0.1
    """The share of these that another token stands for; the rest stay as they are."""

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        super().__post_init__()
        _check_share("mask_probability", self.mask_probability, above=0.0)
        _check_share("mask_share", self.mask_share)
        _check_share("random_share", self.random_share)
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise ValueError("mask_share and random_share must not be more than 1 together")


@dataclass(frozen=True)
class SpanOptions(TextOptions):
    """Settings of span corruption."""

    noise_density: float = 0.15
    """The share of all tokens that are taken away and have to be written."""
    mean_span: float = 3.0
    """Tokens in a span that is taken away, on average."""

    def __post_init__(self) -> None:
        """Refuse what leaves nothing to read or to write."""
        super().__post_init__()
        _check_share("noise_density", self.noise_density, above=0.0)
        _check_span(self.mean_span)


@dataclass(frozen=True)
class DenoisingOptions(WordOptions):
    """Settings of denoising."""

    infill_probability: float = 0.3
    """The share of all words that are in spans which a mask stands for; 0 is off."""
    mean_span: float = 3.0
    """Words in such a span, on average (Poisson)."""
    permute_sentences: bool = True
    """Whether sentences are put into another order."""
    delete_probability: float = 0.0
    """The share of all tokens that are left out without a mask; 0 is off."""

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        super().__post_init__()
        _check_share("infill_probability", self.infill_probability)
        _check_share("delete_probability", self.delete_probability)
        _check_span(self.mean_span)


@dataclass(frozen=True)
class PretrainingExample:
    """A document."""

    id: str
    text: str


def _check_share(name: str, value: float, *, above: float | None = None) -> None:
    """Refuse a share that is none."""
    if not 0 <= value <= 1 or (above is not None and value <= above):
        least = "from 0" if above is None else f"above {above:g}"
        raise ValueError(f"{name} must be {least} to 1, not {value:g}")


def _check_span(words: float) -> None:
    """Refuse spans that are shorter than a word on average."""
    if words < 1:
        raise ValueError(f"mean_span must be at least 1, not {words:g}")


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────


def to_example(row: Row, row_id: str, options: TextOptions) -> PretrainingExample:
    """Join the texts of a row's fields."""
    return PretrainingExample(row_id, "\n".join(texts_of_fields(row, options.fields)))


# ── setup ───────────────────────────────────────────────────────────────────────────────────────────────


def prepare(examples: Sequence[PretrainingExample], options: TextOptions) -> TaskSetup:
    """Count the words, for the baseline, and learn what a word is where there are no blanks."""
    facts: dict[str, Any] = {"words": word_counts(_sample(examples, MOST_COUNTED))}
    if isinstance(options, WordOptions) and options.whole_words and options.chinese_words == LEARN:
        from polyhead.registry.toolkit.word_boundaries import learn_words  # numpy: kept out of plugin discovery

        facts["chinese_words"] = [list(word) for word in learn_words(_sample(examples, MOST_LEARNED_FROM))]
    return TaskSetup(options, (), {**facts, **_listed_words(options)})


def setup_from_labels(labels: tuple[str, ...], options: TextOptions) -> TaskSetup:  # noqa: ARG001 - the contract's form
    """Take over a model that others trained: it has no labels."""
    return TaskSetup(options, (), _listed_words(options))


def check_example(example: PretrainingExample, setup: TaskSetup) -> None:
    """Accept every document."""


def _sample(examples: Sequence[PretrainingExample], most: int) -> list[str]:
    """Return texts from all over the data, the same every time."""
    return [example.text for example in examples[:: -(-len(examples) // most) or 1]]


def _listed_words(options: TextOptions) -> dict[str, Any]:
    """Return the words of the file that the options name."""
    if not isinstance(options, WordOptions) or not options.whole_words or options.chinese_words in (LEARN, CHARACTERS):
        return {}
    from polyhead.registry.toolkit.word_boundaries import read_words  # numpy: kept out of plugin discovery

    return {"chinese_words": [list(word) for word in read_words(Path(options.chinese_words))]}


def _cutter(setup: TaskSetup) -> WordCutter | None:
    """Return what tells words apart; None where each token is a word."""
    from polyhead.registry.toolkit.word_boundaries import cutter_for  # numpy: kept out of plugin discovery

    if not setup.options.whole_words:
        return None
    return cutter_for(tuple((word, score) for word, score in setup.facts.get("chinese_words", ())))


# ── causal ──────────────────────────────────────────────────────────────────────────────────────────────


def encode_causal(examples: Sequence[PretrainingExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise documents in windows that do not overlap; each position's label is the next token."""
    texts = [(position, example.text) for position, example in enumerate(examples)]
    features = encode_documents(texts, replace(settings, stride=0), end_token=settings.setup.options.end_token)
    return [replace(feature, offsets=()) for feature in features]


# ── masked ──────────────────────────────────────────────────────────────────────────────────────────────


def encode_masked(examples: Sequence[PretrainingExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise documents in windows, with the number of each token's word."""
    from polyhead.registry.toolkit.text_windows import AROUND, Frame, model_inputs, text_windows  # numpy: likewise

    frame = Frame.of(settings.tokenizer)
    texts = [example.text for example in examples]
    features = []
    for window in text_windows(texts, settings, _cutter(settings.setup), around=len(frame)):
        inputs = model_inputs(frame.around(window.ids), settings.tokenizer)
        features.append(Feature(window.example, {**inputs, "words": frame.around(window.words, AROUND)}))
    return features


def corrupt_masked(feature: Feature, generator: np.random.Generator, settings: EncodeSettings) -> Feature:
    """Hide some words of a window."""
    import numpy as np  # heavy: kept out of plugin discovery

    from polyhead.registry.toolkit.masking import MaskRates, mask_words

    options = settings.setup.options
    rates = MaskRates(options.mask_probability, options.mask_share, options.random_share)
    ids, words = np.asarray(feature.inputs["input_ids"]), np.asarray(feature.inputs["words"])
    seen, labels = mask_words(ids, words, generator, rates, settings.tokenizer)
    inputs = {**feature.inputs, "input_ids": seen.tolist()}
    return Feature(feature.example, inputs, {"labels": labels.tolist()})


# ── spans ───────────────────────────────────────────────────────────────────────────────────────────────


def encode_spans(examples: Sequence[PretrainingExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise documents in windows, with room for what the decoder will read.

    Raises:
        DataError: The tokenizer has too few sentinels for a window.

    """
    from polyhead.registry.toolkit.span_corruption import sentinels_of, span_counts  # numpy: likewise
    from polyhead.registry.toolkit.text_windows import AROUND, PairFrame, model_inputs, text_windows

    frame, options = PairFrame.of(settings), settings.setup.options
    known = len(sentinels_of(settings.tokenizer))
    features = []
    for window in text_windows([example.text for example in examples], settings, None, around=frame.most):
        taken, spans = span_counts(len(window.ids), options.noise_density, options.mean_span)
        if spans > known:
            raise DataError(
                f"a window of {len(window.ids)} tokens needs {spans} sentinels, and the tokenizer has {known}: "
                "say a smaller data.max_length, a greater options.mean_span or a smaller options.noise_density"
            )
        inputs = model_inputs(frame.reading.around(window.ids), settings.tokenizer)
        inputs["words"] = frame.reading.around(window.words, AROUND)
        inputs["decoder_input_ids"] = [0] * frame.written_length(taken + max(spans, 1))  # chance does not change it
        features.append(Feature(window.example, inputs))
    return features


def corrupt_spans(feature: Feature, generator: np.random.Generator, settings: EncodeSettings) -> Feature:
    """Put sentinels in the place of some spans of a window, which are to be written."""
    from polyhead.registry.toolkit import span_corruption  # numpy: likewise
    from polyhead.registry.toolkit.text_windows import PairFrame

    options, tokenizer = settings.setup.options, settings.tokenizer
    ids, _ = _text_within(feature, "words")
    taken = span_corruption.noise_spans(len(ids), options.noise_density, options.mean_span, generator)
    read, target = span_corruption.corrupt_spans(ids, taken, span_corruption.sentinels_of(tokenizer))
    return PairFrame.of(settings).feature(feature.example, read.tolist(), target.tolist(), tokenizer)


# ── denoising ───────────────────────────────────────────────────────────────────────────────────────────


def encode_denoising(examples: Sequence[PretrainingExample], settings: EncodeSettings) -> list[Feature]:
    """Tokenise documents in windows, with the numbers of each token's word and sentence, and what will be written."""
    from polyhead.registry.toolkit.text_windows import AROUND, PairFrame, text_windows  # numpy: likewise

    frame = PairFrame.of(settings)
    features = []
    texts = [example.text for example in examples]
    for window in text_windows(texts, settings, _cutter(settings.setup), around=frame.most):
        whole = frame.feature(window.example, window.ids, window.ids, settings.tokenizer)
        words = frame.reading.around(window.words, AROUND)
        sentences = frame.reading.around(window.sentences, AROUND)
        features.append(replace(whole, inputs={**whole.inputs, "words": words, "sentences": sentences}, labels={}))
    return features


def corrupt_denoising(feature: Feature, generator: np.random.Generator, settings: EncodeSettings) -> Feature:
    """Shuffle a window's sentences and put masks in the place of some spans; the whole is to be written."""
    from polyhead.registry.toolkit.denoising import Noise, Text, add_noise  # numpy: likewise
    from polyhead.registry.toolkit.masking import mask_token
    from polyhead.registry.toolkit.text_windows import PairFrame

    options, tokenizer = settings.setup.options, settings.tokenizer
    ids, words = _text_within(feature, "words")
    _, sentences = _text_within(feature, "sentences")
    noise = Noise(options.infill_probability, options.mean_span, options.permute_sentences, options.delete_probability)
    read = add_noise(Text(ids, words, sentences), mask_token(tokenizer), noise, generator)
    return PairFrame.of(settings).feature(feature.example, read.tolist(), ids.tolist(), tokenizer)


def _text_within(feature: Feature, column: str) -> tuple[Integers, Integers]:
    """Return the tokens of a window without what stands around it, and another column of them."""
    import numpy as np  # heavy: kept out of plugin discovery

    values = np.asarray(feature.inputs[column])
    inside = values >= 0
    return np.asarray(feature.inputs["input_ids"])[inside], values[inside]
