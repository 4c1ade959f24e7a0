"""Write ``docs/hooks.md``, the reference of all hooks, from their specifications.

``python docs/generate_hooks.py`` writes it; with ``--check`` it exits with 1 if the file is not up to date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from polyhead.registry import HookInfo, hooks

REFERENCE = Path(__file__).with_name("hooks.md")

CALLERS = {
    "polyhead_register_tasks": "the registry, once, when plugins are loaded (every command)",
    "polyhead_register_backbones": "the registry, once, when plugins are loaded (every command)",
    "polyhead_read_rows": "the reader of data files, once a file (every command that takes data)",
    "polyhead_provide_head": "the model builder, when a backbone is given its head (`finetune`, `evaluate`)",
    "polyhead_register_metrics": "the scorer, before each evaluation (`finetune`, `evaluate`)",
    "polyhead_register_perturbations": "the scorer, when one is asked for (`evaluate --perturb NAME`)",
    "polyhead_register_commands": "the registry, once, when plugins are loaded (every command)",
    "polyhead_start_run": "the training loop, on every rank",
    "polyhead_end_step": "the training loop, on rank 0, after each optimizer step",
    "polyhead_end_evaluation": "the training loop and `evaluate`, on rank 0",
    "polyhead_end_run": "the training loop, on rank 0, however the run ended",
}
"""Who calls each hook."""

INTRODUCTION = """\
# Hooks

<!-- Written by docs/generate_hooks.py from registry/hookspecs.py. Do not edit. -->

A plugin is a module that an entry point of the group `polyhead` names. It implements the hooks it needs:

```python
from polyhead.registry import hookimpl

polyhead_api_version = 1  # optional: the version of the plugin API it was written for


@hookimpl
def polyhead_register_tasks():
    return [TASK]
```

An implementation may leave out arguments that it does not need. Plugins are asked in reverse order of
loading, so that installed plugins come before built-in ones; `hookimpl(tryfirst=True)` and `trylast=True`
change that. *First result* means that the first answer other than `None` ends the call; *all results* that
every plugin is asked. A plugin that fails while it is loaded, or while it registers tasks, backbones or
commands, is reported by `polyhead plugins` and left out; one that fails later stops the command with a line
that names it.
"""


def render_hook(hook: HookInfo) -> str:
    """Return the section of one hook."""
    results = "first result" if hook.first_result else "all results"
    return (
        f"## {hook.name}\n\n```python\n{hook.signature}\n```\n\n{hook.summary}\n\n"
        f"*Results:* {results}. *Called by:* {CALLERS[hook.name]}.\n"
    )


def render() -> str:
    """Return the whole reference."""
    return "\n".join([INTRODUCTION, *(render_hook(hook) for hook in hooks())])


def main(arguments: Sequence[str]) -> int:
    """Write the reference, or check it; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the reference of all hooks.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if it is stale")
    parser.add_argument("--output", type=Path, default=REFERENCE, help="the file (default: docs/hooks.md)")
    options = parser.parse_args(arguments)
    text = render()
    if not options.check:
        options.output.write_text(text, encoding="utf-8")
        return 0
    if options.output.is_file() and options.output.read_text(encoding="utf-8") == text:
        return 0
    print(f"{options.output} is stale: run python docs/generate_hooks.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
