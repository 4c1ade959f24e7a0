"""Which layouts a run can have, which of those that fit to take, and what to change where none does."""

from __future__ import annotations

from collections.abc import Sequence

from polyhead.backbone.parallel.memory_plan import LayoutPlan, Planner
from polyhead.configs.errors import ConfigError
from polyhead.configs.layouts import Layout, parse_layout
from polyhead.configs.schema import RunConfig


def candidates(planner: Planner, processes: int) -> list[tuple[Layout, int]]:
    """Return the layouts that so many processes can run, each with its number of processes.

    Offloading is left out where tensors lie in the host's memory already.
    """
    config, blocks = planner.config, planner.sketch.blocks
    words = ["single", *(f"zero{stage}" for stage in range(4) if processes > 1)]
    if blocks is not None:
        for stages in (number for number in range(2, processes + 1) if processes % number == 0 and number <= blocks):
            words += [f"pipe{stages}", f"pipe{stages}+zero1"]
    if planner.on_gpu:
        words += ["zero1+offload", "zero2+offload", "zero3+offload"]
    found = []
    for word in words:
        try:
            layout = parse_layout(word)
            RunConfig.model_validate({**config.model_dump(mode="json"), "layout": word})
        except (ConfigError, ValueError):  # this run cannot have that layout; `config check` says why
            continue
        found.append((layout, processes if layout.distributed else 1))
    return found


def recommended(plans: Sequence[LayoutPlan], memory: int) -> LayoutPlan | None:
    """Return the layout that should be fastest of those that fit; None where none does.

    All processes are to be used. Least is sent first; pipelines, whose stages wait for one another, come behind ZeRO 0
    to 2, and what is offloaded comes last.
    """
    most = max(plan.processes for plan in plans)
    fitting = [plan for plan in plans if plan.peak.total <= memory and plan.processes == most]

    def rank(plan: LayoutPlan) -> tuple[bool, bool, int]:
        layout = parse_layout(plan.layout)
        waits = layout.pipeline_stages > 1 or layout.zero_stage == 3
        return layout.offload != "none", waits, plan.collective_bytes

    return min(fitting, key=rank, default=None)


def advice(planner: Planner, plans: Sequence[LayoutPlan], memory: int) -> list[str]:
    """Say what to change where nothing fits: what needs least, and what each change would make of it."""
    least = min(plans, key=lambda plan: plan.peak.total)
    peak, config = least.peak, planner.config
    layout = parse_layout(least.layout)
    found = [f"{least.layout} needs least: {gigabytes(peak.total)} a rank, {gigabytes(peak.total - memory)} too much"]
    if not config.training.activation_checkpointing:
        other = planner.plan(layout, least.processes, checkpointing=True).peak.total
        found.append(f"training.activation_checkpointing=true: {gigabytes(other)}")
    if least.rows > 1:
        half = peak.total - (peak.activations + peak.head) // 2
        found.append(f"data.max_tokens={config.data.max_tokens // 2}: about {gigabytes(half)}")
    elif least.tokens > 1:
        found.append(f"one window of {least.tokens} tokens fills a micro-batch: a smaller data.max_length needs less")
    if config.backbone.lora is None and config.backbone.architecture is None:
        left = peak.total - peak.gradients - peak.optimizer
        found.append(
            f"backbone.lora={{}}: about {gigabytes(left)}, gradients and optimizer state of small matrices only"
        )
    if config.training.precision == "fp32" and planner.on_gpu:
        found.append("training.precision=bf16: half of weights and activations")
    found.append("more processes (--gpus): zero2, zero3 and pipelines divide more by them")
    return found


def gigabytes(count: int) -> str:
    """Return bytes as text."""
    return f"{count / 1e9:.2f} GB"
