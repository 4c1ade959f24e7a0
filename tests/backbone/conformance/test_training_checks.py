"""The checks that train pass a sound task, and say what is wrong with one that is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from polyhead.backbone.conformance.checks import CheckError
from polyhead.backbone.conformance.error_checks import ERROR_CHECKS
from polyhead.backbone.conformance.subject import TaskSubject
from polyhead.backbone.conformance.tiny_models import make_tiny_models
from polyhead.backbone.conformance.training_checks import SUM, TRAINING_CHECKS
from polyhead.backbone.data import readers
from polyhead.backbone.model import named
from polyhead.registry import HeadSpec, LossSum, Registry, RowError, Task, TextExample, hookimpl
from polyhead.registry.toolkit import single_label

NAME = "demo"
ROWS = [
    {"id": str(number), "text": f"{word} film, {number} stars", "label": label}
    for number, (word, label) in enumerate(
        [("a good", "yes"), ("a bad", "no"), ("一部好的", "yes"), ("一部坏的", "no")] * 4
    )
]
TASK = single_label.single_label_task(NAME, "Whether a film is good.")

SubjectOf = Callable[..., TaskSubject]


def registry_of(task: Task[Any, Any]) -> Registry:
    """Return a registry that knows the task, the engine's readers and backbones, and nothing else."""
    module = ModuleType("demo")

    def polyhead_register_tasks() -> list[Task[Any, Any]]:
        return [task]

    module.polyhead_register_tasks = hookimpl(polyhead_register_tasks)  # type: ignore[attr-defined]
    return Registry.load((readers, named, module), {}, [])


def run(name: str, subject: TaskSubject) -> str:
    """Run one check."""
    return next(check for check in TRAINING_CHECKS if check.name == name).run(subject)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> TaskSubject:
    """Return a task that is as it should be."""
    folder, registry = tmp_path_factory.mktemp("sound"), registry_of(TASK)
    return TaskSubject(registry, TASK, "x:demo", ROWS, make_tiny_models(folder, TASK.heads, registry, ROWS), folder)


@pytest.fixture
def subject_of(sound: TaskSubject, tmp_path: Path) -> SubjectOf:
    """Return what makes a subject of a changed task, on the model of one family."""

    def make(**changes: Any) -> TaskSubject:
        task = replace(TASK, **changes)
        backbones = {"encoder": sound.backbones["encoder"]}
        return replace(sound, registry=registry_of(task), task=task, backbones=backbones, folder=tmp_path)

    return make


def head_of(build: Callable[[Any, HeadSpec], Any], **fields: Any) -> dict[str, Any]:
    """Return the heads of a task that builds its own."""

    def factory(setup: Any) -> HeadSpec:
        return HeadSpec(len(setup.labels), setup.labels, build=build, **fields)

    return {"encoder": factory}


def linear(config: Any, spec: HeadSpec) -> Any:
    """Return a head that scores the first token."""
    import torch

    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score = torch.nn.Linear(config.hidden_size, spec.size)

        def forward(self, hidden_BTD: Any, mask_BT: Any) -> tuple[Any, ...]:
            return (self.score(hidden_BTD[:, 0]),)

    return Head()


@pytest.mark.slow
def test_a_sound_task_passes(sound: TaskSubject) -> None:
    said = {check.name: check.run(sound) for check in TRAINING_CHECKS}
    assert said["loss-is-sum-and-count"].endswith("of 8 parts, 8 targets")
    assert [part.split(":")[0] for part in said["every-family-trains"].split(", ")] == list(TASK.heads)
    assert "transformers loads the folder as BertForSequenceClassification" in said["save-and-load"]


def test_chinese_is_no_unknown_token(sound: TaskSubject) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(sound.backbones["encoder"])
    assert tokenizer.unk_token_id not in tokenizer(str(ROWS[3]["text"]))["input_ids"]


# ── the loss ────────────────────────────────────────────────────────────────────────────────────────────


def changed_loss(change: Callable[[LossSum, Any], LossSum]) -> dict[str, Any]:
    """Return the task's loss, changed."""
    return {"loss": lambda outputs, labels, setup: change(single_label.loss(outputs, labels, setup), outputs)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found, _: LossSum(found.total / found.targets, found.targets), "the loss is a mean, not a sum"),
        (lambda found, outputs: LossSum(found.total + outputs[0].std(), found.targets), "no sum over its features"),
        (lambda found, _: LossSum(found.total, found.targets / found.targets), "loss counts 1 targets, count_targets"),
        (lambda found, _: LossSum(found.total.detach(), found.targets), "no gradient flows"),
        (lambda found, outputs: LossSum(outputs[0].sum(1), found.targets), "a tensor of shape [8] for total"),
        (lambda found, _: LossSum(found.total.log() - found.total.log() * float("inf"), found.targets), "gives -inf"),
        (lambda found, _: (found.total, found.targets), "gives a tuple"),
    ],
)
def test_a_wrong_loss(subject_of: SubjectOf, change: Any, message: str) -> None:
    with pytest.raises(CheckError) as found:
        run("loss-is-sum-and-count", subject_of(**changed_loss(change)))
    assert message in found.value.message
    assert ("a mean" in message) == (found.value.remedy == SUM)


@pytest.mark.slow
def test_a_loss_by_token_of_labels_that_are_none(subject_of: SubjectOf) -> None:
    with pytest.raises(CheckError, match="loss_by_token with labels of the shapes scalar"):
        run("loss-is-sum-and-count", subject_of(loss_by_token=True))


