"""What a plugin brings beside tasks is checked: readers, backbones, commands, perturbations, heads and metrics."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from polyhead.backbone.conformance.addition_checks import (
    BACKBONE_CHECKS,
    COMMAND_CHECKS,
    PERTURBATION_CHECKS,
    BackboneSubject,
    PerturbationSubject,
)
from polyhead.backbone.conformance.checks import Check, CheckError, NotApplicable
from polyhead.backbone.conformance.part_checks import part_findings
from polyhead.backbone.conformance.plugin_subject import PluginSubject
from polyhead.backbone.conformance.reader_checks import READER_CHECKS, ReaderSubject
from polyhead.backbone.data import readers
from polyhead.backbone.model import named
from polyhead.registry import (
    BackboneError,
    Command,
    DataError,
    HeadSpec,
    LossSum,
    Metric,
    NamedBackbone,
    NamedHead,
    Perturbation,
    Reader,
    Registry,
    Scores,
    SourceRow,
    TextExample,
    hookimpl,
)
from polyhead.registry.testing import Finding
from polyhead.registry.toolkit import single_label


def outcome(check: Check[Any], subject: Any) -> str:
    """Return what came of a check, in words."""
    try:
        return f"passed: {check.run(subject)}"
    except CheckError as error:
        return f"failed: {error.message}" if error.remedy else "failed without a remedy"
    except NotApplicable as reason:
        return f"not applicable: {reason}"


# ── readers ─────────────────────────────────────────────────────────────────────────────────────────────


def read_pairs(path: Path, encoding: str | None) -> Iterator[SourceRow]:
    """Read ``text=label`` lines."""
    try:
        text = path.read_text(encoding=encoding or "utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        name, found, label = line.partition("=")
        yield SourceRow(number, {"text": name, "label": label}) if found else SourceRow(number, {}, "no = in it")


def read_carelessly(path: Path, encoding: str | None) -> Iterator[SourceRow]:
    """Read likewise, by a table that knows two labels."""
    for number, line in enumerate(path.read_text(encoding=encoding or "utf-8").splitlines()):
        name, _, label = line.partition("=")
        yield SourceRow(number, {"text": name, "label": {"yes": 1, "no": 0}[label]})


def write_pairs(folder: Path) -> Path:
    """Write an example."""
    path = folder / "example.pairs"
    path.write_text("a good film=yes\na bad film=no\n", encoding="utf-8")
    return path


def outcomes(reader: Reader, folder: Path) -> dict[str, str]:
    """Return what came of the checks of a reader."""
    subject = ReaderSubject(reader, "acme:pairs", folder)
    return {check.name: outcome(check, subject) for check in READER_CHECKS}


def test_a_sound_reader(tmp_path: Path) -> None:
    found = outcomes(Reader("pairs", "pairs", read_pairs, write_pairs), tmp_path)
    assert found["reader-example"] == "passed: 2 rows, columns text, label"
    assert all(said.startswith("passed") for said in found.values()), found


def test_a_careless_reader(tmp_path: Path) -> None:
    found = outcomes(Reader("pairs", "pairs", read_carelessly, write_pairs), tmp_path)
    assert found["reader-example"] == "failed: a row stands on line 0"
    assert found["reader-absent-file"].startswith("failed: acme:pairs: a file that is not there raised FileNotFound")
    assert found["reader-broken-files"].startswith("failed: acme:pairs: a file of spaces raised KeyError")


def test_a_reader_that_reads_all_at_once(tmp_path: Path) -> None:
    def read(path: Path, encoding: str | None) -> Any:
        return list(read_pairs(path, encoding))

    found = outcomes(Reader("pairs", "pairs", read, write_pairs), tmp_path)
    assert found["reader-lazy"] == "failed: read gives a list"


def test_a_reader_without_an_example(tmp_path: Path) -> None:
    found = outcomes(Reader("pairs", "pairs", read_pairs), tmp_path)
    assert found["reader-example"].startswith("not applicable: the reader has no write_example: give a function")
    assert found["reader-broken-files"].startswith("passed")


@pytest.mark.parametrize("reader", readers.polyhead_register_readers(), ids=lambda reader: str(reader.name))
def test_the_readers_of_polyhead(reader: Reader, tmp_path: Path) -> None:
    found = outcomes(reader, tmp_path)
    assert not [said for said in found.values() if said.startswith("failed")], found


# ── backbones, commands, perturbations ──────────────────────────────────────────────────────────────────

MINILM = named.polyhead_register_backbones()[0]


def locate_nothing() -> Path:
    """Find nothing, as where a package is not installed."""
    raise BackboneError("backbone 'x' needs the package y: pip install y")


@pytest.mark.parametrize(
    ("backbone", "outcomes"),
    [
        (MINILM, ("passed", "passed: bert: encoder", "passed: 22,713,216 parameters", "passed: 30,522 tokens")),
        (
            replace(MINILM, family="decoder", parameters=1_000),
            ("passed", "failed: it says decoder; architecture 'bert' is an encoder", "failed: it says 1,000", "passed"),
        ),
        (replace(MINILM, locate=locate_nothing), ("not applicable: the weights are not installed",) * 4),
        (replace(MINILM, locate=lambda: Path("/nowhere")), ("failed: /nowhere holds no config.json",) * 4),
    ],
    ids=["sound", "wrong facts", "not installed", "no folder"],
)
def test_backbones(backbone: NamedBackbone, outcomes: Sequence[str]) -> None:
    subject = BackboneSubject(backbone)
    for check, wanted in zip(BACKBONE_CHECKS, outcomes, strict=True):
        assert outcome(check, subject).startswith(wanted)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Command("count-words", "Count the words of a file.", len), "passed: polyhead count-words"),
        (Command("Count Words", "Count the words of a file.", len), "failed: 'Count Words' is no name"),
        (Command("count", "", len), "failed: its summary is not one line"),
        (Command("count", "Count.", None), "failed: run is a NoneType"),  # type: ignore[arg-type]
    ],
)
def test_commands(command: Command, message: str) -> None:
    assert outcome(COMMAND_CHECKS[0], command).startswith(message)


def shorten(example: TextExample, draw: random.Random) -> TextExample:
    """Drop some of the end."""
    return replace(example, text=example.text[: draw.randint(1, 5)])


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (shorten, "passed: 3 of 3 examples changed"),
        (lambda example, _: shorten(example, random.Random()), "failed: one seed gives two results"),
        (lambda example, draw: replace(shorten(example, draw), id="x"), "failed: example '0' becomes 'x'"),
        (lambda example, draw: replace(shorten(example, draw), labels=("no",)), "failed: it changes labels"),
        (lambda example, _: example, "failed: it changes none of 3 examples"),
    ],
)
def test_perturbations(apply: Callable[[Any, random.Random], Any], message: str) -> None:
    examples = [TextExample(str(number), "a very good film" * 9, labels=("yes",)) for number in range(3)]
    subject = PerturbationSubject(Perturbation("shorter", "", apply), examples)
    assert outcome(PERTURBATION_CHECKS[0], subject).startswith(message)


# ── heads and metrics for tasks of others ───────────────────────────────────────────────────────────────


def parts_of(tmp_path: Path, *functions: Callable[..., Any], only: Sequence[str]) -> list[Finding]:
    """Return what comes of the parts of a plugin with these hooks, beside the task of another that has samples."""
    module = ModuleType("acme_parts")
    for function in functions:
        setattr(module, function.__name__, hookimpl(function))
    registry = Registry.load((readers, named, module), {"POLYHEAD_LOAD_PLUGINS": "classification"})
    info = next(each for each in registry.plugins() if each.name == "acme_parts")
    plugin = PluginSubject(registry, info, "acme_parts", ())
    return list(part_findings(plugin, tmp_path, lambda name: name in only, lambda _: None))


def test_a_head_that_brings_its_own_loss(tmp_path: Path) -> None:
    def mean(outputs: Any, labels: Any, setup: Any) -> LossSum:
        found = single_label.loss(outputs, labels, setup)
        return LossSum(found.total / found.targets, found.targets)

    def sound(setup: Any) -> HeadSpec:
        return single_label.pooled_head(setup)

    def wrong(setup: Any) -> HeadSpec:
        return replace(single_label.pooled_head(setup), loss=mean)

    def polyhead_register_heads() -> list[NamedHead]:
        return [
            NamedHead("even", "classification", "pooled", {"encoder": sound}),
            NamedHead("mean", "classification", "pooled", {"encoder": wrong}),
            NamedHead("lost", "absent", "pooled", {"encoder": sound}),
        ]

    found = parts_of(tmp_path, polyhead_register_heads, only=["loss-is-sum-and-count", "every-family-trains"])
    told = {(finding.subject, finding.check): (finding.status, finding.message) for finding in found}
    assert told["head even of classification", "loss-is-sum-and-count"][0] == "passed"
    assert told["head even of classification", "every-family-trains"][0] == "passed"
    status, message = told["head mean of classification", "loss-is-sum-and-count"]
    assert (status, "the loss is a mean, not a sum" in message) == ("failed", True)
    assert told["head lost of absent", "part"][0] == "failed"
    assert "unknown task 'absent'" in told["head lost of absent", "part"][1]


def test_a_name_that_another_claims(tmp_path: Path) -> None:
    def polyhead_register_heads() -> list[NamedHead]:
        return [
            NamedHead("pooled", "classification", "of classification itself", {"encoder": single_label.pooled_head})
        ]

    found = parts_of(tmp_path, polyhead_register_heads, only=["loss-is-sum-and-count"])
    assert [each.message for each in found] == ["another plugin calls something 'pooled' too"]


def test_metrics_and_perturbations_for_a_task_of_another(tmp_path: Path) -> None:
    def compute(predictions: Sequence[Any], examples: Sequence[Any], setup: Any) -> Scores:
        return Scores({"first": float(predictions[0].label == examples[0].labels[0])}, "first")

    def polyhead_register_metrics(task: str) -> list[Metric[Any, Any]]:
        return [Metric("first", compute)] if task == "classification" else []

    def polyhead_register_perturbations(task: str) -> list[Perturbation[Any]]:
        return [Perturbation("shorter", "", shorten)] if task == "classification" else []

    hooks = (polyhead_register_metrics, polyhead_register_perturbations)
    found = parts_of(tmp_path, *hooks, only=["metric-empty", "perturbation"])
    assert [(each.subject, each.check, each.status) for each in found] == [
        ("metrics of classification", "metric-empty", "failed"),
        ("perturbation shorter of classification", "perturbation", "passed"),
    ]
    assert "'first'" in found[0].message
