"""One process and its peers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from polyhead.backbone.parallel import processes
from polyhead.backbone.parallel.engine import Spread, spread_of
from polyhead.backbone.parallel.processes import (
    Peer,
    World,
    free_port,
    is_lost_contact,
    join_world,
    launched_world,
    leave_world,
)
from polyhead.configs.layouts import parse_layout
from polyhead.registry import RunError


def test_a_process_alone_needs_nobody() -> None:
    world = World()
    world.barrier()
    assert world.is_main
    assert (world.sum([1.5, 2.0]), world.max(3), world.gather("我"), world.broadcast("x")) == (
        [1.5, 2.0],
        3,
        ["我"],
        "x",
    )
    assert world.lost_peers() == []


def test_the_peers_whose_process_is_gone_are_found() -> None:
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    zombie = subprocess.Popen([sys.executable, "-S", "-c", ""])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    here = socket.gethostname()
    lost, gone, alive = Peer(1, here, ended.pid), Peer(2, here, zombie.pid), Peer(0, here, os.getpid())
    elsewhere = Peer(3, "another-host", ended.pid)
    assert World(0, 4, 0, (alive, lost, gone, elsewhere)).lost_peers() == [lost, gone]
    zombie.wait()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:3456"), True),
        (RuntimeError("Read error [127.0.0.1]:37113: Connection reset by peer"), True),
        (RuntimeError("NCCL communicator was aborted on rank 1"), True),
        (dist.DistBackendError("anything"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("connection closed"), False),
    ],
)
def test_the_errors_of_a_lost_peer_are_known(error: BaseException, expected: bool) -> None:
    assert expected == is_lost_contact(error)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"RANK": "1", "WORLD_SIZE": "4"}, (1, 4, 1)),
        ({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, (5, 8, 1)),
    ],
)
def test_a_launcher_says_rank_and_size(environ: dict[str, str], expected: tuple[int, int, int] | None) -> None:
    assert expected == launched_world(environ)


def test_a_port_is_free() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))


def test_one_process_without_deepspeed_starts_nothing() -> None:
    assert join_world(use_deepspeed=False) == World()
    assert not dist.is_initialized()
    leave_world()


def test_a_process_without_a_gpu_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    join_world(use_deepspeed=False)
    assert taken == [0]
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(
        RunError, match=r"^process 2 of this machine has no GPU: there is 1; start at most 1, or set CUDA"
    ):
        join_world(use_deepspeed=False)


def test_nothing_is_left_of_a_world() -> None:
    def variables() -> dict[str, str]:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        return {name: os.environ[name] for name in names if name in os.environ}

    before = variables()
    for _ in range(2):  # a second run of the same process starts its own
        world = join_world(use_deepspeed=True)
        assert (world.rank, world.size, [peer.process for peer in world.peers]) == (0, 1, [os.getpid()])
        assert dist.is_initialized()
        leave_world()
        assert not dist.is_initialized()
        assert before == variables()


def test_the_threads_that_were_asked_for_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    join_world(use_deepspeed=False)
    assert before == torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    try:
        join_world(use_deepspeed=False)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("layout", "rank", "size", "expected"),
    [
        ("single", 0, 1, Spread(0, 1, 0, 1)),
        ("zero3", 1, 2, Spread(1, 2, 0, 1)),
        ("pipe2+zero1", 1, 2, Spread(0, 1, 1, 2)),
        ("pipe2+zero1", 1, 4, Spread(1, 2, 0, 2)),
        ("pipe2+zero1", 2, 4, Spread(0, 2, 1, 2)),
    ],
)
def test_a_rank_has_its_place_in_the_layout(layout: str, rank: int, size: int, expected: Spread) -> None:
    assert expected == spread_of(parse_layout(layout), World(rank, size, rank))


@pytest.mark.parametrize(
    ("layout", "size", "message"),
    [
        (
            "single",
            2,
            (
                "layout 'single' is one process, but this run has 2: say layout=zero1, zero2 or zero3 "
                "(or zero0 for plain data parallel)"
            ),
        ),
        (
            "pipe2+zero1",
            1,
            "layout 'pipe2+zero1' needs a multiple of 2 processes, but this run has 1: add --processes 2",
        ),
        (
            "pipe3+zero1",
            4,
            "layout 'pipe3+zero1' needs a multiple of 3 processes, but this run has 4: add --processes 3",
        ),
    ],
)
def test_a_number_of_processes_that_does_not_fit_is_refused(layout: str, size: int, message: str) -> None:
    with pytest.raises(RunError) as caught:
        spread_of(parse_layout(layout), World(0, size, 0))
    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("layout", "saves"),
    [
        ("single", False),
        ("zero1", False),
        ("pipe2+zero1", False),
        ("zero2", True),
        ("zero3", True),
        ("zero1+offload", True),
    ],
)
def test_layouts_that_save_memory_give_it_back(layout: str, saves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(processes, "keep_freed_memory", lambda: called.append("kept"))
    monkeypatch.setattr(processes, "return_freed_memory", lambda: called.append("returned"))
    join_world(use_deepspeed=False, save_memory=parse_layout(layout).saves_memory)
    assert called == ["returned" if saves else "kept"]
