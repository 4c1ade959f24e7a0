"""Run several polyhead commands one after the other on this rank, each in a world of its own.

Started once for each rank by `test_layouts`: one start-up pays for many runs. The argument is a JSON list of
``[port, [argument, ...]]``; ``["copy", from, to, checkpoint]`` copies a run less its checkpoints behind that one.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path


def main() -> int:
    from polyhead.cli import app

    for port, arguments in json.loads(sys.argv[1]):
        if arguments[0] == "copy":
            if os.environ["RANK"] == "0":
                copy_run(*arguments[1:])
            continue
        os.environ["MASTER_PORT"] = str(port)
        sys.argv = ["polyhead", *arguments]
        code = app.run(app._start)
        if code:
            sys.stderr.write(f"exit code {code}: {arguments}\n")
            return code
    return 0


def copy_run(source: str, target: str, checkpoint: str) -> None:
    shutil.copytree(source, target)
    for folder in (Path(target) / "checkpoints").iterdir():
        if folder.name > checkpoint:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
