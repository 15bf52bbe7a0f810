"""From a request to a reply: admitted, rendered, written by the batcher, and told with what was in force."""

import asyncio
import json
import threading
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, get_args

from fastapi.responses import JSONResponse, Response, StreamingResponse

from mascing.conversations.chat import Prompt, render
from mascing.engines.generation import context_length
from mascing.errors import DataError, MascingError, MaskError, RequestError
from mascing.models.loading import Loaded
from mascing.serving.api_errors import error_body, error_response
from mascing.serving.held_masks import HeldMasks
from mascing.serving.in_force import InForce
from mascing.serving.mask_table import UNSTEERED, Admission
from mascing.serving.misplaced import refuse_misplaced
from mascing.serving.thin_endpoint.asked import Asked, Done, Event
from mascing.serving.thin_endpoint.batching import Batcher
from mascing.serving.thin_endpoint.chat_request import ChatRequest
from mascing.serving.thin_endpoint.completion import Completion
from mascing.steering.forwards import Tokens

_TEMPERATURE = 1.0
_WITHOUT_CONTEXT = 1024
"""Tokens of a reply where neither the request nor the model limits them."""


@dataclass(frozen=True)
class _Underway:
    """An admitted request whose reply is being written."""

    admission: Admission
    asked: Asked
    completion: Completion
    events: "asyncio.Queue[Event]"


class Answering:
    """Answers requests for chat completions of one model, which is called ``name``."""

    def __init__(self, name: str, loaded: Loaded, held: HeldMasks, batcher: Batcher) -> None:
        self.name, self._loaded, self._held, self._batcher = name, loaded, held, batcher
        self._tokenizer = threading.Lock()

    async def answer(self, body: Any, query: str, headers: Iterable[str]) -> Response:
        """The response to a request, of whose headers the names are given; what is wrong is told with 4xx."""
        try:
            refuse_misplaced(body, query, headers)
            request = ChatRequest.of(body)
            if request.model not in (None, self.name):
                return error_response(404, f"there is no model {request.model!r} here: this server has {self.name!r}")
            underway = await self._begun(request)
        except MaskError as error:
            self._held.metrics.refused("request")
            return error_response(400, str(error))
        except (RequestError, DataError) as error:
            return error_response(400, str(error))
        if request.stream:
            usage = request.stream_options is not None and request.stream_options.include_usage
            return StreamingResponse(self._streamed(underway, usage), media_type="text/event-stream")
        return await self._whole(underway)

    async def _begun(self, request: ChatRequest) -> _Underway:
        choice = request.choice
        if choice.tokens not in get_args(Tokens):
            raise MaskError(f"this engine steers {', '.join(get_args(Tokens))} tokens, not {choice.tokens!r}: use vLLM")
        completion_id = f"chatcmpl-{uuid.uuid4().hex}"
        prompt = await asyncio.to_thread(self._rendered, request, completion_id)
        limit = self._limit(prompt, request.limit)
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()
        admission = self._held.table.admit(choice)

        def tell(event: Event) -> None:
            if not isinstance(event, str):  # the last one
                self._held.table.release(admission)
            loop.call_soon_threadsafe(events.put_nowait, event)

        asked = Asked(
            prompt=prompt,
            mask=None if admission.slot == UNSTEERED else self._held.table.mask_in(admission.slot),
            tokens=choice.tokens,  # type: ignore[arg-type]
            selected=choice.selected,
            temperature=_TEMPERATURE if request.temperature is None else request.temperature,
            seed=completion_id if request.seed is None else str(request.seed),
            max_tokens=limit,
            stop=request.stops,
            streams=request.stream,
            tell=tell,
        )
        self._batcher.ask(asked)
        return _Underway(admission, asked, Completion(completion_id, self.name, len(prompt.token_ids)), events)

    def _rendered(self, request: ChatRequest, name: str) -> Prompt:
        with self._tokenizer:
            return render(self._loaded.tokenizer, request.conversation(name))

    def _limit(self, prompt: Prompt, asked: int | None) -> int:
        """The tokens that the reply may take. Raises RequestError if the context does not hold them."""
        context, taken = context_length(self._loaded), len(prompt.token_ids)
        if context is None:
            return asked or _WITHOUT_CONTEXT
        if taken + (asked or 1) > context:
            raise RequestError(
                f"the model's context is {context} tokens: the prompt has {taken}, the reply may take {asked or 1}"
            )
        return asked or context - taken

    async def _whole(self, underway: _Underway) -> Response:
        event = await underway.events.get()
        if not isinstance(event, Done):
            return error_response(500, _told(event))
        return JSONResponse(underway.completion.whole(event.reply, self._proved(underway, event)))

    async def _streamed(self, underway: _Underway, usage: bool) -> AsyncIterator[str]:
        completion = underway.completion
        try:
            yield _event(completion.chunk(role="assistant", content=""))
            while isinstance(event := await underway.events.get(), str):
                yield _event(completion.chunk(content=event))
            if isinstance(event, Done):
                in_force = self._proved(underway, event)
                yield _event(completion.last_chunk(event.reply, in_force))
                if usage:
                    yield _event(completion.usage_chunk(event.reply, in_force))
            else:
                yield _event(error_body(500, _told(event)))
            yield "data: [DONE]\n\n"
        finally:
            underway.asked.given_up = True  # where the client went away

    def _proved(self, underway: _Underway, done: Done) -> InForce:
        in_force = InForce.of(underway.admission, done.steered_tokens, done.selected)
        self._held.metrics.replied(in_force)
        return in_force


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def _told(event: Event) -> str:
    """What a client is told of a failure: our own sentences, and no insides of others."""
    return str(event) if isinstance(event, MascingError) else "the reply could not be written: see the server's log"
