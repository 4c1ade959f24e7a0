"""``polyhead plan``: what each layout would take in memory, before anything is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyhead.cli.screen import (
    AsJson,
    Overrides,
    PluginChoices,
    load_plugins,
    load_settings,
    print_json,
    print_table,
    say,
)

if TYPE_CHECKING:
    from polyhead.backbone.parallel.memory_measure import RankMemory
    from polyhead.backbone.parallel.memory_plan import LayoutPlan, Planner
    from polyhead.configs.schema import RunConfig

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
UNITS |= {"TIB": 2**40, "B": 1}


def plan(
    recipe: Annotated[str, typer.Argument(help="A task, a shipped recipe (polyhead config list), or a YAML file.")],
    overrides: Overrides = None,
    plugin: PluginChoices = None,
    gpus: Annotated[
        int | None,
        typer.Option("--gpus", min=1, help="Processes to plan for; else the GPUs of this machine, without one 2."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option("--memory", metavar="SIZE", help="Memory of each, such as 80GB; else what this machine has."),
    ] = None,
    layouts: Annotated[
        str | None, typer.Option("--layouts", metavar="NAMES", help="Only these, such as zero2,pipe2+zero1.")
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Run two steps of the layouts named by --layouts, else of the one recommended."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Predict the memory of each layout, say which fit and which to take, and show its DeepSpeed JSON.

    No weights are loaded. The figures are those of the step that needs most: a batch of the longest training texts.
    """
    from polyhead.backbone.parallel.memory_machine import has_gpu, libraries_bytes, memory_of_one, processes_here
    from polyhead.backbone.parallel.memory_plan import Planner
    from polyhead.backbone.parallel.memory_sketch import Sketch

    limit = _bytes(memory) if memory else None
    registry = load_plugins()
    config = load_settings(registry, recipe, overrides, plugin)
    processes = gpus or processes_here()
    sketch = Sketch(config, registry, say)
    if not sketch.from_data:
        say("no data.train: two labels and full windows are assumed")
    on_gpu = has_gpu() or limit is not None  # whoever names a size means that of a GPU
    planner = Planner(config, sketch, libraries=libraries_bytes(on_gpu=on_gpu), on_gpu=on_gpu)
    plans = [planner.plan(layout, count) for layout, count in _chosen(planner, layouts, processes)]
    answer = _answer(planner, plans, limit or memory_of_one(processes))
    if measure:
        shown = answer["shown"]
        answer["measured"] = [_measured(config, each) for each in plans if layouts or each.layout == shown]
    if as_json:
        print_json(answer)
    else:
        _show(planner, plans, answer)


def _answer(planner: Planner, plans: Sequence[LayoutPlan], limit: int) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    from polyhead.backbone.parallel.deepspeed_config import deepspeed_config, sized_for
    from polyhead.backbone.parallel.memory_choice import advice, recommended

    best = recommended(plans, limit)
    shown = best or min(plans, key=lambda each: each.peak.total)
    parameters = sum(each.numel() for each in planner.sketch.stage.parameters())
    run = planner.config.model_copy(update={"layout": shown.layout})
    return {
        "memory": limit,
        "parameters": parameters,
        "layouts": [{**each.to_json(), "fits": each.peak.total <= limit} for each in plans],
        "recommended": best.layout if best else None,
        "advice": [] if best else advice(planner, plans, limit),
        "shown": shown.layout,
        "deepspeed": sized_for(deepspeed_config(run), parameters),
    }


def _chosen(planner: Planner, names: str | None, processes: int) -> list[Any]:
    from polyhead.backbone.parallel.memory_choice import candidates
    from polyhead.configs.errors import ConfigError
    from polyhead.configs.layouts import parse_layout

    if names is None:
        return candidates(planner, processes)
    found = []
    for name in names.split(","):
        layout = parse_layout(name)
        if layout.tensor_parallel > 1:
            raise ConfigError(f"layout {layout.name}: plan knows no memory of tensor parallel layouts; leave it out")
        if layout.distributed and processes % layout.fewest_processes:
            raise ConfigError(
                f"layout {layout.name} needs a multiple of {layout.fewest_processes} processes, not {processes}: "
                f"add --gpus {layout.fewest_processes}"
            )
        found.append((layout, processes if layout.distributed else 1))
    return found


