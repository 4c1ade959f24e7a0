"""Two steps of a run in real processes, and the most memory that each of them had meanwhile.

``python -m polyhead.backbone.parallel.memory_measure JOB`` is one of these processes; `measure` starts them. The steps
are those that the plan is made for: a global batch of the longest windows of the training data.

On a GPU the tensors' peak is what torch counts there. On a CPU torch counts nothing, so its profiler writes down every
tensor that comes and goes; the resident memory of the process is told besides. It holds the libraries too, and the
holes in the heap that the C library keeps.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from polyhead.backbone.builtin import load_registry
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.parallel.deepspeed_config import deepspeed_config
from polyhead.backbone.parallel.engine import Engine, start_engine
from polyhead.backbone.parallel.launch import launch
from polyhead.backbone.parallel.memory_sketch import longest_step
from polyhead.backbone.parallel.processes import World, join_world, leave_world
from polyhead.backbone.training.feeding import count_targets
from polyhead.backbone.training.optimizer import make_optimizer
from polyhead.backbone.training.preparation import Prepared, prepare_run
from polyhead.configs.layouts import parse_layout
from polyhead.configs.schema import RunConfig
from polyhead.registry import RunError

STEPS = 2
"""The first makes the optimizer's state, the second has it from its beginning."""
PROGRAM = ("-m", "polyhead.backbone.parallel.memory_measure")


@dataclass(frozen=True)
class RankMemory:
    """What one process had at most, in bytes."""

    rank: int
    tensors: int
    """Held by tensors at once, from the moment the model was there."""
    resident: int
    """Resident memory of the process, libraries included; on a GPU machine that of the host."""
    framework: int
    """Resident memory once everything was imported and the processes knew each other, before the model was there."""
    holes: int
    """Free memory inside the C library's heap at the end: given back by tensors, not given back to the system."""


def measure(config: RunConfig, processes: int, say: Callable[[str], None]) -> list[RankMemory]:
    """Run two steps of a run in so many processes and return what each of them took, by rank.

    Raises:
        RunError: A process failed.

    """
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        job.write_text(json.dumps(config.model_dump(mode="json")), encoding="utf-8")
        quiet = {"PYTHONWARNINGS": "ignore"}
        code = launch([str(job)], processes=processes, say=say, program=PROGRAM, environment=quiet)
        if code:
            raise RunError(f"measuring layout '{config.layout}' with {processes} processes ended with exit code {code}")
        files = sorted(Path(folder).glob("rank-*.json"))
        found = [RankMemory(**json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return sorted(found, key=lambda each: each.rank)


def work(config: RunConfig) -> RankMemory:
    """Be one process of the run: two steps, and what they took."""
    registry = load_registry()
    world = join_world(use_deepspeed=True, save_memory=parse_layout(config.layout).saves_memory)
    framework = _resident("VmRSS")
    try:
        prepared = prepare_run(config, registry, world, lambda _: None)
        _own_weights(prepared.stage)
        with _tensor_peak(world) as peak:
            engine = _two_steps(config, prepared, world)
        del engine  # it had to stay until what is left of it was counted
        return RankMemory(world.rank, peak[0], _resident("VmHWM"), framework, _holes())
    finally:
        leave_world()


def _two_steps(config: RunConfig, prepared: Prepared, world: World) -> Engine:
    engine = start_engine(
        prepared.stage,
        parse_layout(config.layout),
        world,
        prepared.loss_of,
        deepspeed_config(config),
        lambda stage: make_optimizer(stage, config),
        cuts=prepared.cuts,
        loss_by_token=prepared.task.loss_by_token,
    )
    batches = longest_step(prepared, config, engine.spread.data_size, engine.spread.data_rank)
    total = world.sum([count_targets(batches, prepared)])[0] / engine.spread.copies
    for _ in range(STEPS):
        engine.step(batches, max(total, 1.0), config.training.learning_rate)
    return engine


def _own_weights(stage: Stage) -> None:
    """Read weights into memory of our own that have only been mapped from the file: the first step does it anyhow."""
    with torch.no_grad():
        for each in (*stage.parameters(), *stage.buffers()):
            each.data = each.data.clone()


@contextmanager
def _tensor_peak(world: World) -> Iterator[list[int]]:
    """Fill in the most bytes that tensors had at once."""
    found = [0]
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield found
        found[0] = torch.cuda.max_memory_allocated()
        return
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        yield found
        left = _held_by_tensors()
    events = [
        (event.start_ns(), event.nbytes())
        for event in profile.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    # What was there before the profiler is not in its books, nor when it goes; what is left at the end is known.
    alive = most = 0
    for _, change in sorted(events):
        alive += change
        most = max(most, alive)
    found[0] = most - alive + left


def _held_by_tensors() -> int:
    """Return the bytes of all storages that tensors of this process hold."""
    tensors = [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor)]
    real = [each for each in tensors if each.device.type != "meta" and each.layout == torch.strided]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in real}
    return sum(storages.values())


def _resident(key: str) -> int:
    """Return a figure of ``/proc/self/status`` in bytes; 0 where there is none."""
    status = Path("/proc/self/status")
    found = re.search(rf"^{key}:\s+(\d+) kB", status.read_text(), re.MULTILINE) if status.is_file() else None
    return int(found[1]) * 1024 if found else 0


def _holes() -> int:
    """Return how many bytes are free inside the C library's heap."""
    import ctypes

    class Info(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in MALLINFO]

    try:
        mallinfo = ctypes.CDLL("libc.so.6").mallinfo2
    except (OSError, AttributeError):  # another C library, or an older one: it does not tell
        return 0
    mallinfo.restype = Info
    return int(mallinfo().fordblks)


MALLINFO = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


def main(arguments: Sequence[str]) -> None:
    """Be one of the processes that `measure` starts."""
    job = Path(arguments[0])
    config = RunConfig.model_validate(json.loads(job.read_text(encoding="utf-8")))
    found = work(config)
    target = job.with_name(f"rank-{os.environ.get('RANK', '0')}.json")
    target.write_text(json.dumps(asdict(found)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
