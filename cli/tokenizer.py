"""``polyhead tokenizer``: train a tokenizer, or look at one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from polyhead.cli.screen import AsJson, load_plugins, print_json, print_table, say

app = typer.Typer(help="Train a tokenizer on your texts, or look at one.", no_args_is_help=True, rich_markup_mode=None)

Fields = Annotated[
    str | None,
    typer.Option(
        "--fields",
        metavar="NAME,...",
        help="What of a row is read, such as text or translation.en. Default: every text but ids and labels.",
    ),
]
FAMILIES = {"wordpiece": "encoder", "bpe": "decoder", "unigram": "encoder-decoder"}
"""Whose special tokens each type has where nothing is said."""


@app.command()
def train(
    files: Annotated[list[Path], typer.Argument(help="Texts, in any format that polyhead reads (.gz too).")],
    output: Annotated[Path, typer.Option("--output", help="The folder to write: none yet, or an empty one.")],
    kind: Annotated[
        Literal["bpe", "wordpiece", "unigram"],
        typer.Option("--type", help="wordpiece as in BERT, byte-level bpe as in GPT-2 and BART, unigram as in T5."),
    ],
    size: Annotated[int, typer.Option("--size", min=1, help="How many tokens, special ones included.")],
    family: Annotated[
        Literal["encoder", "decoder", "encoder-decoder"] | None,
        typer.Option(
            "--family",
            help="Whose special tokens it has. Default: encoder for wordpiece, decoder for bpe, else encoder-decoder.",
        ),
    ] = None,
    min_count: Annotated[
        int | None,
        typer.Option("--min-count", min=1, help="How often a piece must occur. Default: 2; not for unigram."),
    ] = None,
    lowercase: Annotated[bool, typer.Option("--lowercase", help="Make all letters small.")] = False,
    chinese: Annotated[
        Literal["characters", "words"],
        typer.Option("--chinese", help="Whether a token holds at most one Chinese character, or as many as it finds."),
    ] = "characters",
    sentinels: Annotated[
        bool, typer.Option("--sentinels", help="Add <extra_id_0> to <extra_id_99>, for span corruption (T5).")
    ] = False,
    fields: Fields = None,
    as_json: AsJson = False,
) -> None:
    """Learn a tokenizer from texts and write it as a Hugging Face folder; the texts may be larger than memory.

    Then: polyhead pretrain masked-lm backbone.tokenizer=FOLDER backbone.architecture='{model_type: bert, ...}' ...
    """
    from polyhead.backbone.data.plain_texts import texts_of_files
    from polyhead.backbone.data.tokenizer_training import TokenizerPlan, save_tokenizer, train_tokenizer

    plan = TokenizerPlan(
        kind=kind,
        size=size,
        family=family or FAMILIES[kind],  # type: ignore[arg-type]
        min_count=min_count,
        lowercase=lowercase,
        chinese=chinese,
        sentinels=sentinels,
    )
    registry = load_plugins()
    with save_tokenizer(output) as save:
        tokenizer = train_tokenizer(plan, texts_of_files(registry, files, fields=_split(fields)))
        save(tokenizer)
    if as_json:
        print_json({"folder": str(output), "type": kind, "tokens": len(tokenizer), "family": plan.family})
        return
    say(f"{len(tokenizer):,} tokens: {output}")
    say(f"next: polyhead tokenizer show {output} --text '...'")


@app.command()
def show(
    tokenizer: Annotated[str, typer.Argument(help="The folder of a tokenizer or a model, or a backbone's name.")],
    texts: Annotated[
        list[str] | None, typer.Option("--text", help="A text to cut into tokens; may be repeated.")
    ] = None,
    files: Annotated[list[Path] | None, typer.Option("--file", help="Measure the coverage of a file's texts.")] = None,
    fields: Fields = None,
    as_json: AsJson = False,
) -> None:
    """Show the tokens of texts, and how a tokenizer covers files: unknown tokens, tokens a character."""
    from polyhead.backbone.data.plain_texts import coverage_of, texts_of_files
    from polyhead.backbone.model.finding import find_tokenizer

    registry = load_plugins()
    found = find_tokenizer(tokenizer, registry)
    tokens = {text: found.convert_ids_to_tokens(found(text, verbose=False)["input_ids"]) for text in texts or ()}
    coverage = {
        str(file): coverage_of(found, texts_of_files(registry, [file], fields=_split(fields))).to_json()
        for file in files or ()
    }
    facts = {"tokens": len(found), "special_tokens": found.special_tokens_map}
    if as_json:
        print_json({**facts, "texts": tokens, "coverage": coverage})
        return
    typer.echo(f"{len(found):,} tokens; special: {', '.join(dict.fromkeys(found.special_tokens_map.values()))}")
    for shown in tokens.values():
        typer.echo(" ".join(shown))
    if coverage:
        rows = [
            (
                name,
                f"{numbers['texts']:,}",
                f"{numbers['characters']:,}",
                f"{numbers['tokens']:,}",
                f"{numbers['unknown_share']:.2%}",
                f"{numbers['tokens_per_character']:.3f}",
            )
            for name, numbers in coverage.items()
        ]
        print_table("", ("file", "texts", "characters", "tokens", "unknown", "tokens a character"), rows)


def _split(fields: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in fields.split(",") if name.strip()) if fields else ()