def test_a_loss_by_token_that_knows_its_row(registry: Registry, tmp_path: Path) -> None:
    task = registry.task("generation")
    assert task.loss_by_token
    assert task.samples is not None
    rows = list(task.samples())
    heads = {"decoder": task.heads["decoder"]}

    def subject(task: Task[Any, Any]) -> TaskSubject:
        return TaskSubject(registry_of(task), task, "x:generation", rows, models, tmp_path)

    models = make_tiny_models(tmp_path / "models", heads, registry, rows)
    run("loss-is-sum-and-count", subject(replace(task, heads=heads)))

    def by_row(outputs: Any, labels: Any, setup: Any) -> LossSum:
        found = task.loss(outputs, labels, setup)
        return LossSum(found.total + outputs[0].mean((1, 2)).sum(), found.targets)  # a term a row, not a token

    with pytest.raises(CheckError, match="and that of its labelled tokens in one row"):
        run("loss-is-sum-and-count", subject(replace(task, heads=heads, loss=by_row)))


def test_a_loss_that_does_not_fall(subject_of: SubjectOf) -> None:
    def change(found: LossSum, outputs: Any) -> LossSum:
        return LossSum((outputs[0] * 0).sum() + found.targets, found.targets)

    with pytest.raises(CheckError, match="the loss does not fall: 1 in the first steps, 1 after 20 steps"):
        run("loss-falls", subject_of(**changed_loss(change)))


def test_a_loss_that_counts_nothing(subject_of: SubjectOf) -> None:
    changes = changed_loss(lambda found, _: LossSum(found.total, found.targets * 0))
    with pytest.raises(CheckError, match="0 targets in rows with answers"):
        run("loss-is-sum-and-count", subject_of(count_targets=lambda labels, _: (labels[0] * 0).sum(), **changes))


# ── heads ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_parameter_without_a_gradient(subject_of: SubjectOf) -> None:
    def build(config: Any, spec: HeadSpec) -> Any:
        import torch

        head = linear(config, spec)
        head.spare = torch.nn.Linear(2, 2)
        return head

    with pytest.raises(CheckError, match=r"no gradient: spare\.weight, spare\.bias"):
        run("every-family-trains", subject_of(heads=head_of(build)))


def test_outputs_of_another_shape(subject_of: SubjectOf) -> None:
    from polyhead.registry import Output

    with pytest.raises(CheckError, match=r"'logits' has shape \[8, 2\], which does not begin with \[8, \d+\]"):
        run("every-family-trains", subject_of(heads=head_of(linear, outputs=(Output("logits", per="token"),))))


def test_a_head_that_keeps_something_outside_of_parameters(subject_of: SubjectOf) -> None:
    def build(config: Any, spec: HeadSpec) -> Any:
        import torch

        head = linear(config, spec)
        head.shift = torch.randn(spec.size)
        head.register_forward_hook(lambda module, _, outputs: (outputs[0] + module.shift,))
        return head

    assert "8 predictions are the same" in run("save-and-load", subject_of(heads=head_of(linear)))
    with pytest.raises(CheckError, match="after saving and loading") as found:
        run("save-and-load", subject_of(heads=head_of(build)))
    assert "in parameters, in buffers" in found.value.remedy


# ── use ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def trained_of(sound: TaskSubject, subject_of: SubjectOf, tmp_path: Path) -> SubjectOf:
    """Return what makes a subject of a changed task that is trained already."""
    from polyhead.backbone.conformance.trial import trained

    shutil.copytree(trained(sound).config.output, tmp_path / "trained")
    return subject_of


@dataclass(frozen=True)
class Strange:
    """A prediction that is no JSON."""

    id: str
    label: str
    score: Any


@pytest.mark.slow
def test_predictions_that_know_the_answer(trained_of: SubjectOf) -> None:
    def decode(example: TextExample, windows: Any, setup: Any) -> Any:
        found = single_label.decode(example, windows, setup)
        return replace(found, label=(example.labels or (found.label,))[0], score=0.0 if example.labels else 1.0)

    with pytest.raises(CheckError, match="without answers in the rows"):
        run("evaluate-then-predict", trained_of(decode=decode))


@pytest.mark.slow
@pytest.mark.parametrize(("score", "message"), [({1}, "as JSON"), (float("nan"), "holds NaN")])
def test_predictions_that_are_no_json(trained_of: SubjectOf, score: Any, message: str) -> None:
    def decode(example: TextExample, windows: Any, setup: Any) -> Any:
        return Strange(example.id, single_label.decode(example, windows, setup).label, score)

    with pytest.raises(CheckError, match=message):
        run("evaluate-then-predict", trained_of(decode=decode))


def test_a_row_that_breaks_the_task(subject_of: SubjectOf) -> None:
    def to_example(row: Any, row_id: str, options: Any) -> TextExample:
        return TextExample(row_id, row["text"].strip(), labels=(row["label"],))

    with pytest.raises(CheckError, match="a number in column 'text': to_example raised AttributeError"):
        ERROR_CHECKS[0].run(subject_of(to_example=to_example))


def test_a_row_that_is_let_in_and_breaks_the_task_later(subject_of: SubjectOf) -> None:
    def to_example(row: Any, row_id: str, options: Any) -> TextExample:
        return TextExample(row_id, row["text"], labels=(str(row["label"]),))

    with pytest.raises(CheckError, match="a number in column 'text': to_example let it pass, and then"):
        ERROR_CHECKS[0].run(subject_of(to_example=to_example))


def test_a_message_of_several_lines(subject_of: SubjectOf) -> None:
    def to_example(row: Any, row_id: str, options: Any) -> TextExample:
        if row["text"] not in [known["text"] for known in ROWS]:
            raise RowError("so\nnot")
        return single_label.to_example(row, row_id, options)

    with pytest.raises(CheckError, match="does not name file and line in one line"):
        ERROR_CHECKS[0].run(subject_of(to_example=to_example))
