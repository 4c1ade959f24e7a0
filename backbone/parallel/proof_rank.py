"""Start one rank of a proof: ``python -m polyhead.backbone.parallel.proof_rank PLAN``."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Work on the plan that the command line names, and return the exit code."""
    # Dies of Ctrl-C without a word; while a run trains, it is the run that takes the signal, and ends after its step.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from polyhead.backbone.parallel.proof_worker import work  # seconds of imports, silent when interrupted

    return work(sys.argv[1])


if __name__ == "__main__":
    sys.exit(main())
