"""The report of a run, in Markdown, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polyhead.backbone.evaluation.scoring import Evaluation
from polyhead.registry import Table

MOST_ROWS = 100


def write_report(facts: Mapping[str, Any], evaluations: Sequence[Evaluation]) -> str:
    """Return the report: what was run, and each evaluation with its baseline and tables."""
    lines = [f"# {facts.get('title', 'Report')}", ""]
    rows = [(name, str(value)) for name, value in facts.items() if name != "title"]
    lines += _markdown(Table("", ("what", "value"), tuple(rows)))
    for evaluation in evaluations:
        lines += _evaluation(evaluation)
    return "\n".join(lines) + "\n"


def replace_section(report: str, evaluation: Evaluation) -> str:
    """Return a report in which the section of this split is new (added at the end where there was none)."""
    head, *sections = report.rstrip("\n").split("\n## ")
    kept = [section for section in sections if not section.startswith(f"{evaluation.split}: ")]
    return "\n## ".join([head.rstrip("\n") + "\n", *(f"{section.rstrip()}\n" for section in kept)]) + "\n".join(
        [*_evaluation(evaluation), ""]
    )


def _evaluation(evaluation: Evaluation) -> list[str]:
    skipped = f", {evaluation.skipped} rows skipped" if evaluation.skipped else ""
    lines = ["", f"## {evaluation.split}: {evaluation.examples} examples{skipped}", ""]
    rows = tuple(
        (name, f"{value:.4f}", f"{evaluation.baseline[name]:.4f}" if name in evaluation.baseline else "")
        for name, value in evaluation.values.items()
    )
    lines += _markdown(Table("", ("metric", "this model", evaluation.baseline_name), rows))
    lines += ["", f"Signature: `{evaluation.signature}`"]
    for name, values in (evaluation.perturbed or {}).items():
        changed = ", ".join(
            f"{metric} {value:.4f}" for metric, value in values.items() if metric == evaluation.headline
        )
        lines += ["", f"Under `{name}`: {changed}"]
    for table in evaluation.tables:
        lines += ["", f"### {table.title}", "", *_markdown(table)]
    return lines


def _markdown(table: Table) -> list[str]:
    lines = ["| " + " | ".join(_cell(name) for name in table.columns) + " |", "|" + " --- |" * len(table.columns)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows[:MOST_ROWS]]
    if len(table.rows) > MOST_ROWS:
        lines.append(f"\n({len(table.rows) - MOST_ROWS} more rows)")
    return lines


def _cell(value: str | float) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
