"""Write ``docs/configuration.md`` and ``docs/commands.md`` from the settings' models and the command itself.

``python docs/generate_reference.py`` writes them; with ``--check`` it exits with 1 if one is not up to date.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer.main

from polyhead.cli.app import build_app
from polyhead.configs.layouts import parse_layout
from polyhead.configs.schema import json_schema
from polyhead.registry import Registry

FOLDER = Path(__file__).parent
WIDTH = 100
"""Characters in a line of help: fixed, so that the page does not depend on a terminal."""

CONFIGURATION = """\
# Configuration

<!-- Written by docs/generate_reference.py from configs/schema.py. Do not edit. -->

A run is described by one mapping of settings: a recipe in YAML, changed by overrides on the command line.

```sh
polyhead config list                                          # the shipped recipes
polyhead config show sentiment training.epochs=2              # every setting of a run, defaults included
polyhead config show sentiment layout=zero2 --deepspeed       # the DeepSpeed JSON made of them
polyhead config check my.yaml                                 # unknown keys, contradictions, the task's options
polyhead config schema > polyhead.schema.json                 # JSON schema, for completion in an editor
```

A RECIPE is the name of a shipped recipe, the path of a YAML file, the name of a task (where no recipe is called so:
all else is at its default), or, for `finetune`, a run folder. An unknown key is an error that names the nearest known
one. A recipe need only say what differs from the defaults:

```yaml
task: classification
data:
  train: tickets.csv
  columns: {text: body, label: topic}
training:
  epochs: 5
  learning_rate: 1e-4
```

## Overrides

`KEY=VALUE`, as many as you like, after the recipe; the last one wins.

- KEY is a dotted key: `training.learning_rate`. `backbone=NAME` stands for a section with this name and all else at its
  default; `backbone.revision=TAG` keeps the name.
- VALUE is a number, `true`, `false`, `null` (or nothing), or text. Numbers are those of YAML 1.2: `3e-5` is one.
- VALUE that begins with `[`, `{` or a quote is YAML: `data.train='[a.csv, b.csv]'`,
  `data.columns='{text: body, label: topic}'`, `options.class_weights='{urgent: 3}'`. A quoted number is text.
  (The outer quotes are for the shell.)
- A mapping replaces the whole section that the recipe has under this key; `data.columns.text=body` changes one entry.

## Paths

| written in | relative to |
| --- | --- |
| a recipe file: `data.train`, `.validation`, `.test`, `backbone.tokenizer`, `deepspeed` | the folder of that file |
| an override | the working directory |
| `output` and `offload_folder`, wherever they are written | the working directory |

`~/` is the home folder. Where no `output` is given it is `runs/` and the name of the recipe. The `config.yaml` of a run
holds absolute paths.
"""

LAYOUTS = {
    "single": "one process; nothing is shared out",
    "zero0": "data parallel: every process holds weights, gradients and optimizer state",
    "zero1": "data parallel; the optimizer state is divided over the processes",
    "zero2": "data parallel; optimizer state and gradients are divided",
    "zero3": "data parallel; optimizer state, gradients and weights are divided, weights gathered when needed",
    "pipe2": "the blocks are cut into two stages, each on a process of its own; more processes are data parallel",
    "pipe2+zero1": "two pipeline stages; the optimizer state of each is divided over its data-parallel processes",
    "tp2+zero1": "two processes share each matrix (DeepSpeed AutoTP); the optimizer state is divided as under zero1",
    "zero3+offload": "as zero3; what is divided lies in the host's memory between its uses (zero1 and zero2 too)",
    "zero3+nvme": "as zero3; what is divided lies in `offload_folder` on a disk between its uses",
}
"""What each layout means; `pipeN` and `tpN` stand for any number from 2."""

LAYOUT_INTRODUCTION = """\
## Layouts

`layout` says how a run is spread over processes. The same task, data and seed give the same losses under each (float32
and dropout off: up to rounding). `polyhead finetune RECIPE layout=LAYOUT --processes N` starts N processes on this
machine; a launcher such as `deepspeed` or `torchrun` may start them instead.

