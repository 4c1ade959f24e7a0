"""One process among the others of its run: rank, world, start-up, gathering, and who is still alive."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import psutil
import torch
import torch.distributed as dist

from polyhead.registry import RunError

Item = TypeVar("Item")
LOST_CONTACT = (
    "connection closed",
    "connection reset",
    "broken pipe",
    "timed out",
    "timeout",
    "nccl",
    "gloo",
)


@dataclass(frozen=True)
class Peer:
    """One process of the run, as it introduced itself at start-up."""

    rank: int
    host: str
    process: int


@dataclass(frozen=True)
class World:
    """Know this process and its peers."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    peers: tuple[Peer, ...] = field(default=())

    @property
    def is_main(self) -> bool:
        """Whether this process speaks for the run: it prints, logs and writes."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Return where this process computes."""
        return torch.device("cuda", self.local_rank) if torch.cuda.is_available() else torch.device("cpu")

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the element-wise sum over all processes, in float64."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def max(self, value: int) -> int:
        """Return the largest value that any process has."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor.item())

    def gather(self, item: Item) -> list[Item]:
        """Return what every process gives, in order of rank, on every process."""
        if self.size == 1:
            return [item]
        found: list[Item | None] = [None] * self.size
        dist.all_gather_object(found, item)
        return found  # type: ignore[return-value]

    def broadcast(self, item: Item) -> Item:
        """Return what rank 0 gives."""
        if self.size == 1:
            return item
        box: list[Item] = [item]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def lost_peers(self) -> list[Peer]:
        """Return the peers on this host whose process is gone."""
        here = socket.gethostname()
        return [peer for peer in self.peers if peer.host == here and not _is_alive(peer.process)]


def launched_world(environ: Mapping[str, str] = os.environ) -> tuple[int, int, int] | None:
    """Return (rank, world size, local rank) where a launcher started this process, else None."""
    if "RANK" not in environ or "WORLD_SIZE" not in environ:
        return None
    rank = int(environ["RANK"])
    return rank, int(environ["WORLD_SIZE"]), int(environ.get("LOCAL_RANK", rank))


def join_world(*, use_deepspeed: bool, save_memory: bool = False) -> World:
    """Set threads and device, start communication, and return the world.

    Args:
        use_deepspeed: DeepSpeed's engine will run, which needs its own start-up even for one process.
        save_memory: Whether memory counts for more than speed on a CPU.

    """
    launched = launched_world()
    rank, size, local_rank = launched or (0, 1, 0)
    if "OMP_NUM_THREADS" not in os.environ:  # what the user or the launcher said holds
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", size))))
    if save_memory:
        return_freed_memory()
    else:
        keep_freed_memory()
    if torch.cuda.is_available():
        _take_gpu(local_rank)
    if size == 1 and not use_deepspeed:
        return World()
    if launched is None:
        _pretend_launcher()
    if use_deepspeed:
        _start_deepspeed()
    else:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    world = World(rank, size, local_rank)
    peers = world.gather(Peer(rank, socket.gethostname(), os.getpid()))
    return World(rank, size, local_rank, tuple(peers))


def _take_gpu(local_rank: int) -> None:
    """Compute on the GPU of this process.

    Raises:
        RunError: There are fewer GPUs than processes on this machine.

    """
    gpus = torch.cuda.device_count()
    if local_rank >= gpus:
        raise RunError(
            f"process {local_rank + 1} of this machine has no GPU: there {'is' if gpus == 1 else 'are'} {gpus}; start "
            f"at most {gpus}, or set CUDA_VISIBLE_DEVICES= (empty) to compute on the CPU"
        )
    torch.cuda.set_device(local_rank)


def keep_freed_memory() -> None:
    """Tell the C library to keep freed memory for the next step instead of giving it back to the system.

    Tensors of changing shapes come and go all the time; by default glibc maps and unmaps each large one, and the
    kernel clears every page anew.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to tell
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(M_ARENA_MAX, 1)  # what the backward thread frees, the next forward pass can use
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        if not library.mallopt(M_MMAP_THRESHOLD, 2**30):
            library.mallopt(M_MMAP_THRESHOLD, 2**25)  # the most that older versions allow


def return_freed_memory() -> None:
    """Tell the C library to give large tensors back to the system as soon as they are freed.

    Left alone, it raises the size from which it does so whenever a large one is freed; what ZeRO divides and gathers
    then leaves holes in its heap that are larger than what ZeRO saves.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to tell
        ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, 2**20)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameter numbers of ``mallopt`` in glibc's malloc.h."""


def leave_world() -> None:
    """End communication, so that another run of the same process can start its own."""
    deepspeed_comm = sys.modules.get("deepspeed.comm")  # not imported just to ask it
    if deepspeed_comm is not None and deepspeed_comm.is_initialized():
        deepspeed_comm.destroy_process_group()  # forgets its groups too, which torch's own does not
    elif dist.is_initialized():
        dist.destroy_process_group()
    while _pretended:
        os.environ.pop(_pretended.pop(), None)


def is_lost_contact(error: BaseException) -> bool:
    """Whether an error is what a process sees when another one died."""
    text = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(sign in text for sign in LOST_CONTACT)
    )


def free_port() -> int:
    """Return a port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _pretend_launcher() -> None:
    """Set what a launcher would, until `leave_world`: without these variables DeepSpeed looks for MPI."""
    found = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    os.environ.update(found, MASTER_PORT=str(free_port()))
    _pretended.extend([*found, "MASTER_PORT"])


_pretended: list[str] = []
"""Variables that this process has set for itself: it was not launched, and must not look so afterwards."""


def _start_deepspeed() -> None:
    import logging
    import warnings

    # torch renamed what ZeRO calls; users can do nothing about it.
    warnings.filterwarnings("ignore", r".*torch\.distributed\.\w+` is deprecated", FutureWarning)
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed
    import deepspeed.ops
    from deepspeed.utils import logger

    logger.setLevel(logging.ERROR)
    if not torch.cuda.is_available():
        # An extension for all-reduce in shared memory, compiled at first use for 30 s and more; gloo does the same.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_init_required=None)


def _is_alive(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
