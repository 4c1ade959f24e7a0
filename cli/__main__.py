"""Run the command as ``python -m polyhead.cli``, which is what launchers start."""

from polyhead.cli.app import main

main()
