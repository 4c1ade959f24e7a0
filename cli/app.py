"""Put the command together and turn mistakes into one line and an exit code.

Exit codes: 0 done, 1 a check failed, 2 a mistake of the user, 128 + N ended by signal N.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from polyhead.cli import config, convert, data, evaluate, finetune, listing, plan, plugins, predict, tokenizer, verify
from polyhead.cli.doctor import doctor
from polyhead.cli.screen import REGISTRY, say
from polyhead.configs.errors import ConfigError
from polyhead.registry import Command, LostProcessError, PolyheadError, Registry

MISTAKE = 2

HELP = """One pretrained transformer backbone, many task heads.

Fine-tune, evaluate and predict with plugins for language tasks, under any DeepSpeed layout;
the result is a plain Hugging Face folder.
"""


def build_app(registry: Registry) -> typer.Typer:
    """Return the whole command, with the commands that plugins add."""
    app = typer.Typer(help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
    REGISTRY.set(registry)
    app.callback()(_options)
    app.command(context_settings=EXTRA)(finetune.finetune)
    app.command(context_settings=EXTRA)(finetune.pretrain)
    app.command(context_settings=EXTRA)(evaluate.evaluate)
    app.command(context_settings=EXTRA)(predict.predict)
    app.command()(convert.convert)
    app.command(context_settings=EXTRA)(verify.verify)
    app.command(context_settings=EXTRA)(plan.plan)
    app.add_typer(listing.tasks_app, name="tasks")
    app.add_typer(plugins.app, name="plugins")
    app.command()(listing.backbones)
    app.add_typer(data.app, name="data")
    app.add_typer(tokenizer.app, name="tokenizer")
    app.add_typer(config.app, name="config")
    app.command()(doctor)
    own = {
        command.name or (command.callback.__name__ if command.callback else "") for command in app.registered_commands
    }
    own |= {group.name for group in app.registered_groups if group.name}
    for command in registry.commands().values():
        if command.name in own:
            say(f"plugin command '{command.name}' is left out: polyhead has a command of this name")
        else:
            _add_plugin_command(app, command)
    return app


EXTRA = {"allow_interspersed_args": True}


def _print_version(wanted: bool) -> None:
    """Answer --version before anything else is asked of the command line."""
    if wanted:
        from importlib import metadata

        typer.echo(metadata.version("polyhead"))
        raise typer.Exit


def _options(
    local_rank: Annotated[int | None, typer.Option("--local_rank", "--local-rank", hidden=True)] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take what launchers pass to every process."""
    del version
    if local_rank is not None:
        os.environ.setdefault("LOCAL_RANK", str(local_rank))


def _add_plugin_command(app: typer.Typer, command: Command) -> None:
    def run(context: typer.Context) -> None:
        raise typer.Exit(command.run(context.args))

    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(command.name, help=command.summary, context_settings=settings)(run)


def main() -> NoReturn:
    """Run the command and exit."""
    sys.exit(run(_start))


def _start() -> None:
    from polyhead.backbone.builtin import load_registry

    build_app(load_registry())(prog_name="polyhead")


def run(command: Callable[[], None]) -> int:
    """Run something and return its exit code; a user's mistake becomes one line on the error stream."""
    try:
        command()
    except (PolyheadError, ConfigError) as error:
        if _speaks() or isinstance(error, LostProcessError):
            say(f"error: {error}")
        return MISTAKE if not isinstance(error, LostProcessError) else 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of a pipe (`| head`) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _speaks() -> bool:
    """Whether this process tells of mistakes that every process of a run makes alike."""
    return os.environ.get("RANK", "0") == "0"
