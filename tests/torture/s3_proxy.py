"""A reverse proxy in front of an S3 server that loses, fakes or damages chosen answers."""

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["lose the answer", "answer 503 instead", "answer 200 anyway", "flip a bit"] | None
Plan = Callable[[str, str, int], Fault]


@contextmanager
def faulty_proxy(endpoint: str, plan: Plan) -> Iterator[str]:
    """Serve at the yielded URL; ``plan(method, path, status)`` decides the fault of each answer.

    The server has already done the work, except for ``answer 503 instead``: ``plan`` is first called with status 0, and
    only that fault keeps the request from the server. The Host header is passed on, so signatures stay valid.
    """
    upstream = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if plan(self.command, self.path, 0) == "answer 503 instead":
                return self.answer(503, {}, b"")
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
            if fault == "answer 200 anyway":
                return self.answer(200, {"ETag": '"made-up"'}, b"")
            if fault == "flip a bit":
                data = bytes([data[0] ^ 1]) + data[1:]
            return self.answer(response.status, dict(response.getheaders()), data)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = pass_on

        def answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
