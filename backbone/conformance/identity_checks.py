"""What a plugin says it is, and what finding it costs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from typing import Any, get_args

from polyhead.backbone.conformance.checks import Check, CheckError, NotApplicable
from polyhead.backbone.conformance.plugin_subject import PluginSubject
from polyhead.backbone.conformance.subject import TaskSubject
from polyhead.registry import API_VERSION, Family, HeadSpec

HEAVY = ("torch", "transformers", "deepspeed", "numpy", "datasets", "sklearn", "evaluate", "scipy")
"""What no import of a plugin may load: each costs every command of every user its time."""
MOST_CPU_SECONDS = 0.5
"""What importing a plugin may cost beyond ``polyhead.registry``, in time of the processor: a busy machine is no fault
of the plugin's."""
MOST_SECONDS = 1.5
"""Likewise by the clock, generously: a plugin that waits for something uses no processor."""
IMPORT_TIMEOUT = 120
LONGEST_SUMMARY = 160
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_MEASURE = """
import importlib, json, sys, time
import polyhead.registry
before, cpu, clock = set(sys.modules), time.process_time(), time.perf_counter()
importlib.import_module(sys.argv[1])
cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
loaded = [name for name in json.loads(sys.argv[2]) if name in sys.modules and name not in before]
print("\\n" + json.dumps({"cpu": cpu, "clock": clock, "loaded": loaded}))
"""


# ── plugins ─────────────────────────────────────────────────────────────────────────────────────────────


def check_api_version(subject: PluginSubject) -> str:
    """Ask which version of the plugin API the plugin was written for."""
    version = subject.info.api_version
    if version is None:
        raise CheckError(
            f"{subject.module} does not state the version of the plugin API that it was written for",
            f"write polyhead_api_version = {API_VERSION} in it: a later polyhead can then say what has changed",
        )
    return f"version {version} of {API_VERSION}"  # a wrong one was refused when the plugin was loaded


def check_free_names(subject: PluginSubject) -> str:
    """See whether another plugin claims a name of this one's."""
    if subject.clashes:
        raise CheckError(
            "; ".join(str(clash) for clash in subject.clashes),
            f"give it another name in {subject.module}; until then users have to choose: "
            + "; ".join(dict.fromkeys(clash.remedy for clash in subject.clashes)),
        )
    info = subject.info
    brought = [*info.tasks, *info.heads, *info.readers, *info.backbones, *info.commands]
    return ", ".join(brought) or "it registers no names"


def check_light_import(subject: PluginSubject) -> str:
    """Import the plugin in a process of its own, and see what that loads and how long it takes."""
    found = _measured_import(subject.module)
    if found["loaded"]:
        raise CheckError(
            f"importing {subject.module} loads {', '.join(found['loaded'])}",
            "import these inside the functions that use them, and for annotations under TYPE_CHECKING: every command "
            "imports every plugin, polyhead --help too",
        )
    _check_time(subject.module, found["clock"], MOST_SECONDS, "by the clock")
    _check_time(subject.module, found["cpu"], MOST_CPU_SECONDS, "of the processor's time")
    return f"{found['cpu']:.2f} s"


def _check_time(module: str, seconds: float, most: float, what: str) -> None:
    if seconds > most:
        raise CheckError(
            f"importing {module} takes {seconds:.2f} s {what}; at most {most:g} s",
            "do at import what defines functions and records, and nothing else: no reading of files, no network, no "
            "waiting",
        )


def _measured_import(module: str) -> dict[str, Any]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, "-c", _MEASURE, module, json.dumps(HEAVY)]
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, on a module that is installed here
            command,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=IMPORT_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CheckError(
            f"importing {module} was not done after {IMPORT_TIMEOUT} s", "let the import wait for nothing"
        ) from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise CheckError(f"importing {module} alone fails: {last}", "let it import whatever it needs by itself")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────────────


