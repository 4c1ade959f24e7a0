"""What a proof runs, with which settings, and what each run leaves for the next: the plan that all ranks read.

A plan is a folder: ``plan.json``, ``RUN.yaml`` with a run's settings, ``RUN/`` its run folder, ``RUN.started`` and
``RUN.rankN.json`` how it went on each rank, ``rankN.log`` what that process printed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from polyhead.backbone.parallel.proof_comparison import ADAM, SGD, Tolerance
from polyhead.configs.errors import ConfigError
from polyhead.configs.layouts import Layout
from polyhead.configs.load import dump_config, load_config, require_training_data
from polyhead.configs.schema import RunConfig
from polyhead.registry import RunError

SINGLE = "single"
UNCLIPPED = "single-unclipped"
"""The two references: for layouts that can clip gradients, and for those that cannot."""
BATCH_SIZE, MICRO_BATCH_TOKENS = 16, 128
"""At most so much in a step and in a micro-batch, so that a short run has several micro-batches in each step."""
LEARNING_RATE, CLIPPING = 0.01, 0.5
"""Of the proof by gradient descent: 20 steps of at most 0.005 move weights hundreds of times as far as is tolerated,
and are too short for a model to diverge."""


@dataclass(frozen=True)
class Request:
    """What is to be proved."""

    recipe: str
    overrides: tuple[str, ...] = ()
    layouts: tuple[str, ...] = ()
    """``LAYOUT`` or ``LAYOUT@PROCESSES``; none: the usual ones and the recipe's own."""
    steps: int = 20
    processes: int | None = None
    """For every layout that does not say its own; None: the layout's fewest, at least 2."""
    optimizer: Literal["sgd", "recipe"] = "sgd"
    tolerance: float | None = None
    """Replaces that of losses and weights."""
    keep: Path | None = None
    """Where the runs stay; None: nothing stays."""


@dataclass(frozen=True)
class Candidate:
    """A layout that is to be tried."""

    layout: Layout
    processes: int

    @property
    def name(self) -> str:
        """Return the name of its run."""
        return f"{self.layout.name}@{self.processes}"


@dataclass(frozen=True)
class PlannedRun:
    """One run of a proof."""

    name: str
    """A reference, or a layout and its processes."""
    processes: int
    reference: str | None
    """The run to compare with; None: it is one itself, and stays until the end."""

    def started(self, folder: Path) -> Path:
        """Return the file that says that it has begun, and on which port."""
        return folder / f"{self.name}.started"

    def outcome(self, folder: Path, rank: int) -> Path:
        """Return the file in which a rank says how it went."""
        return folder / f"{self.name}.rank{rank}.json"

    def settings(self, folder: Path) -> Path:
        """Return the file of its settings."""
        return folder / f"{self.name}.yaml"


@dataclass(frozen=True)
class Outcome:
    """How a run went on one rank; rank 0's word is the run's."""

    status: Literal["done", "refused", "broke off"]
    """``refused``: it could not start."""
    message: str = ""
    lost_another: bool = False
    """Whether this rank only noticed that another one was gone."""
    seconds: float = 0.0
    losses: Sequence[float] = ()
    moved: float | None = None
    """Of a reference: how far its weights went, in the unit of their tolerance."""
    comparison: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, path: Path) -> Outcome | None:
        """Return what was written, or None where nothing was."""
        if not path.is_file():
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{each.name: found[each.name] for each in fields(cls)})

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_whole(path, json.dumps(asdict(self)))


