"""Run one check for itself: timed, quiet, and whatever it raises turned into a finding that says what to do."""

from __future__ import annotations

import contextlib
import io
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from polyhead.backbone.conformance.checks import Check, CheckError, NotApplicable
from polyhead.backbone.model.finding import quiet_transformers
from polyhead.backbone.training.loop import Interrupted
from polyhead.registry import PolyheadError
from polyhead.registry.discovery import describe
from polyhead.registry.testing import Finding, Status

S = TypeVar("S")


def run_check(check: Check[S], subject: S, name: str, packages: Sequence[str]) -> Finding:
    """Return what came of one check; ``packages`` are the plugin's own, whose code is named where it is at fault."""
    return found_by(check.name, name, lambda: check.run(subject), packages)


def found_by(check: str, subject: str, run: Callable[[], str], packages: Sequence[str]) -> Finding:
    """Return what came of a function that says what it saw, as the finding of a check of this name.

    Raises:
        Interrupted: A signal came; it is none of the plugin's doing.

    """
    start = time.perf_counter()
    status, message, remedy = _outcome(run, packages)
    return Finding(check, subject, status, message, remedy, round(time.perf_counter() - start, 3))


def _outcome(run: Callable[[], str], packages: Sequence[str]) -> tuple[Status, str, str]:
    try:
        with quiet():
            return "passed", run(), ""
    except Interrupted:
        raise
    except NotApplicable as reason:
        return "not applicable", str(reason), ""
    except CheckError as error:
        return "failed", error.message, error.remedy
    except PolyheadError as error:  # the plugin refuses in our words what it should have taken
        return "failed", describe(error), f"{_blame(error, packages)} refuses what the check gave it: see its message"
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the other checks must still run
        return "failed", describe(error), f"mend {_blame(error, packages)}, where this was raised"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings, progress bars and prints of libraries and plugins off the screen."""
    with (
        warnings.catch_warnings(),
        quiet_transformers(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def _blame(error: BaseException, packages: Sequence[str]) -> str:
    """Name the innermost function of the plugin's own code in a traceback; the innermost of all where none is."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [pair for pair in frames if _is_of(str(pair[0].f_globals.get("__name__", "")), packages)]
    frame, line = (own or frames)[-1]
    return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{line})"


def _is_of(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
