"""The checks that train: the loss, the gradients, and whether anything is learned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from polyhead.backbone.conformance.checks import Check, CheckError
from polyhead.backbone.conformance.error_checks import ERROR_CHECKS
from polyhead.backbone.conformance.subject import TaskSubject
from polyhead.backbone.conformance.trial import ModelInMemory, model_in_memory, trained
from polyhead.backbone.conformance.use_checks import USE_CHECKS
from polyhead.backbone.data.batching import Unit, labelled_places
from polyhead.backbone.data.choosing import evenly
from polyhead.backbone.model.stages import at_places
from polyhead.registry import Family, LossSum, PolyheadError

TOLERANCE = 1e-5
"""Relative: how far a sum may be from that of its parts; other padding rounds otherwise."""
LEAST_LOSS = 1e-2
"""A smaller loss is compared as if it were so large."""
PARTS = 8
FEW_STEPS = 3
"""How many steps at the beginning and at the end are compared."""
FALL = 0.9
"""What the loss must be at the end, relative to the beginning."""
SUM = "return the sum, and divide nowhere: the engine divides once by the count of the whole global batch"
ROWLESS = "leave loss_by_token out: it is for one label field, 'targets', and a loss that knows no rows"
ALONE = "let the loss of a feature depend on nothing else in its batch, and leave labels of -100 and padding out"


def check_sum_and_count(subject: TaskSubject) -> str:
    """Compare the loss of a batch with those of its parts."""
    model = model_in_memory(subject, subject.first_family)
    if not model.collator.has_labels:
        raise CheckError(
            "some features of the rows bear no labels", "give every feature of a row with an answer its labels"
        )
    units = evenly(model.units, PARTS)
    whole = _checked(model, units)
    if float(whole.targets) <= 0:
        raise CheckError(f"{float(whole.targets):g} targets in rows with answers", "count what the loss adds up")
    middle = len(units) // 2
    for parts in ([units[:middle], units[middle:]], [[unit] for unit in units]):
        _compare(whole, [_checked(model, part) for part in parts])
    if model.session.task.loss_by_token:
        _compare_tokens(model, units, whole)
    return f"{float(whole.total.detach()):.4g} of {len(units)} parts, {float(whole.targets):g} targets"


def _checked(model: ModelInMemory, units: Sequence[Unit]) -> LossSum:
    """Return the loss of some units, which is what a loss must be."""
    session, batch = model.session, model.batch(units)
    loss = session.task.loss(model.outputs(batch), batch.labels, session.setup)
    if not isinstance(loss, LossSum):
        raise CheckError(f"loss gives a {type(loss).__name__}", "return LossSum(total, targets)")
    for name, value in loss._asdict().items():
        if not isinstance(value, torch.Tensor) or value.ndim != 0:
            what = f"a tensor of shape {list(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
            raise CheckError(f"loss gives {what} for {name}", f"let {name} be a tensor without dimensions")
        if not math.isfinite(float(value.detach())):
            raise CheckError(
                f"loss gives {float(value.detach())} for {name}", "add a small number where you divide or take a root"
            )
    if not loss.total.requires_grad:
        raise CheckError("no gradient flows from the loss", "compute it of the outputs, without detach, item or numpy")
    counted = float(session.task.count_targets(batch.labels, session.setup))
    if not _close(float(loss.targets), counted):
        raise CheckError(
            f"loss counts {float(loss.targets):g} targets, count_targets {counted:g}",
            "let both count the same; one can call the other",
        )
    return loss


def _compare_tokens(model: ModelInMemory, units: Sequence[Unit], whole: LossSum) -> None:
    """Refuse a loss that is not made of labelled tokens alone, though the task says so."""
    session, batch = model.session, model.batch(units)
    shapes = [field.shape for field in session.task.label_fields(session.setup)]
    if shapes != ["targets"]:
        raise CheckError(f"loss_by_token with labels of the shapes {', '.join(shapes)}", ROWLESS)
    places = labelled_places(batch.labels[0])
    outputs = tuple(at_places(output, places) for output in model.outputs(batch))
    found = session.task.loss(outputs, (at_places(batch.labels[0], places),), session.setup)
    total, wanted = float(found.total.detach()), float(whole.total.detach())
    if not (_close(total, wanted) and _close(float(found.targets), float(whole.targets))):
        raise CheckError(
            f"loss_by_token, but the loss of a batch is {wanted:.6g}, and that of its labelled tokens in one row "
            f"{total:.6g}",
            ROWLESS,
        )


def _compare(whole: LossSum, parts: Sequence[LossSum]) -> None:
    """Refuse a loss that is not the sum of its parts."""
    counts = [float(part.targets) for part in parts]
    if not _close(float(whole.targets), sum(counts)):
        raise CheckError(
            f"a batch has {float(whole.targets):g} targets, its {len(parts)} parts have {sum(counts):g} together",
            "count the targets: no share, no mean, and nothing of the padding",
        )
    total, totals = float(whole.total.detach()), [float(part.total.detach()) for part in parts]
    if _close(total, sum(totals)):
        return
    weighted = sum(value * count for value, count in zip(totals, counts, strict=True)) / sum(counts)
    said = f"the loss of a batch is {total:.6g}, that of its {len(parts)} parts {sum(totals):.6g} together"
    if any(math.isclose(total, mean, rel_tol=0.02) for mean in (weighted, sum(totals) / len(totals))):
        raise CheckError(f"the loss is a mean, not a sum: {said}", SUM)
    raise CheckError(f"the loss is no sum over its features: {said}", ALONE)


def _close(first: float, second: float) -> bool:
    return abs(first - second) <= TOLERANCE * max(LEAST_LOSS, abs(first), abs(second))


# ── gradients ───────────────────────────────────────────────────────────────────────────────────────────


def check_families(subject: TaskSubject) -> str:
    """Run every family forwards and backwards."""
    return ", ".join(_trains(subject, family) for family in subject.backbones)


def _trains(subject: TaskSubject, family: Family) -> str:
    """Say how many parameters of the head get a gradient: all."""
    try:
        model = model_in_memory(subject, family)
    except PolyheadError as error:
        raise CheckError(f"{family}: {error}", "give HeadSpec.build, or leave the family out of heads") from error
    batch = model.batch(evenly(model.units, PARTS))
    outputs = model.outputs(batch)
    _check_outputs(model, outputs, batch.inputs[0].shape, family)
    loss = model.session.task.loss(outputs, batch.labels, model.session.setup)
    loss.total.backward()  # type: ignore[no-untyped-call]
    own = head_parameters(model)
    without = [name for name, parameter in own.items() if parameter.grad is None]
    if without:
        raise CheckError(
            f"{family}: these parameters of the head get no gradient: {', '.join(without)}",
            "use them for the loss or leave them out: ZeRO 3 and pipelines wait for every gradient",
        )
    broken = [name for name, parameter in own.items() if not bool(torch.isfinite(parameter.grad).all())]  # type: ignore[arg-type]
    if broken:
        raise CheckError(
            f"{family}: the gradient of {', '.join(broken)} is no number",
            "mask before a logarithm or a root is taken, not after it",
        )
    return f"{family}: {len(own)} tensors of the head train"


def head_parameters(model: ModelInMemory) -> dict[str, torch.nn.Parameter]:
    """Return the parameters of a head by name: all that are not the trunk's."""
    if model.stage.head is not None:
        return dict(model.stage.head.named_parameters())
    whole = model.stage.model
    trunk = {id(parameter) for parameter in whole.base_model.parameters()} if whole.base_model is not whole else set()
    return {name: parameter for name, parameter in whole.named_parameters() if id(parameter) not in trunk}