| layout | processes | ZeRO stage | pipeline stages | what it means |
| --- | --- | ---: | ---: | --- |
"""

LAYOUT_END = """
`pipeN` stands for any number of stages from 2 on, and needs a multiple of N processes and at least N blocks in the
backbone; `tpN` likewise. Parts may stand in any order: `zero1+pipe2` is `pipe2+zero1`. [layouts](layouts.md)
says which to take, and [what cannot be](layouts.md#what-cannot-be).

Your own DeepSpeed settings (`deepspeed=my.json`, or a mapping) are merged into the generated JSON. What contradicts the
run's settings is an error; the value `"auto"` means: as the run says.
"""

KINDS = {
    "string": "text",
    "integer": "whole number",
    "boolean": "`true`, `false`",
    "null": "`null`",
    "object": "mapping",
}
"""What a type of the JSON schema is called here."""

COMMANDS = """\
# Commands

<!-- Written by docs/generate_reference.py from the command itself. Do not edit. -->

What `--help` prints. `python -m polyhead.cli` is the same command; under a launcher it is
`deepspeed --num_gpus N --module polyhead.cli finetune RECIPE` or
`torchrun --nproc-per-node N -m polyhead.cli finetune RECIPE`. Plugins may add commands of their own.

Results go to the standard output, everything else (progress, notes, errors) to the error stream.

## Exit codes

| code | meaning |
| ---: | --- |
| 0 | done |
| 1 | a check failed (`data check`: wrong rows; `doctor`: a part missing; `verify`: a difference), or a lost process |
| 2 | a mistake in settings, data, names or options: the error stream says what, where, and what is allowed |
| 128 + N | ended by signal N: 130 after Ctrl-C, 143 after SIGTERM (training has then written a checkpoint) |

With `--processes N` the first exit code other than 0 counts.
"""


def render_configuration() -> str:
    """Return the page on settings."""
    schema = json_schema()
    rows = [f"| `{name}` | {_layout_facts(name)} | {meaning} |\n" for name, meaning in LAYOUTS.items()]
    layouts = LAYOUT_INTRODUCTION + "".join(rows) + LAYOUT_END
    return "\n".join([CONFIGURATION, "## Keys\n", *_sections(schema, schema, ()), layouts])


def _layout_facts(name: str) -> str:
    layout = parse_layout(name)
    stages = layout.pipeline_stages
    fewest = layout.fewest_processes
    processes = "1" if not layout.distributed else f"multiples of {fewest}" if fewest > 1 else "any number"
    return f"{processes} | {layout.zero_stage} | {stages if stages > 1 else '-'}"


def _sections(schema: Mapping[str, Any], section: Mapping[str, Any], prefix: tuple[str, ...]) -> Iterator[str]:
    """Yield the table of one section, then those of the sections in it."""
    inner: list[tuple[str, Mapping[str, Any]]] = []
    rows: list[str] = []
    for name, field in section["properties"].items():
        found = _model_of(schema, field)
        key = ".".join((*prefix, name))
        if found is not None:
            inner.append((name, found))
        rows.append(_row(key, field, is_section=found is not None, required=name in section.get("required", ())))
    title = f"### {'.'.join(prefix)}" if prefix else "### The run itself"
    about = "" if not prefix else f"{_text(section['description'])}\n\n"
    yield f"{title}\n\n{about}| key | allowed | default | what it says |\n| --- | --- | --- | --- |\n{''.join(rows)}"
    for name, found in inner:
        yield from _sections(schema, found, (*prefix, name))


def _row(key: str, field: Mapping[str, Any], *, is_section: bool, required: bool) -> str:
    if is_section:
        plain = "".join(f" or {_allowed(choice)}" for choice in field.get("anyOf", ()) if "$ref" not in choice)
        default = " `null`" if "null" in plain else ""
        return f"| `{key}` | a section{plain} |{default} | {_text(field['description'])} See below. |\n"
    default = "(required)" if required else f"`{_default(key, field['default'])}`"
    return f"| `{key}` | {_allowed(field)} | {default} | {_text(field['description'])} |\n"


def _default(key: str, value: Any) -> str:
    return "runs/RECIPE" if key == "output" else json.dumps(value)


def _model_of(schema: Mapping[str, Any], field: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the section that a field holds, or None where it holds a value."""
    for choice in (field, *field.get("anyOf", ())):
        if "$ref" in choice:
            model: Mapping[str, Any] = schema["$defs"][choice["$ref"].rpartition("/")[2]]
            return model
    return None


def _allowed(field: Mapping[str, Any]) -> str:
    """Say in words what a value may be."""
    if "anyOf" in field:
        return " or ".join(_allowed(choice) for choice in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{word}`" for word in field["enum"])
    if "prefixItems" in field:
        items = field["prefixItems"]
        return f"list of {len(items)}: {', '.join(dict.fromkeys(map(_allowed, items)))}"
    if "items" in field:
        return f"list of {_allowed(field['items'])}"
    kind = str(field.get("type"))
    return KINDS.get(kind, kind) + _limits(field)


def _limits(field: Mapping[str, Any]) -> str:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to", "exclusiveMaximum": "below"}
    found = [f"{word} {field[name]}" for name, word in words.items() if name in field]
    return f" {' and '.join(found)}" if found else ""


def _text(description: str) -> str:
    """Return a docstring as one line of Markdown, fit for a table."""
    return re.sub(r"``(.+?)``", r"`\1`", " ".join(description.split())).replace("|", "\\|")


def render_commands() -> str:
    """Return the page on commands; those of plugins are left out, whatever is installed."""
    command = typer.main.get_command(build_app(Registry.load(entry_points=[])))
    return "\n".join([COMMANDS, *_helps(command, "polyhead", None)])


def _helps(command: Any, name: str, parent: Any) -> Iterator[str]:
    """Yield the help of a command and of those under it."""
    context = command.context_class(command, info_name=name, parent=parent, terminal_width=WIDTH)
    lines = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    yield f"## {context.command_path}\n\n```text\n{lines}\n```\n"
    for inner, subcommand in getattr(command, "commands", {}).items():
        yield from _helps(subcommand, inner, context)


PAGES: Mapping[str, Callable[[], str]] = {
    "configuration.md": render_configuration,
    "commands.md": render_commands,
}


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or check them; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the reference of settings and commands.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is stale")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pages stand (default: docs)")
    options = parser.parse_args(arguments)
    stale = 0
    for name, render in PAGES.items():
        page, text = options.folder / name, render()
        if not options.check:
            page.write_text(text, encoding="utf-8")
        elif not page.is_file() or page.read_text(encoding="utf-8") != text:
            print(f"{page} is stale: run python docs/generate_reference.py", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
