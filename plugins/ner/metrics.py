"""How predictions are scored, and what they are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from polyhead.plugins.ner.data import NerExample
from polyhead.plugins.ner.head import Entity, NerPrediction
from polyhead.registry import Scores, TaskSetup
from polyhead.registry.toolkit.spans import Span, cut_at
from polyhead.registry.toolkit.tag_schemes import Chunk, tag_name, write_tags


def score(predictions: Sequence[NerPrediction], examples: Sequence[NerExample], setup: TaskSetup) -> Scores:  # noqa: ARG001
    """Compute seqeval's precision, recall and F1 of entities: strict IOB2 (micro, macro), and as conlleval does."""
    from polyhead.registry.toolkit.entity_metrics import entity_scores  # heavy: imports evaluate

    pairs = [_tag_pair(prediction, example) for prediction, example in zip(predictions, examples, strict=True)]
    return entity_scores([predicted for predicted, _ in pairs], [expected for _, expected in pairs])


def headline(setup: TaskSetup) -> str:  # noqa: ARG001 - the contract's form
    """Name the value that decides which model is best."""
    return "f1"


def baseline(examples: Sequence[NerExample], setup: TaskSetup) -> list[NerPrediction]:
    """Look up the entities of the training data, the longest first, each as what it was most often.

    Of a model that others fine-tuned they are not known: then nothing is found.
    """
    known = setup.facts.get("known_entities", {})
    longest = max((surface.count(" ") + 1 for surface in known), default=0)
    return [_looked_up(example, known, longest) for example in examples]


def _looked_up(example: NerExample, known: dict[str, str], longest: int) -> NerPrediction:
    chunks: list[Chunk] = []
    at, length = 0, len(example.words)
    while at < length:
        ends = range(min(length, at + longest), at, -1)
        end = next((end for end in ends if example.surface(at, end) in known), None)
        if end is not None:
            chunks.append(Chunk(at, end, known[example.surface(at, end)]))
        at = at + 1 if end is None else end
    entities = []
    for chunk in chunks:
        start, end = example.words[chunk.first][0], example.words[chunk.end - 1][1]
        tokens = (chunk.first, chunk.end) if example.has_tokens else None
        entities.append(Entity(start, end, chunk.type, example.text[start:end], 1.0, tokens))
    tags = tuple(_names(chunks, length)) if example.has_tokens else None
    return NerPrediction(example.id, example.text, tuple(entities), tags)


def _tag_pair(prediction: NerPrediction, example: NerExample) -> tuple[list[str], list[str]]:
    """Return predicted and expected IOB2 tags of an example, equally long.

    Of tokens they are the tokens' tags, O where a prediction is cut off. Of a text they are those of the pieces that it
    falls into at every border of an entity, so that the characters must agree.
    """
    mentions = example.entities or ()
    if example.has_tokens:
        length = len(example.words)
        expected = [Chunk(mention.first_word, mention.end_word, mention.label) for mention in mentions]
        predicted = list(prediction.tags or ())[:length]
        return predicted + ["O"] * (length - len(predicted)), _names(expected, length)
    found = [(entity.start, entity.end, entity.label) for entity in prediction.entities]
    wanted = [(mention.start, mention.end, mention.label) for mention in mentions]
    pieces = cut_at((edge for start, end, _ in (*found, *wanted) for edge in (start, end)), len(example.text))
    return _names(_over(found, pieces), len(pieces)), _names(_over(wanted, pieces), len(pieces))


def _over(spans: Iterable[tuple[int, int, str]], pieces: Sequence[Span]) -> list[Chunk]:
    first = {start: index for index, (start, _) in enumerate(pieces)}
    behind = {end: index + 1 for index, (_, end) in enumerate(pieces)}
    return [Chunk(first[start], behind[end], label) for start, end, label in spans]


def _names(chunks: Sequence[Chunk], length: int) -> list[str]:
    return [tag_name(tag) for tag in write_tags(chunks, length, "IOB2")]
