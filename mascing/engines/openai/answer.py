"""What an endpoint answers, read from the body of its response."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from mascing.engines.engine import Usage


class MalformedError(Exception):
    """A response that is no chat completion: broken JSON, a page of HTML, or no choice in it."""


@dataclass(frozen=True)
class ChatAnswer:
    """The first choice of a chat completion.

    ``text`` is empty if the model said nothing. ``thought`` is what the server tells apart as the model's reasoning.
    ``finish_reason`` is ``stop``, ``length``, ``content_filter`` or what else the server calls it. ``usage`` is what
    the answer took when it was paid; ``stored`` says that it was paid before and came from storage now. ``logprobs``
    hold for each token of the text the log-probabilities of the likeliest tokens at its place, by token.
    """

    text: str
    finish_reason: str
    usage: Usage
    thought: str | None = None
    refusal: str | None = None
    logprobs: tuple[Mapping[str, float], ...] | None = None
    stored: bool = False


class _Lenient(BaseModel):
    """A part of a response; servers add fields of their own."""

    model_config = ConfigDict(extra="ignore")


def _or_none(part: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """A part that can be read, or None: an answer without it is paid all the same."""
    try:
        return read(part)
    except ValidationError:
        return None


def _text_of_parts(content: Any) -> Any:
    """The text of a content that comes as a list of parts."""
    if not isinstance(content, list):
        return content
    return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))


Part = TypeVar("Part")
_IfRead = Annotated[Part | None, WrapValidator(_or_none)]


class _Top(_Lenient):
    token: str
    logprob: float


class _Token(_Top):
    top_logprobs: list[_Top] | None = None


class _Logprobs(_Lenient):
    content: list[_Token] | None = None


class _Message(_Lenient):
    content: Annotated[str | None, BeforeValidator(_text_of_parts)] = None
    reasoning_content: _IfRead[str] = None
    reasoning: _IfRead[str] = None
    refusal: _IfRead[str] = None


class _Choice(_Lenient):
    message: _Message
    finish_reason: str | None = None
    logprobs: _IfRead[_Logprobs] = None


class _Tokens(_Lenient):
    # No prompt is empty: a server that says 0 does not count.
    prompt_tokens: int = Field(ge=1)
    completion_tokens: int = Field(ge=0)


class Completion(_Lenient):
    """The parts of a chat completion that are read; ``usage`` is None where the server does not say it."""

    choices: list[_Choice]
    usage: _IfRead[_Tokens] = None

    @classmethod
    def read(cls, body: str | bytes) -> "Completion":
        """Read the body of a response. Raises MalformedError if it is no chat completion with a choice."""
        try:
            completion = cls.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise MalformedError(f"{where}: {first['msg']}" if where else first["msg"]) from None
        if not completion.choices:
            raise MalformedError("it holds no choice")
        return completion

    def answer(self, usage: Usage, stored: bool = False) -> ChatAnswer:
        """The first choice, which took ``usage``."""
        choice = self.choices[0]
        message, tokens = choice.message, choice.logprobs.content if choice.logprobs else None
        return ChatAnswer(
            text=message.content or "",
            finish_reason=choice.finish_reason or "stop",
            usage=usage,
            thought=message.reasoning_content or message.reasoning or None,
            refusal=message.refusal,
            logprobs=None if tokens is None else tuple(map(_likeliest, tokens)),
            stored=stored,
        )


def _likeliest(token: _Token) -> dict[str, Any]:
    return {token.token: token.logprob, **{top.token: top.logprob for top in token.top_logprobs or ()}}
