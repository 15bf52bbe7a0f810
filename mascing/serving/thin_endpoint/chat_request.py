"""A request for a chat completion, as far as this endpoint answers it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mascing.errors import RequestError
from mascing.schemas.conversation import Conversation, Message
from mascing.serving.choice import NAMES, Choice

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "tools": ([],),
    "tool_choice": ("none",),
    "response_format": ({"type": "text"},),
}
"""Settings that are not answered, with the values that ask for nothing."""

_UNREAD = ("user", "metadata", "store", "cache_salt")
"""What changes no reply here; no request finds in a cache what another one left."""


class _StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of ``POST /v1/chat/completions``; ``vllm_xargs`` holds what :class:`Choice` reads."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    messages: list[dict[str, Any]] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    vllm_xargs: dict[str, Any] | None = None

    @classmethod
    def of(cls, body: Any) -> "ChatRequest":
        """Read the JSON of a request. Raises RequestError for what is malformed or not answered here."""
        if not isinstance(body, dict):
            raise RequestError("the body of a request is a JSON object")
        try:
            asked = cls.model_validate(body)
        except ValidationError as error:
            first = error.errors()[0]
            raise RequestError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        for name, value in (asked.model_extra or {}).items():
            if name not in _UNREAD and value is not None and value not in _NEUTRAL.get(name, ()):
                raise RequestError(
                    f"{name}={value!r} is not supported here: this endpoint takes "
                    f"{', '.join(cls.model_fields)}; a server with vLLM takes more"
                )
        return asked

    @property
    def choice(self) -> Choice:
        """The mask that is asked for. Raises MaskError if it is malformed, RequestError for arguments of others."""
        arguments = self.vllm_xargs or {}
        choice = Choice.of(arguments)
        unread = sorted(arguments.keys() - set(NAMES))
        if unread:
            raise RequestError(f"vllm_xargs: this endpoint reads {', '.join(NAMES)} alone, not {unread[0]!r}")
        return choice

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts at which the reply ends."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(filter(None, given))

    @property
    def limit(self) -> int | None:
        """The tokens that the reply may take."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    def conversation(self, name: str) -> Conversation:
        """What is to be replied to. Raises RequestError for turns that a conversation cannot have."""
        try:
            turns = tuple(Message(role=turn.get("role"), content=_text(turn)) for turn in self.messages)  # type: ignore[arg-type]
            return Conversation(id=name, group_id=name, messages=turns)
        except ValidationError as error:
            first = error.errors()[0]
            raise RequestError(f"messages: {first['msg'].removeprefix('Value error, ')}") from error


def _text(turn: dict[str, Any]) -> Any:
    """The text of a turn, whose content may come in parts."""
    content = turn.get("content")
    if not isinstance(content, list):
        return content
    if not all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        raise RequestError("messages: this endpoint reads text alone")
    return "".join(str(part.get("text", "")) for part in content)
