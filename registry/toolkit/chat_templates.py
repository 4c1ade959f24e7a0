"""What a tokenizer's chat template writes around a user's message, and behind an answer."""

from __future__ import annotations

from typing import Any, NamedTuple

from polyhead.registry.contracts import EncodeSettings
from polyhead.registry.errors import DataError

_MARK = "\ue000\ue001\ue000"
"""Stands for the content: private characters, which no template and no text holds."""


class ChatFrame(NamedTuple):
    """The texts of a chat template around one question and its answer, special tokens written out."""

    before: str
    """What stands before the user's message: a system message too, where there is one."""
    after: str
    """What stands between the user's message and the answer."""
    end: str
    """What ends the answer."""


def uses_chat(settings: EncodeSettings, chat: bool | None) -> bool:
    """Tell whether prompts go through the chat template, given ``options.chat``.

    Raises:
        DataError: ``chat`` is true where there is no decoder, or its tokenizer has no template.

    """
    has_template = bool(getattr(settings.tokenizer, "chat_template", None))
    if chat and settings.family != "decoder":
        raise DataError(f"options.chat=true: only decoders answer a chat, this model reads as an {settings.family}")
    if chat and not has_template:
        raise DataError("options.chat=true: the tokenizer of this backbone has no chat template; leave it out")
    return settings.family == "decoder" and has_template and chat is not False


def chat_frame(tokenizer: Any, system: str = "") -> ChatFrame:
    """Return what the tokenizer's chat template writes around a user's message, and behind the answer.

    Raises:
        DataError: The template cannot be rendered, such as one that knows no system message.

    """
    opening = [{"role": "system", "content": system}] if system else []
    asked = [*opening, {"role": "user", "content": _MARK}]
    answered = [*asked, {"role": "assistant", "content": _MARK}]
    before, after = _around(_render(tokenizer, asked, prompt=True))
    return ChatFrame(before, after, _render(tokenizer, answered, prompt=False).rpartition(_MARK)[2])


def chat_prompt(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    """Return the text of a whole conversation, up to where the next answer begins; raises as `chat_frame` does."""
    return _render(tokenizer, messages, prompt=True)


def _render(tokenizer: Any, messages: list[dict[str, str]], *, prompt: bool) -> str:
    import jinja2  # what transformers renders templates with; loaded by it

    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))
    except jinja2.TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise DataError(f"the chat template of this backbone refuses messages of {roles}: {error}") from error


def _around(rendered: str) -> tuple[str, str]:
    if rendered.count(_MARK) != 1:
        raise DataError("the chat template of this backbone does not hold the user's message once as it is")
    before, _, after = rendered.partition(_MARK)
    return before, after
