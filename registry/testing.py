"""Test a plugin as ``polyhead plugins check`` does, from its own test suite.

::

    from polyhead.registry.testing import check_task

    def test_the_plugin_is_sound():
        check_task("toxicity")

The plugin must be installed (``pip install -e .``). The checks themselves need the engine, which this package does not
know: they are found by the entry point ``conformance`` of the group ``polyhead.engine``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from polyhead.registry.errors import PluginError

Status = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True)
class Finding:
    """What came of one check."""

    check: str
    """The check's name, such as ``label-alignment``."""
    subject: str
    """What was checked: ``task toxicity``, ``head crf of ner``, ``reader brat``."""
    status: Status
    message: str = ""
    """What was found, in words; why it is not applicable."""
    remedy: str = ""
    """What the author can do about it, where it failed."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Request:
    """What is to be checked."""

    name: str
    """A plugin (``demo`` or ``distribution:plugin``), or a task."""
    data: Path | None = None
    """A file of rows with answers; None: the task's own `Task.samples`."""
    only: Sequence[str] = ()
    """Names of checks; none: all."""
    skip: Sequence[str] = ()
    backbone: str | None = None
    """What is trained; None: tiny models of random weights, one for each family that the task supports."""


@dataclass(frozen=True)
class Report:
    """What came of all checks of one plugin."""

    plugin: str
    distribution: str
    version: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Finding, ...]:
        """Return the checks that failed."""
        return tuple(finding for finding in self.findings if finding.status == "failed")

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        """Return one line for each check that failed, with its remedy."""
        return "\n".join(
            f"{finding.subject}: {finding.check}: {finding.message}" + (f"; {finding.remedy}" if finding.remedy else "")
            for finding in self.failed
        )


class ConformanceError(AssertionError):
    """Report the checks that a plugin failed; pytest shows them as the failure of the test."""

    def __init__(self, report: Report) -> None:
        super().__init__(f"{len(report.failed)} checks failed\n{report}")
        self.report = report


def check(request: Request, say: Callable[[str], None] | None = None) -> Report:
    """Run the checks and return what came of them; raises `PluginError` where the engine is not installed."""
    found = metadata.entry_points(group="polyhead.engine", name="conformance")
    if not found:
        raise PluginError("the engine of polyhead is not installed: pip install --force-reinstall polyhead")
    run: Callable[[Request, Callable[[str], None] | None], Report] = next(iter(found)).load()
    return run(request, say)


def check_task(
    name: str,
    *,
    data: Path | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    backbone: str | None = None,
) -> Report:
    """Check an installed plugin or task, and return the report.

    Args:
        name: The plugin (``demo``, ``distribution:plugin``) or the task.
        data: A file of rows with answers; None: the task's own samples.
        only: Names of the checks to run; none: all.
        skip: Names of checks to leave out.
        backbone: What is trained; None: tiny models of random weights.

    Raises:
        ConformanceError: A check failed; the message says which, and what to do.
        PolyheadError: There is no such plugin, or the data cannot be read.

    """
    report = check(Request(name, data, tuple(only), tuple(skip), backbone))
    if not report.ok:
        raise ConformanceError(report)
    return report
