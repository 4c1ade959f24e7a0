"""Starting and watching several processes, with small programs in the place of ranks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from polyhead.backbone.parallel import launch as launching
from polyhead.backbone.parallel.launch import launch, under_launcher

Start = Callable[[str], tuple[int, list[str]]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return what launches a program on two ranks; gives the exit code and the lines that were said."""
    real = subprocess.Popen

    def launch_program(program: str) -> tuple[int, list[str]]:
        said: list[str] = []

        def fake(_: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
            return real([sys.executable, "-S", "-c", f"import os, signal, sys, time\n{program}"], env=env)

        monkeypatch.setattr(launching.subprocess, "Popen", fake)
        return launch(["finetune"], processes=2, say=said.append), said

    monkeypatch.setattr(launching, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(launching, "POLL_SECONDS", 0.02)
    return launch_program


def test_all_well(start: Start) -> None:
    assert start("") == (0, [])


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("sys.exit(2)", 2),
        ("sys.exit(3 if os.environ['RANK'] == '1' else 0)", 3),
        ("sys.exit(0 if os.environ['RANK'] == '1' else 4)", 4),
    ],
)
def test_the_first_code_that_is_not_0_counts(start: Start, program: str, code: int) -> None:
    assert code == start(program)[0]


def test_every_rank_is_told_its_place(start: Start) -> None:
    program = (
        "e = os.environ\n"
        "ok = e['WORLD_SIZE'] == e['LOCAL_WORLD_SIZE'] == '2' and e['RANK'] == e['LOCAL_RANK'] in ('0', '1')\n"
        "sys.exit(0 if ok and e['MASTER_ADDR'] == '127.0.0.1' and int(e['MASTER_PORT']) > 0 else 9)"
    )
    assert start(program)[0] == 0


def test_a_rank_that_a_signal_ended_is_named_and_the_others_are_ended(start: Start) -> None:
    started = time.monotonic()
    code, said = start(
        "if os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)",
    )
    assert code == 128 + signal.SIGKILL
    assert len(said) == 2
    assert said[0].startswith("rank 1 (process ")
    assert said[0].endswith(") was ended by SIGKILL")
    assert said[1].startswith("rank 0 (process ")
    assert said[1].endswith(") did not end by itself; killing it")
    assert time.monotonic() - started < 10


def test_the_others_may_end_by_themselves(start: Start) -> None:
    code, said = start("if os.environ['RANK'] == '0': sys.exit(7)\ntime.sleep(0.2)")
    assert (code, said) == (7, [])


def test_a_signal_goes_on_to_every_rank(start: Start) -> None:
    program = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\ntime.sleep(60)"
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    before = signal.getsignal(signal.SIGTERM)
    started = time.monotonic()
    assert start(program)[0] == 143
    assert time.monotonic() - started < 20
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("environ", "expected"),
    [({}, False), ({"RANK": "0"}, False), ({"RANK": "0", "WORLD_SIZE": "2"}, True)],
)
def test_a_launcher_is_known_by_its_variables(environ: dict[str, str], expected: bool) -> None:
    assert expected == under_launcher(environ)
