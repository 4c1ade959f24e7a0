"""How a task that writes text may be told to write: the options that all such tasks share."""

from __future__ import annotations

from dataclasses import dataclass, fields

from polyhead.registry.contracts import GenerationSettings


@dataclass(frozen=True)
class WritingOptions:
    """Settings of writing; the options record of a task inherits them and may give other defaults."""

    max_new_tokens: int = 64
    """Most tokens that are written for one prompt."""
    min_new_tokens: int = 0
    """Fewest tokens that are written: the end is not allowed before."""
    beams: int = 1
    """How many unfinished texts are followed side by side; 1 takes the likeliest token each time."""
    sample: bool = False
    """Whether tokens are drawn by their probability, instead of taking the likeliest."""
    temperature: float = 1.0
    """For ``sample``: below 1 likely tokens are drawn more often, above 1 less often."""
    top_k: int = 0
    """For ``sample``: draw among this many of the likeliest tokens; 0 allows all."""
    top_p: float = 1.0
    """For ``sample``: draw among the likeliest tokens that together reach this probability; 1 allows all."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that have occurred become less likely; 1 is off."""
    no_repeat_ngram: int = 0
    """No sequence of this many tokens is written twice; 0 is off."""
    length_penalty: float = 1.0
    """For ``beams``: above 0 favours longer texts, below 0 shorter ones."""
    stop: tuple[str, ...] = ()
    """Texts at which writing ends; they are not part of the result."""
    candidates: int = 1
    """How many texts are written for each prompt, best first: needs as many ``beams``, or ``sample``."""
    seed: int = 0
    """For ``sample``: the same seed draws the same texts."""
    chat: bool | None = None
    """Whether a decoder is asked by its chat template; null does so where its tokenizer has one."""

    def __post_init__(self) -> None:
        """Refuse numbers out of range, and settings that would have no effect."""
        for problem, found in (*_out_of_range(self), *_without_effect(self)):
            if found:
                raise ValueError(problem)


def generation_settings(options: WritingOptions) -> GenerationSettings:
    """Return what the engine has to know of the options."""
    return GenerationSettings(**{field.name: getattr(options, field.name) for field in fields(GenerationSettings)})


def _out_of_range(options: WritingOptions) -> tuple[tuple[str, bool], ...]:
    longest = options.max_new_tokens
    return (
        (f"max_new_tokens must be at least 1, not {longest}", longest < 1),
        (
            f"min_new_tokens must lie between 0 and max_new_tokens={longest}, not {options.min_new_tokens}",
            not 0 <= options.min_new_tokens <= longest,
        ),
        (f"beams must be at least 1, not {options.beams}", options.beams < 1),
        (f"temperature must be above 0, not {options.temperature}", not options.temperature > 0),
        (f"top_k must be at least 0 (all tokens), not {options.top_k}", options.top_k < 0),
        (f"top_p must be above 0 and at most 1, not {options.top_p}", not 0 < options.top_p <= 1),
        (
            f"repetition_penalty must be above 0, not {options.repetition_penalty}",
            not options.repetition_penalty > 0,
        ),
        (f"no_repeat_ngram must be at least 0 (off), not {options.no_repeat_ngram}", options.no_repeat_ngram < 0),
        (f"candidates must be at least 1, not {options.candidates}", options.candidates < 1),
        (f"seed must be at least 0, not {options.seed}", options.seed < 0),
        ("stop must hold texts that are not empty", "" in options.stop),
    )


def _without_effect(options: WritingOptions) -> tuple[tuple[str, bool], ...]:
    drawn = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
    idle = [name for name, off in drawn.items() if getattr(options, name) != off and not options.sample]
    return (
        (f"{', '.join(idle)}: without effect unless sample is true", bool(idle)),
        ("sample and beams: choose one of them", options.sample and options.beams > 1),
        (
            "length_penalty: without effect unless beams is 2 or more",
            options.length_penalty != 1.0 and options.beams < 2,
        ),
        (
            f"candidates={options.candidates}: needs sample=true, or beams={options.candidates} or more",
            not options.sample and options.candidates > options.beams,
        ),
    )
