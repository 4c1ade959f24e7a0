"""Each check of identity, data, features, labels and metrics says what is wrong with a task that has one mistake."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from polyhead.backbone.conformance import kit
from polyhead.backbone.conformance.alignment_checks import check_next_token
from polyhead.backbone.conformance.answers import AnsweredTask
from polyhead.backbone.conformance.checks import CheckError
from polyhead.backbone.conformance.sample_rows import sample_rows
from polyhead.backbone.conformance.subject import TaskSubject
from polyhead.registry import Feature, Registry
from polyhead.registry.testing import Request


@dataclass(frozen=True)
class Mistake:
    """What is written otherwise in the sound plugin, and what the check says of it."""

    check: str
    old: str
    new: str
    message: str


OPTIONS, FROZEN = "class NamesOptions", "@dataclass(frozen=True)\n"
FEATURE = "Feature(position, {name: found[name][window] for name in inputs}, labels, [tuple(s) for s in offsets])"
MISTAKES = (
    # identity
    Mistake("api-version", "polyhead_api_version = 1\n", "", "does not state the version of the plugin API"),
    Mistake("names", 'name="names",\n    summary', 'name="Our_Names",\n    summary', "the task is called 'Our_Names'"),
    Mistake("names", "Which names of people stand in a text.", "", "the summary of the task is empty"),
    Mistake("names", 'Column("text", "the text")', 'Column("text", "")', "column 'text' has no summary"),
    Mistake("names", "    samples=samples,", "    samples=samples,\n    text_column='a',", "text_column is 'a'"),
    Mistake("options", f"{FROZEN}{OPTIONS}", f"@dataclass\n{OPTIONS}", "'NamesOptions', which is no frozen dataclass"),
    Mistake("heads", "HeadSpec(size=2", "HeadSpec(size=3", "the head for encoder has 2 labels and size 3"),
    Mistake("heads", '{"encoder": head}', '{"encoder": head, "oracle": head}', "names the family 'oracle'"),
    Mistake("heads", '{"encoder": head}', '{"oracle": head}', "Task.heads is for these families: oracle"),
    # rows, examples, setup
    Mistake("examples", "NamesExample(row_id, text, tuple(names))", "NamesExample('1', text, ())", "and gives '1'"),
    Mistake("examples", f"{FROZEN}class NamesExample", "@dataclass\nclass NamesExample", "no frozen dataclass"),
    Mistake("required-columns", 'row.get("text")', 'row["text"]', "without the column 'text' ends in KeyError: 'text'"),
    Mistake("odd-values", " or not all(isinstance(name, str) for name in names)", "", "ends in TypeError"),
    Mistake(
        "rows-without-answers", "    if names is None:\n        return", "    if None:\n        return", "RowError"
    ),
    Mistake("setup", '("other", "name"))', '("other", "name"), {"seen": {1}})', "cannot be written as JSON"),
    Mistake("setup", '("other", "name"))', '("other", "name"), {"seen": object()})', "another setup the second time"),
    Mistake("check-example", "    if example.names is None:\n        raise", "    if True:\n        raise", "no names"),
    # features
    Mistake("features", "Feature(position,", "Feature(position // 2 * 2 - position,", "it belongs to example -1"),
    Mistake("features", "[tuple(s) for s in offsets]", "[(0, 99)] * len(offsets)", "has a token at (0, 99)"),
    Mistake(
        "features", "for name in inputs}", 'for name in inputs if name != "attention_mask"}', "lacks attention_mask"
    ),
    Mistake("features", "found[name][window] for", "found[name][window] * 50 for", "a window holds 1 to"),
    Mistake("labels", '"tags", "int", "tokens"', '"tags", "int"', "label_fields says 'tags' is int scalar"),
    Mistake("labels", '{"tags": tags}', '{"tag": tags}', "has the labels tag; label_fields says 'tags'"),
    Mistake("labels", '{"tags": tags}', '{"tags": [tag / 2 for tag in tags]}', "says 'tags' is int tokens"),
    Mistake("labels", '{"tags": tags}', '{"tags": tags} if position else {}', "a feature of example 0 bears no labels"),
    Mistake(
        "alone-as-among-others",
        FEATURE,
        FEATURE.replace("[tuple(s)", "[(0, len(examples)) and tuple(s)").replace(
            "found[name][window] for", "[*found[name][window]][: 5 + len(examples)] for"
        ),
        "gives other features alone",
    ),
    Mistake("long-texts", 'found["offset_mapping"])', 'found["offset_mapping"][:1])', "is cut off without a word"),
    Mistake("long-texts", "truncation=True", "truncation=False", "one holds 64"),
    Mistake("batches", "(labels[0] != -100).sum().float()", "(labels[0] > -101).sum().float()", "count_targets gives"),
    # decoding and metrics
    Mistake("label-alignment", "tag == 1", "tag == 0", "exact is 0 where it must be 1 or 100. The first one: Names"),
    Mistake("metric-values", '"exact|all names of a text")', '"")', "metric 'names' has no signature"),
    Mistake("metric-values", '{"exact": right / len(examples)}', '{"exact": float("nan")}', "gives nan for 'exact'"),
    Mistake("metric-values", '    return "exact"', '    return "exactly"', "the headline is 'exactly'"),
    Mistake("metric-right-and-wrong", "reference=reference)", "lower_is_better={'exact'})", "'exact' is 1 where every"),
    Mistake("metric-order", '{"exact": right', '{"first": len(examples[0].text), "exact": right', "'first' of metric"),
    Mistake("metric-reference", "1 - len(wrong)", "2 - len(wrong)", "by the metric and"),
)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake.check}: {mistake.new[:30]}")
def test_a_mistake_is_told_by_its_check(mistake: Mistake, install: Any) -> None:
    install({mistake.old: mistake.new})
    report = kit.check(Request("acme", only=(mistake.check,)))
    assert [finding.check for finding in report.failed] == [mistake.check]
    assert mistake.message in report.failed[0].message
    assert report.failed[0].remedy


def test_perfect_outputs_must_be_those_of_the_head(install: Any) -> None:
    install({"    samples=samples,": "    samples=samples,\n    perfect_outputs=lambda feature, setup: {'scores': 1},"})
    (finding,) = kit.check(Request("acme", only=("label-alignment",))).failed
    assert finding.message == "Task.perfect_outputs gives scores; the head gives logits"


@pytest.mark.parametrize(
    ("task_name", "family", "by", "said"),
    [
        ("causal-lm", "decoder", 0, None),
        ("causal-lm", "decoder", 1, "foretells the token that is read at its position"),
        ("causal-lm", "decoder", -1, "foretells the token after the next"),
        ("summarization", "encoder-decoder", 0, None),
        ("summarization", "encoder-decoder", 1, "foretells the token that is read at its position"),
    ],
)
def test_labels_of_the_next_token_that_are_shifted(
    task_name: str, family: Any, by: int, said: str | None, registry: Registry, tiny_backbones: Any, tmp_path: Any
) -> None:
    known = registry.task(task_name)

    def encode(examples: Any, settings: Any) -> list[Feature]:
        return [shifted(feature, by) for feature in known.encode(examples, settings)]

    task = replace(known, encode=encode)
    backbone = tiny_backbones["llama" if family == "decoder" else "t5"]
    subject = TaskSubject(registry, task, "x:x", sample_rows(known, None)[:6], {family: backbone}, tmp_path)
    if said is None:
        assert check_next_token(AnsweredTask(subject)) == f"{family}: labels are the next tokens"
        return
    with pytest.raises(CheckError, match=said):
        check_next_token(AnsweredTask(subject))


def shifted(feature: Feature, by: int) -> Feature:
    """Return a feature whose labels stand so many positions further right."""
    labels: Any = feature.labels["labels"]
    moved = [-100] * len(labels)
    for at, label in enumerate(labels):
        if 0 <= at + by < len(labels):
            moved[at + by] = label
    return replace(feature, labels={"labels": moved})