def _measured(config: RunConfig, plan: LayoutPlan) -> dict[str, Any]:
    from polyhead.backbone.parallel.memory_measure import measure

    say(f"measuring {plan.layout} in {plan.processes} process{'es' if plan.processes > 1 else ''} ...")
    ranks = measure(config.model_copy(update={"layout": plan.layout}), plan.processes, say)
    per_stage = len(ranks) // len(plan.ranks)
    return {
        "layout": plan.layout,
        "ranks": [_compared(rank, plan.ranks[rank.rank // per_stage]) for rank in ranks],
    }


def _compared(rank: RankMemory, predicted: Any) -> dict[str, Any]:
    return {
        "rank": rank.rank,
        "predicted": predicted.tensors,
        "measured": rank.tensors,
        "ratio": round(predicted.tensors / rank.tensors, 3),
        "predicted_resident": predicted.total,
        "resident": rank.resident,
        "framework": rank.framework,
        "holes": rank.holes,
    }


COLUMNS = (
    "weights",
    "embeddings",
    "head",
    "gradients",
    "optimizer",
    "activations",
    "communication",
    "framework",
)


def _show(planner: Planner, plans: Sequence[LayoutPlan], answer: dict[str, Any]) -> None:
    from polyhead.backbone.parallel.memory_choice import gigabytes

    work = plans[0]
    typer.echo(
        f"{answer['parameters']:,} parameters; largest micro-batch {work.rows} x {work.tokens} tokens; "
        f"{gigabytes(answer['memory'])} for each process"
    )
    head = ("layout (processes)", *COLUMNS, "in all", "checkpointed", "")
    rows = [_row(planner, each, answer["memory"]) for each in plans]
    print_table("Peak memory of the rank that has most, MB", head, rows)
    if answer["recommended"]:
        typer.echo(f"recommended: layout={answer['recommended']}")
    else:
        typer.echo("none fits:")
        for line in answer["advice"]:
            typer.echo(f"  {line}")
    for measured in answer.get("measured", ()):
        _show_measured(measured)
    typer.echo(f"DeepSpeed JSON of {answer['shown']}:")
    print_json(answer["deepspeed"])


def _row(planner: Planner, plan: LayoutPlan, limit: int) -> tuple[str, ...]:
    peak = plan.peak
    return (
        f"{plan.layout} ({plan.processes})",
        *(_megabytes(getattr(peak, name)) for name in COLUMNS),
        _megabytes(peak.total),
        "" if planner.config.training.activation_checkpointing else _with_checkpointing(planner, plan),
        "fits" if peak.total <= limit else "too much",
    )


def _with_checkpointing(planner: Planner, plan: LayoutPlan) -> str:
    from polyhead.configs.layouts import parse_layout

    found = planner.plan(parse_layout(plan.layout), plan.processes, checkpointing=True)
    return _megabytes(found.peak.total)


def _show_measured(measured: dict[str, Any]) -> None:
    rows = [
        (
            str(rank["rank"]),
            _megabytes(rank["predicted"]),
            _megabytes(rank["measured"]),
            f"{rank['ratio']:.2f}",
            _megabytes(rank["predicted_resident"]),
            _megabytes(rank["resident"]),
            _megabytes(rank["holes"]),
        )
        for rank in measured["ranks"]
    ]
    head = ("rank", "tensors, predicted", "measured", "ratio", "process, predicted", "measured", "holes in the heap")
    print_table(f"{measured['layout']}: two steps, MB", head, rows)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f}"


def _bytes(text: str) -> int:
    """Return how many bytes a size such as 80GB is."""
    from polyhead.configs.errors import ConfigError

    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    unit = match[2].upper() if match else ""
    if match is None or unit not in UNITS or float(match[1]) <= 0:
        raise ConfigError(f"--memory: '{text}' is no size; write a number and MB, GB, TB, MiB, GiB or TiB, as in 80GB")
    return int(float(match[1]) * UNITS[unit])
