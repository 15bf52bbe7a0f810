"""Turns as people's files have them: role and content, from and value, content parts, transcripts, JSON in a cell."""

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

_ROLES = {
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "developer": "system",
}
_OF_TOOLS = {"tool", "function", "ipython", "tool_response", "function_call", "function_response", "observation"}
_ROLE_KEYS = ("role", "from", "speaker")
_TEXT_KEYS = ("content", "value", "body", "text", "parts")
_TRANSCRIPT = re.compile(r"(?:^|\n\n)(Human|Assistant):[ \t]*")


def turns_of(value: Any) -> tuple[Any, list[str]]:
    """The turns as a list of role and content, and what no conversation can hold: tools, images.

    What is no list of turns is returned as it is.
    """
    value = parsed(value)
    if isinstance(value, str) and _TRANSCRIPT.match(value):
        return _of_transcript(value), []
    if isinstance(value, Mapping):
        value = _of_columns(value)
    if not isinstance(value, list):
        return value, []
    turns, problems = [], []
    for place, turn in enumerate(value):
        read, problem = _turn(parsed(turn))
        turns.append(read)
        if problem:
            problems.append(f"messages.{place}: {problem}")
    return turns, problems


def are_turns(value: Any) -> bool:
    """Whether the value is a list of mappings."""
    return isinstance(value, list) and bool(value) and all(isinstance(turn, Mapping) for turn in value)


def parsed(value: Any) -> Any:
    """The value of a text that is JSON, or a list as Python prints it, as cells of CSV hold them; else the value."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list | dict):
            return found
    return value


def _of_transcript(text: str) -> list[Any]:
    _, *parts = _TRANSCRIPT.split(text)
    return [
        {"role": "user" if speaker == "Human" else "assistant", "content": said.strip()}
        for speaker, said in zip(parts[::2], parts[1::2], strict=True)
    ]


def _of_columns(value: Mapping[str, Any]) -> Any:
    """A single turn as a list of one; lists of roles and contents as a list of turns."""
    if any(isinstance(value.get(key), str) for key in _ROLE_KEYS):
        return [value]
    if value and all(isinstance(column, list) for column in value.values()):
        return [dict(zip(value, cells, strict=False)) for cells in zip(*value.values(), strict=False)]
    return value


def _turn(turn: Any) -> tuple[Any, str | None]:
    if not isinstance(turn, Mapping):
        return turn, None
    role = next((turn[key] for key in _ROLE_KEYS if turn.get(key) is not None), None)
    content = next((turn[key] for key in _TEXT_KEYS if turn.get(key) is not None), None)
    problem = None
    if isinstance(role, str):
        role = _ROLES.get(role.lower(), role.lower())
        if role in _OF_TOOLS:
            return {"role": "user", "content": "-"}, "a turn of a tool cannot be used"
    if turn.get("tool_calls") or turn.get("function_call"):
        return {"role": "assistant", "content": "-"}, "a call of a tool cannot be used"
    if isinstance(content, Mapping):
        content = content.get("parts", [content])
    if isinstance(content, list):
        content, problem = _joined(content)
    read = {"role": role, "content": content}
    return {name: value for name, value in read.items() if value is not None or name in turn}, problem


def _joined(parts: list[Any]) -> tuple[Any, str | None]:
    """The text of content parts; a part that is no text is a problem."""
    texts = [
        part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None for part in parts
    ]
    for part, text in zip(parts, texts, strict=True):
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            return "-", f"a part of type {kind} cannot be used: only text can"
    return "\n".join(text for text in texts if isinstance(text, str)), None
