"""Write ``docs/hooks.md``, the reference of all hooks, from their specifications.

``python docs/generate_hooks.py`` writes it; with ``--check`` it exits with 1 if the file is not up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pages import write_or_check

from polyhead.registry import HookInfo, hooks

REFERENCE = Path(__file__).with_name("hooks.md")

CALLERS = {
    "polyhead_register_tasks": "the registry, once, when plugins are loaded (every command)",
    "polyhead_register_backbones": "the registry, once, when plugins are loaded (every command)",
    "polyhead_register_heads": "the registry, once, when plugins are loaded (every command)",
    "polyhead_register_readers": "the registry, once, when plugins are loaded (every command)",
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

An implementation may leave out arguments that it does not need. Every plugin is asked, in reverse order of
loading, so that installed plugins come before built-in ones; `hookimpl(tryfirst=True)` and `trylast=True`
change that. A plugin that fails while it is loaded, or while it registers tasks, heads, readers, backbones or
commands, is reported by `polyhead plugins` and left out; one that fails later stops the command with a line
that names it. `POLYHEAD_TRACE_PLUGINS=1` shows every call with its time.
"""


def render_hook(hook: HookInfo) -> str:
    """Return the section of one hook."""
    return (
        f"## {hook.name}\n\n```python\n{hook.signature}\n```\n\n{hook.summary}\n\n*Called by:* {CALLERS[hook.name]}.\n"
    )


def render() -> str:
    """Return the whole reference."""
    return "\n".join([INTRODUCTION, *(render_hook(hook) for hook in hooks())])


if __name__ == "__main__":
    raise SystemExit(write_or_check(REFERENCE, render, sys.argv[1:]))
