"""The Prefect server that settings name is asked at once, and each failure is one line that says what to do."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from mascing.errors import MascingError
from mascing.flows.prefect_server import server_version, told_if_lost


@contextmanager
def server(status: int, body: str) -> Iterator[str]:
    """The URL of a server that gives one answer to every request."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/api"
        finally:
            http.shutdown()


def refusal(url: str) -> str:
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(MascingError) as refused:
        server_version()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_no_server_is_named() -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert server_version() is None


def test_a_server_tells_its_version() -> None:
    with server(200, json.dumps("3.8.8")) as url, temporary_settings({PREFECT_API_URL: url}):
        assert server_version() == (url, "3.8.8")


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, "", "refuses this client .HTTP 401.: set PREFECT_API_AUTH_STRING"),
        (404, "", "no Prefect API at .*ends with /api"),
        (200, "<html>the user interface</html>", "no Prefect API at .*ends with /api"),
        (200, '{"hello": "world"}', "no Prefect API at .*ends with /api"),
        (500, "", "answers with HTTP 500: look at the server's log"),
        (200, '"2.20.1"', "is 2.20.1, and this client is 3.* same major version"),
    ],
)
def test_an_answer_that_no_run_can_use_is_told(status: int, body: str, message: str) -> None:
    with server(status, body) as url:
        assert re.search(message, refusal(url))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/api",
        "http://nowhere.invalid:4200/api",
        "https://127.0.0.1:1/api",
        "127.0.0.1:4200",
        "ftp://a",
    ],
)
def test_a_server_that_does_not_answer_is_told_at_once(url: str) -> None:
    assert f"no Prefect server answers at {url}" in refusal(url)


def test_a_server_of_the_other_scheme_does_not_answer() -> None:
    with server(200, "") as url:
        assert "no Prefect server answers" in refusal(url.replace("http:", "https:"))


def test_a_password_in_the_url_is_not_told() -> None:
    assert "secret" not in refusal("http://me:secret@127.0.0.1:1/api")


def test_a_failure_behind_a_proxy_names_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert "add prefect.example to no_proxy" in refusal("http://prefect.example:4200/api")


@pytest.mark.parametrize(("proxy", "usable"), [("socks5://127.0.0.1:9", True), ("socks://127.0.0.1:9", False)])
def test_a_proxy_is_used_if_the_client_knows_its_scheme(
    proxy: str, usable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    if usable:
        assert server_version() is None
        return
    with pytest.raises(MascingError, match=r"proxy variable .*socks5://host:port"):
        server_version()


def test_a_server_that_is_lost_during_a_run_is_told_in_one_line() -> None:
    with pytest.raises(MascingError, match="Prefect's server failed during the run") as lost, told_if_lost():
        raise httpx.ConnectError("All connection attempts failed")
    assert str(lost.value).endswith("goes on from there")
    assert "\n" not in str(lost.value)
