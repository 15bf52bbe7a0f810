"""Chat completions and their chunks, as OpenAI's clients read them, with what was in force."""

import time
from dataclasses import dataclass
from typing import Any

from mascing.conversations.reply import Reply
from mascing.serving.choice import MEMBER
from mascing.serving.in_force import InForce


@dataclass(frozen=True)
class Completion:
    """The frame of one reply: its id, the name of the model, and the tokens of its prompt."""

    name: str
    model: str
    prompt_tokens: int

    def whole(self, reply: Reply, in_force: InForce) -> dict[str, Any]:
        """The answer to a request without streaming."""
        message = {"role": "assistant", "content": reply.text, **_thought(reply)}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
        return self._framed("chat.completion", [choice], usage=self._usage(reply), **_proof(in_force))

    def chunk(self, **delta: str) -> dict[str, Any]:
        """A piece of a streamed reply."""
        return self._framed("chat.completion.chunk", [_piece(delta, None)])

    def last_chunk(self, reply: Reply, in_force: InForce) -> dict[str, Any]:
        """The piece that ends a streamed reply."""
        return self._framed("chat.completion.chunk", [_piece(_thought(reply), _finish(reply))], **_proof(in_force))

    def usage_chunk(self, reply: Reply, in_force: InForce) -> dict[str, Any]:
        """The piece after it, where the request asks for the usage."""
        return self._framed("chat.completion.chunk", [], usage=self._usage(reply), **_proof(in_force))

    def _framed(self, kind: str, choices: list[dict[str, Any]], **rest: Any) -> dict[str, Any]:
        frame = {"id": self.name, "object": kind, "created": int(time.time()), "model": self.model}
        return {**frame, "choices": choices, **rest}

    def _usage(self, reply: Reply) -> dict[str, int]:
        total = self.prompt_tokens + reply.tokens
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": reply.tokens, "total_tokens": total}


def _piece(delta: dict[str, str], finish: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _thought(reply: Reply) -> dict[str, str]:
    return {} if reply.thought is None else {"reasoning_content": reply.thought}


def _finish(reply: Reply) -> str:
    return "length" if reply.cut_off else "stop"


def _proof(in_force: InForce) -> dict[str, Any]:
    return {MEMBER: in_force.model_dump()}
