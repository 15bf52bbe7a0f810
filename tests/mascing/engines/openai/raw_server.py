"""A server that answers every request with given bytes, and closes the connection: for what no good server sends."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Respond = Callable[[str], bytes]


@contextmanager
def answering(respond: Respond) -> Iterator[str]:
    """The base URL of a server that answers with what ``respond`` makes of the body of a request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.wfile.write(respond(self.rfile.read(int(self.headers["Content-Length"])).decode()))

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()


def said(content: Any = "fine", **parts: Any) -> dict[str, Any]:
    """A chat completion that says ``content``; ``parts`` are of its choice."""
    choice = {"message": {"content": content}, "finish_reason": "stop", **parts}
    return {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


def response(body: Any, status: int = 200, length: int | None = None, **headers: str) -> bytes:
    """A response over HTTP; ``length`` is what it says of its length where that is not true."""
    content = json.dumps(body).encode()
    told = {"Content-Type": "application/json", "Content-Length": str(length or len(content)), **headers}
    lines = [f"HTTP/1.0 {status} Told", *(f"{name.replace('_', '-')}: {value}" for name, value in told.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content