def _check_outputs(
    model: ModelInMemory, outputs: Sequence[torch.Tensor], tokens_BT: Sequence[int], family: Family
) -> None:
    """Refuse outputs of other shapes than `HeadSpec.outputs` says."""
    said = model.stage.spec.outputs
    if len(outputs) != len(said):
        raise CheckError(
            f"{family}: the head gives {len(outputs)} tensors, HeadSpec.outputs names {len(said)}",
            "name every tensor in HeadSpec.outputs, in order",
        )
    for output, tensor in zip(said, outputs, strict=True):
        wanted = list(tokens_BT[:1]) if output.per == "feature" else list(tokens_BT)
        if output.per == "token" and model.stage.spec.auto_class == "AutoModelForSeq2SeqLM":
            wanted = wanted[:1]  # one row a token of the decoder
        if list(tensor.shape[: len(wanted)]) != wanted:
            raise CheckError(
                f"{family}: output '{output.name}' has shape {list(tensor.shape)}, which does not begin with {wanted} "
                f"(one row a {output.per})",
                "give it that shape, or say per='feature' or per='token' in HeadSpec.outputs",
            )


# ── learning ────────────────────────────────────────────────────────────────────────────────────────────


def check_loss_falls(subject: TaskSubject) -> str:
    """Train for a moment, and see whether the loss falls."""
    losses = trained(subject).losses
    first, last = (sum(part) / FEW_STEPS for part in (losses[:FEW_STEPS], losses[-FEW_STEPS:]))
    if last > first - (1 - FALL) * abs(first):
        raise CheckError(
            f"the loss does not fall: {first:.4g} in the first steps, {last:.4g} after {len(losses)} steps on the same "
            "rows",
            "see that labels and outputs belong to the same feature, and that the loss falls where they agree",
        )
    return f"{first:.4g} → {last:.4g} in {len(losses)} steps"


TRAINING_CHECKS: tuple[Check[TaskSubject], ...] = (
    Check(
        "loss-is-sum-and-count",
        "the loss of a batch is the sum of those of its parts, and counts its targets",
        check_sum_and_count,
    ),
    Check(
        "every-family-trains",
        "on each family the head's outputs have the promised shapes and all its parameters get a gradient",
        check_families,
    ),
    Check("loss-falls", "a short training on a few rows brings the loss down", check_loss_falls),
    *USE_CHECKS,
    *ERROR_CHECKS,
)
