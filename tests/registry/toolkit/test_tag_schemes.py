"""Every tag scheme is read, two are written, and the label set of any tagger tells its scheme."""

from __future__ import annotations

import random

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from polyhead.registry.toolkit.tag_schemes import (
    Chunk,
    Tag,
    check_tags,
    parse_tag,
    read_chunks,
    tag_name,
    tag_names,
    tag_set,
    write_tags,
)

EXPECTED = [(0, 1, "PER"), (1, 3, "PER"), (4, 7, "地点")]
IN_SCHEMES = {
    "IOB1": ["I-PER", "B-PER", "I-PER", "O", "I-地点", "I-地点", "I-地点"],
    "IOB2": ["B-PER", "B-PER", "I-PER", "O", "B-地点", "I-地点", "I-地点"],
    "BIOES": ["S-PER", "B-PER", "E-PER", "O", "B-地点", "I-地点", "E-地点"],
    "BILOU": ["U-PER", "B-PER", "L-PER", "O", "B-地点", "I-地点", "L-地点"],
    "BMES": ["S-PER", "B-PER", "E-PER", "O", "B-地点", "M-地点", "E-地点"],
    "BMEWO": ["W-PER", "B-PER", "E-PER", "O", "B-地点", "M-地点", "E-地点"],
}


def read(tags: list[str]) -> list[tuple[int, int, str]]:
    return [(chunk.first, chunk.end, chunk.type) for chunk in read_chunks([parse_tag(tag) for tag in tags])]


@pytest.mark.parametrize("scheme", IN_SCHEMES)
def test_every_scheme_says_the_same(scheme: str) -> None:
    assert read(IN_SCHEMES[scheme]) == EXPECTED
    check_tags(IN_SCHEMES[scheme], scheme)


def test_io_cannot_part_neighbours_of_one_type() -> None:
    assert read(["I-PER", "I-PER", "O", "I-LOC"]) == [(0, 2, "PER"), (3, 4, "LOC")]
    assert read(["PER", "PER", "creative-work", "O"]) == [(0, 2, "PER"), (2, 3, "creative-work")]
    check_tags(["PER", "I-PER", "LOC"], "IO")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("O", Tag("O")),
        (" B-PER ", Tag("B", "PER")),
        ("b_loc", Tag("B", "loc")),
        ("M-a-b", Tag("I", "a-b")),
        ("U-x", Tag("S", "x")),
        ("L", Tag("E", "ENTITY")),
        ("人名", Tag("I", "人名")),
    ],
)
def test_one_tag(written: str, expected: Tag) -> None:
    assert parse_tag(written) == expected


@pytest.mark.parametrize("written", ["", "_", "PER-B", "地点_I", "-"])
def test_what_is_no_tag(written: str) -> None:
    with pytest.raises(ValueError, match="is no tag; expected O, B-TYPE"):
        parse_tag(written)


@pytest.mark.parametrize(
    ("tags", "scheme", "problem"),
    [
        (["O", "I-PER"], "IOB2", r"tag 1, 'I-PER', must not stand behind 'O'"),
        (["I-PER"], "BIO", "must not stand behind the start"),
        (["B-PER", "I-LOC"], "IOB2", "tag 1"),
        (["B-PER"], "IOB1", "tag 0"),
        (["S-PER"], "IOB2", "does not belong to scheme IOB2"),
        (["B-PER", "M-PER", "E-PER"], "BIOES", "tag 1, 'M-PER', does not belong"),
        (["B-PER", "O"], "BILOU", "tag 1"),
        (["O", "B-PER"], "BMES", "must not end with 'B-PER'"),
        (["B-PER"], "IO", "does not belong"),
    ],
)
def test_a_named_scheme_is_kept_to(tags: list[str], scheme: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_tags(tags, scheme)


def test_reading_agrees_with_conlleval_on_any_tags() -> None:
    draw = random.Random(3)
    choices = ["O", *(f"{letter}-{name}" for letter in "BIES" for name in ("X", "Y"))]
    for _ in range(500):
        tags = draw.choices(choices, k=draw.randrange(12))
        assert read(tags) == [(start, end + 1, name) for name, start, end in get_entities(tags)]


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BIOES"])
def test_what_is_written_is_read_again(scheme: str) -> None:
    chunks = [Chunk(*chunk) for chunk in EXPECTED]
    written = [tag_name(tag) for tag in write_tags(chunks, 7, scheme)]
    assert written == IN_SCHEMES[scheme]


def test_a_stray_entity_keeps_its_wrong_tag() -> None:
    (chunk,) = read_chunks([parse_tag(tag) for tag in ["O", "I-PER", "I-PER"]])
    assert chunk == Chunk(1, 3, "PER", stray=True)
    assert [tag_name(tag) for tag in write_tags([chunk], 3, "IOB2")] == ["O", "I-PER", "I-PER"]


def test_the_tags_that_a_model_learns() -> None:
    assert tag_names(["LOC", "人"], "IOB2") == ("O", "B-LOC", "I-LOC", "B-人", "I-人")
    assert tag_names(["LOC"], "BIOES") == ("O", "B-LOC", "I-LOC", "E-LOC", "S-LOC")


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        (("O", "B-PER", "I-PER"), "IOB2"),
        (("B-PER", "O", "B-LOC", "I-LOC"), "IOB2"),
        (("O", "I-PER", "B-LOC", "I-LOC"), "IOB1"),
        (("O", "I-PER"), "IO"),
        (("O", "PER", "LOC"), "IO"),
        (tag_names(["X"], "BIOES"), "BIOES"),
        (("O", "B-X", "M-X", "E-X", "S-X"), "BIOES"),
        (("O", "B-X", "I-X", "L-X", "U-X"), "BIOES"),
        (("[PAD]", "O", "B-X", "I-X", "[CLS]", "X"), "IOB2"),
    ],
)
def test_labels_tell_their_scheme(labels: tuple[str, ...], scheme: str) -> None:
    assert tag_set(labels).scheme == scheme


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (("LABEL_0", "LABEL_1"), "say nothing"),
        ((), "say nothing"),
        (("B-PER", "I-PER"), "there is no O"),
        (("O", "B-PER", "LOC"), "'LOC' has no letter"),
        (("O", "PER-B"), "is no tag"),
    ],
)
def test_labels_that_are_no_tags(labels: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        tag_set(labels)


def test_looking_up_a_tag_that_a_foreign_set_lacks() -> None:
    tags = tag_set(("O", "I-PER", "B-LOC", "I-LOC"))
    assert [tags.index(Tag(letter, "PER")) for letter in "BIES"] == [1, 1, 1, 1]
    assert tags.index(Tag("S", "LOC")) == 2
    assert tags.types == ("LOC", "PER")
    with pytest.raises(KeyError):
        tags.index(Tag("B", "ORG"))
