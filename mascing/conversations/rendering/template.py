"""Apply a tokenizer's chat template, and mark the turns of a conversation to find them again in the rendering."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from mascing.errors import DataError
from mascing.schemas.conversation import Message

Turn = Mapping[str, str]
"""One message as a chat template reads it: its role, its content, and what else a template may look for."""

# Templates that print today's date get this one, so that a conversation gives the same tokens every day.
TODAY = datetime(2026, 1, 1)


def turns_of(messages: Sequence[Message]) -> list[Turn]:
    """The messages as a chat template reads them."""
    return [turn(message.role, message.content) for message in messages]


def turn(role: str, content: str) -> Turn:
    """A message as a chat template reads it."""
    return {"role": role, "content": content}


def thoughtful_turn(thought: str, reply: str) -> Turn:
    """An assistant's turn with a thought beside the reply, under each of the keys where templates look for one."""
    return {**turn("assistant", reply), "reasoning_content": thought, "reasoning": thought, "thinking": thought}


def apply(tokenizer: Any, turns: Sequence[Turn], *, generation_prompt: bool) -> str:
    """The text of the turns, with or without the generation prompt.

    The options of the configuration are part of the tokenizer's template (see mascing/models/chat_template.py). Raises
    DataError if the tokenizer has no chat template or if the template refuses the turns.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise DataError("the tokenizer has no chat template: add chat_template.jinja to the model folder")
    try:
        text = tokenizer.apply_chat_template(
            list(turns), tokenize=False, add_generation_prompt=generation_prompt, strftime_now=TODAY.strftime
        )
    except Exception as error:  # a template is a program and can fail in any way
        raise DataError(f"the chat template refuses it: {_reason(error)}") from error
    return str(text)


def stand_in(texts: Iterable[str], word: str) -> str:
    """The word, with letters added until it occurs in none of the texts."""
    text = "\n".join(texts)
    while word in text:
        word += "X"
    return word


def _reason(error: Exception) -> str:
    from jinja2.exceptions import TemplateError, UndefinedError

    text = " ".join(str(error).split())
    # The author of a template words only its own refusals; Python's errors need their type to be understood.
    if isinstance(error, TemplateError) and not isinstance(error, UndefinedError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
