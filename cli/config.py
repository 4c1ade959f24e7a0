"""``polyhead config``: what a run would do, without doing it."""

from __future__ import annotations

from typing import Annotated

import typer

from polyhead.cli.screen import AsJson, Overrides, PluginChoices, load_plugins, load_settings, print_json, say

app = typer.Typer(help="Show, check and describe settings.", no_args_is_help=True, rich_markup_mode=None)

Recipe = Annotated[str, typer.Argument(help="A task, a shipped recipe, or a YAML file.")]


@app.command("list")
def list_() -> None:
    """List the shipped recipes."""
    from polyhead.configs.load import list_recipes

    for name in list_recipes():
        typer.echo(name)


@app.command()
def show(
    recipe: Recipe,
    overrides: Overrides = None,
    plugin: PluginChoices = None,
    deepspeed: Annotated[bool, typer.Option("--deepspeed", help="Show the DeepSpeed JSON instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print every setting of a run, defaults included."""
    from polyhead.backbone.parallel.deepspeed_config import deepspeed_config
    from polyhead.configs.load import dump_config

    config = load_settings(load_plugins(), recipe, overrides, plugin)
    if deepspeed:
        print_json(deepspeed_config(config))
    elif as_json:
        print_json(config.model_dump(mode="json"))
    else:
        typer.echo(dump_config(config), nl=False)


@app.command()
def check(recipe: Recipe, overrides: Overrides = None, plugin: PluginChoices = None) -> None:
    """Check settings: unknown keys, contradictions, the task, its options, and the DeepSpeed JSON."""
    from polyhead.backbone.options import build_options
    from polyhead.backbone.parallel.deepspeed_config import deepspeed_config

    registry = load_plugins()
    config = load_settings(registry, recipe, overrides, plugin)
    build_options(registry.task(config.task), config.options)
    deepspeed_config(config)
    for file in (*config.data.train, *config.data.validation, *config.data.test):
        if not file.exists():
            say(f"note: {file} does not exist")
    typer.echo(f"{recipe}: ok (task {config.task}, backbone {config.backbone.name}, layout {config.layout})")


@app.command()
def schema() -> None:
    """Print the JSON schema of a recipe, for editors."""
    from polyhead.configs.load import json_schema

    print_json(json_schema())
