"""The report for people: Markdown that holds whatever labels are called, one section a split."""

from __future__ import annotations

import dataclasses

import pytest

from polyhead.backbone.evaluation.report import MOST_ROWS, replace_section, write_report
from polyhead.backbone.evaluation.scoring import Evaluation
from polyhead.registry import Table

FACTS = {"title": "sentiment on minilm", "task": "sentiment", "steps": 4}
EVALUATION = Evaluation(
    task="sentiment",
    split="validation",
    examples=21,
    values={"accuracy": 0.5, "loss": 0.25},
    signature="accuracy|scikit-learn:1",
    tables=(Table("Scores by label", ("label", "f1"), (("好", 0.5), ("差", 1.0))),),
    headline="accuracy",
    baseline_name="majority class",
    baseline={"accuracy": 0.4},
)


def of(split: str, **changes: object) -> Evaluation:
    return dataclasses.replace(EVALUATION, split=split, **changes)  # type: ignore[arg-type]


def test_a_report_in_full():
    assert (
        write_report(FACTS, [of("validation", skipped=3)])
        == """\
# sentiment on minilm

| what | value |
| --- | --- |
| task | sentiment |
| steps | 4 |

## validation: 21 examples, 3 rows skipped

| metric | this model | majority class |
| --- | --- | --- |
| accuracy | 0.5000 | 0.4000 |
| loss | 0.2500 |  |

Signature: `accuracy|scikit-learn:1`

### Scores by label

| label | f1 |
| --- | --- |
| 好 | 0.5000 |
| 差 | 1.0000 |
"""
    )


def test_a_section_is_added_where_there_was_none():
    report = write_report(FACTS, [EVALUATION])
    found = replace_section(report, of("test"))
    assert found == write_report(FACTS, [EVALUATION, of("test")])


def test_only_the_section_of_this_split_is_replaced():
    report = write_report(FACTS, [of("validation"), of("test"), of("test set")])
    found = replace_section(report, of("test", values={"accuracy": 0.9}))
    assert found == write_report(FACTS, [of("validation"), of("test set"), of("test", values={"accuracy": 0.9})])
    assert replace_section(found, of("test", values={"accuracy": 0.9})) == found


def test_a_report_without_sections_gets_its_first():
    assert replace_section(write_report(FACTS, []), EVALUATION) == write_report(FACTS, [EVALUATION])


@pytest.mark.parametrize("label", ["a|b", "a\nb", "|"])
def test_labels_cannot_break_a_table(label):
    table = Table("Confusion matrix", ("expected \\ predicted", label), ((label, 1),))
    report = write_report(FACTS, [of("test", tables=(table,))])
    expected = label.replace("|", "\\|").replace("\n", " ")
    *_, header, rule, row = report.splitlines()
    assert header == f"| expected \\ predicted | {expected} |"
    assert rule == "| --- | --- |"
    assert row == f"| {expected} | 1 |"


def test_long_tables_are_cut():
    rows = tuple((str(number),) for number in range(MOST_ROWS + 5))
    report = write_report(FACTS, [of("test", tables=(Table("Many", ("n",), rows),))])
    assert f"| {MOST_ROWS - 1} |" in report
    assert f"| {MOST_ROWS} |" not in report
    assert "(5 more rows)" in report


def test_perturbations_tell_the_headline():
    perturbed = {"typos": {"accuracy": 0.25, "mcc": 0.1}}
    assert "Under `typos`: accuracy 0.2500\n" in write_report(FACTS, [of("test", perturbed=perturbed)])
