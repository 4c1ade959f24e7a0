"""What the engine is told of the head: its outputs, its loss, and what its outputs become for the task's `decode`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from polyhead.registry import HeadSpec, LossSum, Output, Reduction, TaskSetup

if TYPE_CHECKING:
    import torch

OUTPUTS = (Output("emissions", per="token"), Output("chain"), Output("mask", per="token"))
"""How well each tag fits each token; how well tags fit beside one another; which tokens are no padding."""


def crf_head(setup: TaskSetup) -> HeadSpec:
    """Score the tags of all tokens together."""
    return HeadSpec(
        size=len(setup.labels),
        labels=setup.labels,
        build=_build,
        outputs=OUTPUTS,
        loss=loss,
        reduction=Reduction((Output("logits", per="token"),), marginals),
    )


def decoder_crf_head(setup: TaskSetup) -> HeadSpec:
    """Do the same on a decoder; with ``options.causal`` false each token sees the whole text."""
    return replace(crf_head(setup), causal=setup.options.causal)


def loss(
    outputs: tuple[torch.Tensor, ...],
    labels: tuple[torch.Tensor, ...],
    setup: TaskSetup,  # noqa: ARG001 - the contract's form
) -> LossSum:
    """Sum the negative log-likelihood of the words' tags; the count is that of the words, as in the linear head."""
    from polyhead_crf.chain import Chain, negative_log_likelihood  # torch: kept out of plugin discovery

    emissions_BTL, chain_BC, mask_BT = outputs
    total = negative_log_likelihood(emissions_BTL, mask_BT != 0, Chain.of(chain_BC), labels[0])
    return LossSum(total, (labels[0] >= 0).sum())


def marginals(
    outputs: tuple[torch.Tensor, ...],
    labels: tuple[torch.Tensor, ...],  # noqa: ARG001 - what is predicted must not depend on them
    setup: TaskSetup,  # noqa: ARG001 - the contract's form
) -> tuple[torch.Tensor]:
    """Return the log-probability of each tag at each token, given the whole text."""
    from polyhead_crf.chain import Chain, log_marginals  # torch: kept out of plugin discovery

    emissions_BTL, chain_BC, mask_BT = outputs
    return (log_marginals(emissions_BTL, mask_BT != 0, Chain.of(chain_BC)),)


def _build(config: Any, spec: HeadSpec) -> torch.nn.Module:
    from polyhead_crf.module import build_crf_head  # torch: kept out of plugin discovery

    return build_crf_head(config, spec)