def check_names(subject: TaskSubject) -> str:
    """Read the names and sentences that users see."""
    task = subject.task
    names = [("task", task.name), *(("metric", metric.name) for metric in task.metrics)]
    for kind, name in names:
        if not _NAME.fullmatch(name):
            raise CheckError(
                f"the {kind} is called '{name}'",
                "use small letters, digits and hyphens, a letter first: it is typed on command lines",
            )
    _check_sentence("the task", task.summary)
    known = [column.name for column in task.columns]
    for column in task.columns:
        if not column.summary.strip():
            raise CheckError(f"column '{column.name}' has no summary", "say in a few words what stands in it")
    twice = sorted({name for name in known if known.count(name) > 1})
    if twice:
        raise CheckError(f"column '{twice[0]}' is named {known.count(twice[0])} times", "name each column once")
    if task.text_column not in known:
        raise CheckError(
            f"text_column is '{task.text_column}', and there is no such column: {', '.join(known) or 'there is none'}",
            "name the column that a bare text stands for (polyhead predict --text)",
        )
    return f"{len(known)} columns"


def _check_sentence(whose: str, summary: str) -> None:
    if not summary.strip() or "\n" in summary or len(summary) > LONGEST_SUMMARY:
        raise CheckError(
            f"the summary of {whose} is {'empty' if not summary.strip() else f'{len(summary)} characters long'}",
            f"say in one sentence of at most {LONGEST_SUMMARY} characters what it does; listings show it",
        )


def check_options(subject: TaskSubject) -> str:
    """See whether the task's options are a frozen record that can be made without saying anything."""
    options: Any = subject.task.options
    if options is None:
        raise NotApplicable("the task has no options")
    if not is_frozen_record(options):
        raise CheckError(
            f"Task.options is {getattr(options, '__name__', options)!r}, which is no frozen dataclass",
            "write @dataclass(frozen=True) above it",
        )
    fields = dataclasses.fields(options)
    without = [field.name for field in fields if _lacks_default(field)]
    if without:
        raise CheckError(
            f"options without a default: {', '.join(without)}", "give each one: a config need not say anything"
        )
    return f"{len(fields)} options"


def is_frozen_record(kind: Any) -> bool:
    """Whether a class is a frozen dataclass."""
    return dataclasses.is_dataclass(kind) and bool(getattr(kind, "__dataclass_params__").frozen)  # noqa: B009 - its type does not say that it has it


def _lacks_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def check_heads(subject: TaskSubject) -> str:
    """Make the head's description for each family."""
    task, families = subject.task, get_args(Family)
    if not task.heads:
        raise CheckError("Task.heads is empty", "give a head for at least one family of backbones")
    for family, factory in task.heads.items():
        if family not in families:
            raise CheckError(f"Task.heads names the family '{family}'", f"the families are {', '.join(families)}")
        _check_spec(family, factory(subject.setup))
    return ", ".join(sorted(task.heads))


def _check_spec(family: str, spec: object) -> None:
    if not isinstance(spec, HeadSpec):
        raise CheckError(f"the head for {family} is a {type(spec).__name__}", "let the function return a HeadSpec")
    if spec.auto_class is None and spec.build is None:
        raise CheckError(f"the head for {family} is nothing", "give HeadSpec.auto_class, or build, or both")
    if spec.size < 1:
        raise CheckError(f"the head for {family} has size {spec.size}", "let size be how many numbers a row holds")
    if spec.labels and len(spec.labels) != spec.size:
        raise CheckError(
            f"the head for {family} has {len(spec.labels)} labels and size {spec.size}", "name each of the numbers once"
        )
    names = [output.name for output in spec.outputs]
    if not names or len(set(names)) < len(names):
        raise CheckError(f"the head for {family} gives {names}", "name each of its outputs, each by a name of its own")


PLUGIN_CHECKS: tuple[Check[PluginSubject], ...] = (
    Check("api-version", "it states the version of the plugin API that it was written for", check_api_version),
    Check("free-names", "no other plugin claims a name of its", check_free_names),
    Check("light-import", "finding it loads no torch and takes no time", check_light_import),
)
IDENTITY_CHECKS: tuple[Check[TaskSubject], ...] = (
    Check("names", "names are plain, and every column has its summary", check_names),
    Check("options", "its options are a frozen dataclass with a default for every field", check_options),
    Check("heads", "each family has a head that is described in full", check_heads),
)
