"""The task's own settings: from ``options.*`` in a config to the task's frozen dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from polyhead.registry import RunError, Task, available, did_you_mean


def build_options(task: Task[Any, Any], values: Mapping[str, Any]) -> Any:
    """Return the task's options record.

    Raises:
        RunError: A key that the task does not have, or a value of the wrong type; one line, with the dotted key.

    """
    known = {field.name for field in dataclasses.fields(task.options)} if task.options is not None else set()
    for key in values:
        if key not in known:
            names = available(sorted(known)) if known else "It has none."
            raise RunError(f"options.{key}: task '{task.name}' has no such option.{did_you_mean(key, known)} {names}")
    if task.options is None or not known:
        return None
    from pydantic import TypeAdapter, ValidationError  # only where there is something to check

    try:
        return TypeAdapter(task.options).validate_python(dict(values))
    except ValidationError as error:
        raise RunError(_explained(error.errors(), values)) from None


def _explained(errors: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> str:
    """Say what is allowed for the first option that is wrong; a value of several kinds is wrong in several ways."""
    if not errors[0]["loc"]:  # the record's own check
        return f"options: {errors[0]['msg'].removeprefix('Value error, ')}"
    name = str(errors[0]["loc"][0])
    messages = [str(error["msg"]).lower() for error in errors if error["loc"][:1] == (name,)]
    allowed = dict.fromkeys(message.removeprefix("input should be ") for message in messages)
    return f"options.{name}: expected {', or '.join(allowed)}; found {values[name]!r}"
