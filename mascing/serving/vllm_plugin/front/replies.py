"""Write into each reply over HTTP what steered it.

A layer around the whole app rather than a change of the class that serves chats: replies of every kind are JSON objects
or streams of them, and only HTTP is the same in all versions of vLLM.
"""

import json
import re
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mascing.errors import MaskError, RequestError
from mascing.serving.api_errors import error_response
from mascing.serving.choice import MEMBER, Choice
from mascing.serving.held_masks import HeldMasks
from mascing.serving.misplaced import ARGUMENTS, refuse_misplaced
from mascing.serving.vllm_plugin.front.admission import check_salt
from mascing.serving.vllm_plugin.front.exchange import EXCHANGE, Exchange, check_passed_on

_MAY_CHOOSE = re.compile(rb"mascing|xargs|\\u00|\x00", re.IGNORECASE)
"""Found in every body that has a word of ours, also where its letters are escaped or of two bytes (UTF-16): the others
are not parsed twice."""


class Replies:
    """Middleware that makes one exchange of each HTTP request, and tells what was in force at its end.

    A mask that is asked for is admitted here: once a stream has begun, its status can no longer be 400. ``held`` gives
    what the server holds, which is loaded before it listens.
    """

    def __init__(self, app: ASGIApp, held: Callable[[], HeldMasks]) -> None:
        self._app, self._held = app, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        messages, held, exchange = await _whole(receive), self._held(), Exchange()
        with exchange.held():
            try:
                exchange.asked = _asked(scope, b"".join(message.get("body", b"") for message in messages))
                if exchange.asked is not None and exchange.asked.mask is not None:
                    exchange.admit(held.table, exchange.asked)
            except MaskError as error:
                held.metrics.refused("request")
                await error_response(400, str(error))(scope, receive, send)
                return
            except RequestError as error:
                await error_response(400, str(error))(scope, receive, send)
                return
            token = EXCHANGE.set(exchange)
            try:
                await self._app(scope, _replayed(messages, receive), _Told(exchange, send))
            finally:
                EXCHANGE.reset(token)


class _Told:
    """Passes a response on, with what was in force in its JSON object or in the last one of its stream."""

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange, self._send = exchange, send
        self._start: Message | None = None
        self._body = b""
        self._type = ""

    async def __call__(self, message: Message) -> None:
        """Take one message of the response."""
        if message["type"] == "http.response.start":
            self._type = Headers(raw=message["headers"]).get("content-type", "").partition(";")[0]
            if message["status"] == 200 and self._type == "application/json":
                self._start = message  # its length is known once the body is whole
            else:
                await self._send(message)
        elif message["type"] != "http.response.body":
            await self._send(message)
        elif self._start is not None:
            await self._object(self._start, message)
        elif self._type == "text/event-stream":
            await self._stream(message)
        else:
            await self._send(message)

    async def _object(self, start: Message, message: Message) -> None:
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        body = _with_proof(self._body, self._exchange) if self._exchange.proved else self._body
        MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    async def _stream(self, message: Message) -> None:
        """Hold back what comes after the last token, which is no more than a few chunks, to find the last of them."""
        more = message.get("more_body", False)
        if self._exchange.proved:
            self._body += message.get("body", b"")
            if more:
                return
            message = {"type": "http.response.body", "body": _with_proof_at_end(self._body, self._exchange)}
        elif self._body:  # the model goes on, as after it called a tool
            message = {**message, "body": self._body + message.get("body", b"")}
            self._body = b""
        await self._send(message)


def _asked(scope: Scope, body: bytes) -> Choice | None:
    """The choice in the body of a request, None if it is no JSON.

    Raises MaskError for one that is not read, and RequestError for a body that is nested too deep to look for it.
    """
    headers, query = Headers(scope=scope), scope["query_string"].decode("latin-1")
    refuse_misplaced(None, query, headers.keys())
    if headers.get("content-type", "application/json").partition(";")[0].strip().lower() != "application/json":
        return None
    if not _MAY_CHOOSE.search(body):
        return Choice()
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(asked, dict):
        return None
    refuse_misplaced(asked)
    arguments = asked.get(ARGUMENTS)
    choice = Choice.of(arguments) if isinstance(arguments, dict) else Choice()
    check_salt(asked.get("cache_salt"))
    if asked.get("use_beam_search"):  # the one way of asking of which it is known that it loses them
        check_passed_on(Choice(), choice)
    return choice


def _with_proof(reply: bytes, exchange: Exchange) -> bytes:
    """A JSON object with what was in force; other JSON as it is. It is not read, since it may be long."""
    if not (reply.startswith(b'{"') and reply.endswith(b"}")):
        return reply
    told = exchange.in_force(exchange.entries).model_dump_json().encode()
    return reply[:-1] + b',"' + MEMBER.encode() + b'":' + told + b"}"


def _with_proof_at_end(stream: bytes, exchange: Exchange) -> bytes:
    """The events of a stream, with what was in force in the last one that is a JSON object."""
    lines = stream.split(b"\n")
    for number in reversed(range(len(lines))):
        if lines[number].startswith(b'data: {"'):
            lines[number] = b"data: " + _with_proof(lines[number].removeprefix(b"data: "), exchange)
            break
    return b"\n".join(lines)


async def _whole(receive: Receive) -> list[Message]:
    messages = [await receive()]
    while messages[-1].get("more_body", False):
        messages.append(await receive())
    return messages


def _replayed(messages: list[Message], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def replayed() -> Message:
        return next(waiting, None) or await receive()

    return replayed
