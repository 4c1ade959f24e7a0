"""The check that a task trains alike however it is spread: in one process, under ZeRO 3, and as two pipeline stages."""

from __future__ import annotations

import signal

from polyhead.backbone.conformance.checks import Check, CheckError
from polyhead.backbone.conformance.subject import TaskSubject
from polyhead.backbone.conformance.trial import few_rows, write_recipe, write_rows
from polyhead.backbone.parallel.proof import LayoutResult, Proof, prove
from polyhead.backbone.parallel.proof_plan import Request
from polyhead.backbone.training.loop import Interrupted
from polyhead.registry import RunError

LAYOUTS = ("zero3", "pipe2+zero1")
STEPS = 6
_SETTINGS = (
    "training.batch_size=8",
    "training.learning_rate=0.05",  # with the proof's clipping: far enough in few steps, and no step too far
    "data.max_tokens=128",
)
_REMEDIES = {
    "zero3": "call every module of the head in every forward pass, keep weights in parameters only, and read none of "
    "them outside of forward",
    "pipe2+zero1": "let the head read nothing but the hidden states and the mask that it is given: embeddings, ids and "
    "the first blocks are in another process",
}
"""What the author can do where a layout alone goes wrong."""


def check_layouts(subject: TaskSubject) -> str:
    """Prove the layouts on the model of the first family."""
    family = subject.first_family
    validation = write_rows(subject.folder / "validation.jsonl", few_rows(subject.rows))
    recipe = write_recipe(subject, family, validation=str(validation))
    request = Request(str(recipe), _SETTINGS, LAYOUTS, STEPS, processes=2)
    try:
        proof = prove(request, subject.registry, lambda _: None)
    except SystemExit as stop:  # a signal came
        raise Interrupted("the check was interrupted", signal_number=signal.SIGTERM) from stop
    except RunError as error:
        raise CheckError(
            f"{subject.plugin}: {error}",
            "make loss-falls pass first; where it does, let nothing depend on another process than the one it runs in",
        ) from error
    wrong = [result for result in proof.layouts if result.verdict != "ok"]
    if wrong:
        said = "; ".join(f"{result.layout}: {', '.join(result.reasons)}" for result in wrong)
        raise CheckError(f"{subject.plugin} on {family}: {said}", _remedy(wrong))
    others = [name for name in subject.backbones if name != family]
    untried = f" ({', '.join(others)} not tried: `polyhead verify` does)" if others else ""
    return f"{family}: single, {' and '.join(LAYOUTS)} alike within {_largest(proof):.0e} of the loss{untried}"


def _remedy(wrong: list[LayoutResult]) -> str:
    return "; ".join(f"{result.layout}: {_REMEDIES[result.layout]}" for result in wrong)


def _largest(proof: Proof) -> float:
    return max((result.loss or 0.0 for result in proof.layouts), default=0.0)


LAYOUT_CHECKS: tuple[Check[TaskSubject], ...] = (
    Check(
        "same-loss-in-every-layout",
        "one process, ZeRO 3 and two pipeline stages train alike: losses, gradient norms and weights",
        check_layouts,
    ),
)
