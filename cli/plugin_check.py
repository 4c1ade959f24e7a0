"""``polyhead plugins check``: whether a plugin does what it must, and what its author can do where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polyhead.cli.screen import AsJson, print_json, print_table, say

if TYPE_CHECKING:
    from polyhead.registry.testing import Report


def check(
    name: Annotated[
        str | None,
        typer.Argument(help="A plugin, as `demo` or `acme-nlp:demo` (distribution and plugin), or a task."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FILE", help="Rows with answers. Default: the task's own samples.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="CHECK,...", help="Run these checks alone (--list names them).")
    ] = None,
    skip: Annotated[str | None, typer.Option("--skip", metavar="CHECK,...", help="Leave these checks out.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", metavar="MODEL", help="What is trained. Default: a tiny model for each family."),
    ] = None,
    list_checks: Annotated[bool, typer.Option("--list", help="List the checks, and check nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a plugin: its identity, data, labels, metrics, training, layouts, and what it raises.

    Prints what each check saw, and below what to do about those that failed. Exit code 1 where one failed.
    """
    from polyhead.backbone.conformance import kit  # torch: only who checks pays for it
    from polyhead.backbone.training.loop import Interrupted
    from polyhead.registry import RunError
    from polyhead.registry.testing import Request

    if list_checks:
        summaries = kit.check_summaries()
        if as_json:
            print_json(summaries)
        else:
            print_table("", ("check", "what must hold"), list(summaries.items()))
        return
    if name is None:
        raise RunError("say which plugin or task: polyhead plugins check NAME (polyhead plugins list names them)")
    try:
        report = kit.check(Request(name, data, _names(only), _names(skip), backbone), say)
    except Interrupted as stop:
        raise typer.Exit(stop.code) from None
    if as_json:
        print_json(report.to_json())
    else:
        _print(report)
    if not report.ok:
        raise typer.Exit(1)


def _names(given: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (given or "").split(",") if name.strip())


def _print(report: Report) -> None:
    for subject in dict.fromkeys(found.subject for found in report.findings):
        rows = [
            (found.check, found.status, found.message, f"{found.seconds:.1f}")
            for found in report.findings
            if found.subject == subject
        ]
        print_table(subject, ("check", "result", "seen", "s"), rows)
    for found in report.failed:
        typer.echo(f"{found.check} ({found.subject}): {found.message}\n  What to do: {found.remedy}\n")
    counts = {status: sum(found.status == status for found in report.findings) for status in ("passed", "failed")}
    rest = len(report.findings) - sum(counts.values())
    source = f"{report.distribution} {report.version}".rstrip()
    typer.echo(
        f"{report.plugin} ({source}): {counts['passed']} passed, {counts['failed']} failed, {rest} not applicable"
    )
