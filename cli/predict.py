"""``polyhead predict``: answer for texts, a file, or standard input."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polyhead.cli.launching import relaunch
from polyhead.cli.screen import ModelOption, Overrides, PluginChoices, Processes, load_plugins, model_and_config, say


def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a task (then say --model).")],
    overrides: Overrides = None,
    plugin: PluginChoices = None,
    model: ModelOption = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", help="A text to answer for, or a row as a JSON object (again for more)."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--input", help="A file; - is standard input: JSON objects or texts, one a line."),
    ] = None,
    target: Annotated[str, typer.Option("--output", help="A file; - is standard output.")] = "-",
    corpus: Annotated[
        Path | None, typer.Option("--corpus", help="A file of texts to search, for tasks that compare texts.")
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="How many entries of the corpus to give back.")] = 5,
    stream: Annotated[bool, typer.Option("--stream", help="Show text while it is written (standard error).")] = False,
    processes: Processes = 1,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines; predictions are printed so anyway.")] = False,
) -> None:
    """Predict, and write one JSON object a line in the order of the input."""
    del as_json
    from polyhead.registry import RunError

    if (source is None) == (not text):
        raise RunError(
            "say what to predict for: either --text '...' (once or more) or --input FILE (- is standard input)"
        )
    registry = load_plugins()
    reference, config, _ = model_and_config(registry, run, model, overrides, plugin=plugin)
    relaunch(processes)

    from rich.console import Console

    from polyhead.backbone.inference.predict import Request
    from polyhead.backbone.inference.predict import predict as answer

    request = Request(reference, config, tuple(text or ()), source, target, corpus=corpus, nearest=top_k, stream=stream)
    outcome = answer(request, registry, Console(stderr=True))
    for row in outcome.skipped:
        say(f"skipped: {row.message}")
