"""``polyhead plugins``: what is installed, what it adds, what is wrong with it; make one, check one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from polyhead.cli.plugin_check import check
from polyhead.cli.plugin_new import new
from polyhead.cli.screen import AsJson, load_plugins, print_json, print_table
from polyhead.registry import PluginInfo, unknown_name

if TYPE_CHECKING:
    from polyhead.registry import Registry

app = typer.Typer(
    help="List the plugins, look at one, make one, check one.", invoke_without_command=True, rich_markup_mode=None
)


@app.callback()
def plugins(context: typer.Context, as_json: AsJson = False) -> None:
    """List the plugins (as `polyhead plugins list`), look at one, make one, check one."""
    if context.invoked_subcommand is None:
        _list(as_json=as_json)


@app.command("list")
def list_plugins(as_json: AsJson = False) -> None:
    """List the plugins: what each adds, and which are broken and why."""
    _list(as_json=as_json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A plugin, as `ner` or `acme-nlp:ner` (distribution and plugin).")],
    as_json: AsJson = False,
) -> None:
    """Show all of one plugin: what it adds, its hooks, its API version, how long it loads, what is wrong."""
    found = _find(load_plugins(), name)
    if as_json:
        print_json([dataclasses.asdict(plugin) for plugin in found])
        return
    for plugin in found:
        rows = [("from", plugin.origin.source), ("status", plugin.status)]
        rows += [(kind, ", ".join(names)) for kind, names in plugin.adds().items()]
        rows.append(("hooks", ", ".join(plugin.hooks) or "none"))
        rows.append(("plugin API", "not stated" if plugin.api_version is None else str(plugin.api_version)))
        rows.append(("loaded in", f"{plugin.seconds * 1_000:.1f} ms"))
        rows += [("problem", problem) for problem in plugin.problems]
        print_table(plugin.name, ("", ""), rows)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is wrong with the plugins and how it is mended: broken ones, names that several claim, slow ones.

    Exit code 1 where a plugin is broken, or a name belongs to nobody because several plugins claim it.
    """
    from polyhead.registry.diagnosis import diagnose

    registry = load_plugins()
    problems = diagnose(registry)
    if as_json:
        print_json([problem._asdict() for problem in problems])
    elif problems:
        print_table("", ("plugin", "state", "problem", "what to do"), problems)
    else:
        typer.echo(f"{len(registry.plugins())} plugins, nothing wrong")
    if any(problem.state == "wrong" for problem in problems):
        raise typer.Exit(1)


app.command()(new)
app.command()(check)


def _list(*, as_json: bool) -> None:
    found = load_plugins().plugins()
    if as_json:
        print_json([dataclasses.asdict(plugin) for plugin in found])
        return
    rows = [(plugin.name, plugin.origin.source, plugin.status, _adds(plugin)) for plugin in found]
    print_table("", ("plugin", "from", "status", "adds"), rows)
    for plugin in found:
        for problem in plugin.problems:
            typer.echo(f"{plugin.name} ({plugin.origin.source}): {problem}")


def _adds(plugin: PluginInfo) -> str:
    """Return what a plugin adds; heads and the like of its own tasks are not worth a word."""
    found = []
    for kind, names in plugin.adds().items():
        foreign = [name for name in names if name.partition(":")[0] not in plugin.tasks or kind in WHOLE]
        if foreign:
            kind_name = kind.removesuffix("s") if len(foreign) == 1 else kind
            found.append(f"{kind_name} {', '.join(foreign)}")
    return "; ".join(found) or ", ".join(plugin.hooks)


WHOLE = ("tasks", "readers", "backbones", "commands")
"""What stands for itself; the other kinds are added to tasks."""


def _find(registry: Registry, name: str) -> list[PluginInfo]:
    """Return the plugins of a name; raises `UnknownNameError` where there is none."""
    plugins = registry.plugins()
    found = [plugin for plugin in plugins if name in (plugin.name, plugin.origin.key)]
    if not found:
        raise unknown_name("plugin", name, {plugin.name for plugin in plugins})
    return found