@dataclass
class Plan:
    """All runs of a proof."""

    folder: Path
    rows: Mapping[str, Sequence[int]]
    """The rows that are read of each file (`proof_rows`)."""
    tolerance: Tolerance
    keep: bool
    runs: list[PlannedRun] = field(default_factory=list)

    FILE = "plan.json"

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Return what was written."""
        found = json.loads(path.read_text(encoding="utf-8"))
        runs = [PlannedRun(**run) for run in found["runs"]]
        return cls(path.parent, found["rows"], Tolerance(**found["tolerance"]), found["keep"], runs)

    def write(self, runs: Sequence[PlannedRun]) -> Path:
        """Write the plan for these of its runs, and return its file."""
        path = self.folder / self.FILE
        found = {"rows": self.rows, "tolerance": self.tolerance, "keep": self.keep, "runs": list(runs)}
        path.write_text(json.dumps(found, default=asdict), encoding="utf-8")
        return path

    def add(self, run: PlannedRun, config: RunConfig) -> None:
        """Add a run with its settings; one of the same name is there only once."""
        if run.name not in [other.name for other in self.runs]:
            run.settings(self.folder).write_text(dump_config(config), encoding="utf-8")
            self.runs.append(run)


def write_whole(path: Path, text: str) -> None:
    """Write a file that another process may be waiting for: whole or not at all."""
    draft = path.with_name(f".{path.name}")
    draft.write_text(text, encoding="utf-8")
    draft.rename(path)


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────


class Settings:
    """The settings of each run: the recipe's, with what a proof replaces.

    What is said on the command line holds, but for what makes runs comparable: length, evaluations, no dropout.
    """

    def __init__(self, request: Request, tasks: Sequence[str]) -> None:
        self._request, self._tasks = request, tasks
        own = self._load(request.overrides)
        require_training_data(own)
        self._before, self._after = _lighter(own), _comparable(own, request.steps)
        if request.optimizer == "sgd":
            self._before = [*self._before, *GRADIENT_DESCENT]
        said = any(text.startswith("training.gradient_clipping=") for text in request.overrides)
        self._may_leave_clipping = request.optimizer == "sgd" and not said

    def of(self, layout: Layout, output: Path, *, clip: bool = True) -> RunConfig:
        """Return the settings of a run under a layout.

        Raises:
            ConfigError: They contradict one another.

        """
        more = [f"layout={layout.name}", f"output={output}"]
        if not clip:
            more.append("training.gradient_clipping=0")
        return self._load([*self._before, *self._request.overrides, *self._after, *more])

    def clips(self, layout: Layout) -> bool:
        """Return whether a layout can have the proof's clipping; the proof goes without where it cannot.

        Raises:
            ConfigError: The layout contradicts the recipe either way.

        """
        try:
            self.of(layout, Path(layout.name))
        except ConfigError:
            if not self._may_leave_clipping:
                raise
            self.of(layout, Path(layout.name), clip=False)
            return False
        return True

    def tolerance(self, config: RunConfig) -> Tolerance:
        """Return how far runs with these settings may be apart.

        Raises:
            RunError: They compute in a format that is too coarse to prove anything by itself.

        """
        training, wanted = config.training, self._request.tolerance
        if training.precision != "fp32" and wanted is None:
            raise RunError(
                f"training.precision={training.precision} rounds too coarsely for a proof: leave it out (runs are "
                "compared in fp32), or say how far they may be apart, as in --tolerance 0.02"
            )
        usual = ADAM if training.optimizer == "adamw" else SGD
        if wanted is None:
            return usual
        return replace(usual, loss=wanted, weights=wanted, gradient_norm=10 * wanted, score=max(wanted, usual.score))

    def _load(self, overrides: Sequence[str]) -> RunConfig:
        return load_config(self._request.recipe, overrides, tasks=self._tasks)


GRADIENT_DESCENT = (
    "training.optimizer=sgd",
    f"training.learning_rate={LEARNING_RATE}",
    f"training.gradient_clipping={CLIPPING}",
    "training.schedule=constant",
    "training.warmup=0",
)


def _lighter(own: RunConfig) -> list[str]:
    """Return what makes a proof quick and sharp; the command line may say otherwise."""
    tokens = max(MICRO_BATCH_TOKENS, own.data.max_length or 0)
    return [
        "training.precision=fp32",
        f"training.batch_size={min(own.training.batch_size, BATCH_SIZE)}",
        f"data.max_tokens={min(own.data.max_tokens, tokens)}",
        "data.cache=false",
        "data.stream=false",
    ]


def _comparable(own: RunConfig, steps: int) -> list[str]:
    """Return what makes runs comparable, whatever recipe and command line say."""
    lora = ["backbone.lora.dropout=0"] if own.backbone.lora is not None else []
    return [
        f"training.max_steps={steps}",
        f"training.evaluate_every={steps}" if _validates(own) else "training.evaluate_every=null",
        f"training.checkpoint_every={max(1, steps // 2)}",
        "training.keep_checkpoints=2",
        "training.dropout=0",
        "training.patience=null",
        "training.metric=null",
        "training.validate_generation=false",
        "training.log_to=[]",
        "training.log_every=1",
        *lora,
    ]


def _validates(own: RunConfig) -> bool:
    return bool(own.data.validation) or own.data.validation_fraction > 0
