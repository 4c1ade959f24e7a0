"""The heads and the loss of models that write: one target a position, which is the token that comes next.

Labels are aligned with the positions that predict them, so that nothing is shifted here: for a decoder the label of
position t is token t + 1 (-100 at the last one), for an encoder-decoder the label of decoder position t is token t of
the target. Shapes: B batch, T positions, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyhead.registry.contracts import HeadSpec, LabelField, LossSum, Output, Reduction, TaskSetup

if TYPE_CHECKING:
    import torch

NLL, TARGETS, RIGHT = "nll", "targets", "right"


def default_head(setup: TaskSetup) -> HeadSpec:  # noqa: ARG001 - the contract's form
    """Write with the architecture's own sequence-to-sequence head; an encoder becomes a warm-started pair."""
    return HeadSpec(size=1, auto_class="AutoModelForSeq2SeqLM")


def causal_head(setup: TaskSetup) -> HeadSpec:  # noqa: ARG001 - the contract's form
    """Write with a decoder's own language-model head."""
    return HeadSpec(size=1, auto_class="AutoModelForCausalLM")


def label_fields(setup: TaskSetup) -> tuple[LabelField, ...]:  # noqa: ARG001 - the contract's form
    """Name the one label tensor: the next token of each position."""
    return (LabelField("labels", "int", "targets"),)


def count_targets(labels: tuple[torch.Tensor, ...], setup: TaskSetup) -> torch.Tensor:  # noqa: ARG001 - likewise
    """Count the tokens that are to be predicted."""
    from polyhead.registry.toolkit.losses import IGNORED  # torch: kept out of plugin discovery

    return (labels[0] != IGNORED).sum().float()


def loss(
    outputs: tuple[torch.Tensor, ...],
    labels: tuple[torch.Tensor, ...],
    setup: TaskSetup,  # noqa: ARG001 - likewise
) -> LossSum:
    """Sum the negative log-likelihood of the next tokens."""
    from polyhead.registry.toolkit.losses import cross_entropy  # torch: kept out of plugin discovery

    return cross_entropy(outputs[0].flatten(0, 1), labels[0].flatten(), None)


def _likelihood(
    outputs: tuple[torch.Tensor, ...], labels: tuple[torch.Tensor, ...], setup: TaskSetup
) -> tuple[torch.Tensor, ...]:
    """Return for each feature the negative log-likelihood of its targets (nats) and how many they are: ``[B]`` each."""
    import torch  # heavy: kept out of plugin discovery

    from polyhead.registry.toolkit.losses import IGNORED

    del setup
    logits_BTV = outputs[0]
    if not labels:
        zeros_B = torch.zeros(len(logits_BTV), device=logits_BTV.device)
        return zeros_B, zeros_B
    labels_BT = labels[0]
    nll_BT = torch.nn.functional.cross_entropy(
        logits_BTV.float().transpose(1, 2), labels_BT, reduction="none", ignore_index=IGNORED
    )
    return nll_BT.sum(1), (labels_BT != IGNORED).sum(1).float()


reduction = Reduction((Output(NLL), Output(TARGETS)), _likelihood)
"""Keeps the negative log-likelihood (``nll``, nats) and the number of ``targets`` of each feature, not its logits."""


def _restored(
    outputs: tuple[torch.Tensor, ...], labels: tuple[torch.Tensor, ...], setup: TaskSetup
) -> tuple[torch.Tensor, ...]:
    """Return what `reduction` does, and how many targets are the likeliest tokens: ``[B]`` each."""
    nll_B, targets_B = _likelihood(outputs, labels, setup)
    if not labels:
        return nll_B, targets_B, targets_B
    return nll_B, targets_B, (outputs[0].argmax(-1) == labels[0]).sum(1).float()


restoration = Reduction((Output(NLL), Output(TARGETS), Output(RIGHT)), _restored)
"""Keeps besides how often the likeliest token is the ``right`` one."""
