"""Run one program in several processes that know each other, as any launcher does, and wait for all.

    python benchmarks/ranks.py 2 PROGRAM.py ARGUMENTS

Only rank 0 sees where the report goes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys


def main() -> int:
    """Start the ranks; where one fails, end the others, and return its code."""
    count, program, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    world = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = []
    for rank in range(count):
        own = {**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        ranks.append(subprocess.Popen([sys.executable, program, *arguments], env=own))
    codes = []
    for rank in ranks:
        codes.append(rank.wait())
        if codes[-1]:
            for other in ranks:
                other.kill()
    return max(abs(code) for code in codes)


if __name__ == "__main__":
    sys.exit(main())
