"""A reverse proxy in front of an S3 server that loses, delays, fakes or damages chosen requests and answers."""

import http.client
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Literal, get_args
from urllib.parse import urlsplit

_Before = Literal[
    "answer 500 instead",
    "answer 503 instead",
    "answer 409 instead",
    "answer 412 instead",
    "reset instead",
    "keep silent instead",
    "flip a bit of the request",
]
_After = Literal["lose the answer", "answer 503 after", "answer 200 anyway", "flip a bit", "cut the body", "dribble"]
Fault = _Before | _After | None
"""Faults of a request, which the server does not get as it was sent, and of the answer once it has done the work."""

BEFORE: tuple[str, ...] = get_args(_Before)
Plan = Callable[[str, str, int], Fault]
_SILENCE_SECONDS = 3.0
_CODES = {
    500: "InternalError", 503: "SlowDown", 409: "ConditionalRequestConflict", 412: "PreconditionFailed",
}  # fmt: skip


@contextmanager
def faulty_proxy(endpoint: str, plan: Plan) -> Iterator[str]:
    """Serve at the yielded URL; ``plan(method, path, status)`` decides the fault of each request and each answer.

    It is called with status 0 before the server gets the request, and then only faults of :data:`BEFORE` count; after
    that with the status of the answer. The Host header is passed on, so signatures stay valid.
    """
    upstream = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            early = plan(self.command, self.path, 0)
            if early == "flip a bit of the request":
                body = _flipped(body)
            elif early in BEFORE:
                return self.instead(str(early))
            connection = http.client.HTTPConnection(upstream)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            try:
                connection.request(self.command, self.path, body, headers)
                response = connection.getresponse()
                data = response.read()
            except (OSError, http.client.HTTPException):  # the server is gone, perhaps in the middle of its answer
                self.close_connection = True
                return None
            finally:
                connection.close()
            fault = plan(self.command, self.path, response.status)
            if fault == "lose the answer":
                self.close_connection = True
                return None
            if fault == "answer 503 after":
                return self.refuse(503)
            if fault == "answer 200 anyway":
                return self.answer(200, {"ETag": '"made-up"'}, b"")
            if fault == "flip a bit":
                data = _flipped(data)
            return self.answer(response.status, dict(response.getheaders()), data, fault)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = pass_on

        def instead(self, fault: str) -> None:
            if fault == "keep silent instead":
                time.sleep(_SILENCE_SECONDS)
            if fault in ("keep silent instead", "reset instead"):
                self.close_connection = True
                return
            self.refuse(int(fault.split()[1]))

        def refuse(self, status: int) -> None:
            text = f"<Error><Code>{_CODES[status]}</Code><Message>made up</Message></Error>"
            self.answer(status, {"Content-Type": "application/xml"}, text.encode())

        def answer(self, status: int, headers: dict[str, str], data: bytes, fault: Fault = None) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command == "HEAD":
                return
            if fault == "dribble":
                self.wfile.write(data[:1])
                self.wfile.flush()
                time.sleep(_SILENCE_SECONDS)
            if fault in ("cut the body", "dribble"):
                self.wfile.write(data[1 : len(data) // 2])
                self.close_connection = True
                return
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that were killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _flipped(data: bytes) -> bytes:
    """The bytes with a bit of the middle one flipped, if there are any."""
    if not data:
        return data
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
