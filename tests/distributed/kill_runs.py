"""Train, kill with SIGKILL at a random moment, look at what is left, go on: many times over, for `test_killed`.

Imports and registry are loaded once; each run is a fork of this process, so that it starts at once. The argument is a
JSON object (see `main`); what was found after each kill goes to the standard output as a JSON list.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any


class Told:
    """Write a byte when the run begins to train."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def polyhead_start_run(self) -> None:
        os.write(self.pipe, b"x")


def main() -> int:
    import deepspeed  # noqa: F401 - loaded once, for all forks
    import peft  # noqa: F401 - likewise
    import transformers

    from polyhead.backbone.builtin import load_registry
    from polyhead.backbone.training import finetune  # noqa: F401 - likewise
    from polyhead.configs.load import load_config
    from polyhead.registry import hookimpl

    Told.polyhead_start_run = hookimpl(Told.polyhead_start_run)
    transformers.BertForSequenceClassification  # noqa: B018 - likewise
    request = json.loads(sys.argv[1])
    config = load_config("sentiment", request["overrides"])
    fork = Forks(config, load_registry(), request["ports"], Path(request["log"]))
    draw = random.Random(request["seed"])
    found: list[dict[str, Any]] = []
    newest = 0
    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads == 1, f"{threads} threads: not to be forked"
    for number in range(request["kills"]):
        # Mostly while it trains and writes; sometimes while it starts, and clears up after the one before.
        early = number % 5 == 4
        ranks, began = fork.start(resume=number > 0)
        if not early:
            assert os.read(began, 1), "the run ended before it began"
        if number % 5 == 0:
            wait_for_checkpoint(config.output / "checkpoints", newest)
        time.sleep(draw.uniform(0.0, request["longest"]))
        os.kill(ranks[0], signal.SIGKILL)
        codes = fork.end(ranks)
        os.close(began)
        found.append({"early": early, "codes": codes, **in_a_fork(config.output)})
        newest = max(found[-1]["steps"], default=0)
    json.dump(found, sys.stdout)
    return 0


class Forks:
    """Start runs as forks of this process."""

    def __init__(self, config: Any, registry: Any, ports: list[int], log: Path) -> None:
        self.config, self.registry, self.ports, self.log = config, registry, ports, log

    def start(self, *, resume: bool) -> tuple[list[int], int]:
        """Start a process for each rank; returns them, and a pipe that tells when rank 0 trains."""
        port = self.ports.pop()
        read, write = os.pipe()
        size = 1 if self.config.layout == "single" else 2
        ranks = []
        for rank in range(size):
            process = os.fork()
            if process == 0:
                os.close(read)
                if size > 1:
                    world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
                    os.environ.update({key: str(value) for key, value in world.items()}, MASTER_ADDR="127.0.0.1")
                self._train(write if rank == 0 else None, resume=resume)
            ranks.append(process)
        os.close(write)
        return ranks, read

    def end(self, ranks: list[int]) -> list[int]:
        """Wait for the ranks, kill those that do not end by themselves, and return how each ended."""
        deadline = time.monotonic() + 20
        codes: dict[int, int] = {}
        while len(codes) < len(ranks):
            for rank in ranks:
                if rank not in codes and (ended := os.waitpid(rank, os.WNOHANG))[0]:
                    codes[rank] = os.waitstatus_to_exitcode(ended[1])
                elif rank not in codes and time.monotonic() > deadline:
                    os.kill(rank, signal.SIGKILL)
            time.sleep(0.01)
        return [codes[rank] for rank in ranks]

    def _train(self, pipe: int | None, *, resume: bool) -> None:
        """Train in this fork until it is killed, and end it in any case."""
        from polyhead.backbone.training.finetune import finetune
        from polyhead.cli.app import run

        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            if pipe is None:
                code = run(lambda: finetune(self.config, self.registry, resume=resume))
            else:
                with self.registry.observing(Told(pipe), "told"):
                    code = run(lambda: finetune(self.config, self.registry, resume=resume))
        except BaseException:  # noqa: BLE001 - a fork must never come back into the code of its parent
            sys.excepthook(*sys.exc_info())
            code = 70
        os._exit(code)


def wait_for_checkpoint(folder: Path, newest: int) -> None:
    """Wait for a checkpoint after the newest: however slow the machine is, the run gets ahead."""
    deadline = time.monotonic() + 120
    while not any(int(path.name.removeprefix("step-")) > newest for path in folder.glob("step-*")):
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.005)


def in_a_fork(run: Path) -> dict[str, Any]:
    """Return what `look` finds; loading a model starts threads, and what has threads must not be forked any more."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(read)
        try:
            with os.fdopen(write, "w", encoding="utf-8") as pipe:
                json.dump(look(run), pipe)
        except BaseException:  # noqa: BLE001 - as above
            sys.excepthook(*sys.exc_info())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(process, 0)
    found: dict[str, Any] = json.loads(text)
    return found


def look(run: Path) -> dict[str, Any]:
    """Return what a killed run has left."""
    from polyhead.backbone.checkpoint.store import find_damage, list_checkpoints

    checkpoints = list_checkpoints(run / "checkpoints")
    return {
        "steps": [int(path.name.removeprefix("step-")) for path in checkpoints],
        "damage": [problem for path in checkpoints if (problem := find_damage(path)) is not None],
        "drafts": [path.name for path in (*run.glob(".*"), *run.glob("checkpoints/.*"))],
        "model": model_of(run / "model"),
        "starts": [event["first_step"] for event in events(run) if event["event"] == "start"],
        "losses": [(event["step"], event["loss"]) for event in events(run) if event["event"] == "step"],
    }


def model_of(folder: Path) -> str:
    """Return whether a model folder loads in plain ``transformers``."""
    import transformers

    if not folder.exists():
        return "absent"
    model, report = transformers.AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    transformers.AutoTokenizer.from_pretrained(folder)
    json.loads((folder / "polyhead.json").read_text(encoding="utf-8"))
    finite = all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())
    return "whole" if finite and not any(report.values()) else f"broken: {report}"


def events(run: Path) -> list[dict[str, Any]]:
    """Return the events of the log; its last line may have been cut off."""
    path = run / "events.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    sys.exit(main())
