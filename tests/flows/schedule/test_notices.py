"""Messages arrive at a real local web server and at functions; what does not arrive is said."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from time import monotonic, sleep
from typing import Any

import pytest
from pydantic import ValidationError

from mascing.errors import ConfigError
from mascing.flows.schedule import notices
from mascing.flows.schedule.notices import NoticeError, refuse_untellable, tell_people
from mascing.schemas.settings.schedule_settings import NotifyConfig
from tests.flows.schedule import hooks

MESSAGE = {"event": "candidate held", "text": "mascing: candidate held", "reasons": ["target fails: -3.0 points"]}


class Heard(HTTPServer):
    """Keeps what is posted; answers with ``answers`` in turn, and with 200 after them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.heard: list[tuple[str | None, Any]] = []
        self.answers: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/secret-path"


class Answering(BaseHTTPRequestHandler):
    server: Heard

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((self.headers.get("Authorization"), json.loads(body)))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Heard]:
    with Heard() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


def test_a_web_hook_gets_the_message_with_secrets_from_the_environment(
    server: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_URL", server.url)
    monkeypatch.setenv("HOOK_TOKEN", "of mine")
    tell_people(NotifyConfig(url_env="HOOK_URL", token_env="HOOK_TOKEN"), MESSAGE)
    assert server.heard == [("Bearer of mine", MESSAGE)]


def test_a_web_hook_that_is_busy_is_asked_again_and_one_that_refuses_is_not(server: Heard) -> None:
    server.answers = [503, 429]
    tell_people(NotifyConfig(url=server.url), MESSAGE)
    assert len(server.heard) == 3
    server.answers = [404]
    with pytest.raises(
        NoticeError, match="nobody was told of `candidate held`: the web hook answers with HTTP 404"
    ) as e:
        tell_people(NotifyConfig(url=server.url), MESSAGE)
    assert len(server.heard) == 4
    assert "secret-path" not in str(e.value)


def test_a_function_of_the_users_is_called_also_where_the_web_hook_is_gone() -> None:
    hooks.HEARD.clear()
    both = NotifyConfig(url="http://127.0.0.1:1/", hook="tests.flows.schedule.hooks:hear")
    with pytest.raises(NoticeError, match=r"the web hook does not answer \(ConnectError\)"):
        tell_people(both, MESSAGE)
    assert hooks.HEARD == [MESSAGE]
    with pytest.raises(NoticeError, match="hooks:fall_over failed: no line"):
        tell_people(NotifyConfig(hook="tests.flows.schedule.hooks:fall_over"), MESSAGE)


@pytest.mark.parametrize(
    ("url", "token"),
    [("http://ho\nst/secret", ""), ("host/secret", ""), ("http://host:99999/secret", ""), ("http://x", "sécret")],
)
def test_a_url_or_a_token_that_cannot_be_sent_is_refused_at_the_start_and_told_later(
    monkeypatch: pytest.MonkeyPatch, url: str, token: str
) -> None:
    monkeypatch.setenv("HOOK_URL", url)
    monkeypatch.setenv("HOOK_TOKEN", token or "of mine")
    settings = NotifyConfig(url_env="HOOK_URL", token_env="HOOK_TOKEN")
    for error, ask in ((ConfigError, refuse_untellable), (NoticeError, lambda given: tell_people(given, MESSAGE))):
        with pytest.raises(error, match="token_env" if token else "holds no URL") as told:
            ask(settings)
        assert "secret" not in str(told.value)
        assert "sécret" not in str(told.value)


def test_a_newline_around_a_secret_does_no_harm_and_the_url_is_not_logged(
    server: Heard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOOK_URL", f"{server.url}\n")
    with caplog.at_level("DEBUG"):
        tell_people(NotifyConfig(url_env="HOOK_URL"), MESSAGE)
    assert server.heard == [(None, MESSAGE)]
    assert "secret-path" not in caplog.text


def test_a_web_hook_that_trickles_holds_nobody_for_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def trickle(listening: socket.socket) -> None:
        with listening.accept()[0] as connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            for _ in range(20):
                connection.sendall(b"X-More: 1\r\n")
                sleep(0.1)

    monkeypatch.setattr(notices, "_SECONDS", 0.3)
    monkeypatch.setattr(notices, "_TRIES", 1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        Thread(target=trickle, args=(listening,), daemon=True).start()
        began = monotonic()
        with pytest.raises(NoticeError, match=r"does not answer \(TimeoutError\)"):
            tell_people(NotifyConfig(url=f"http://127.0.0.1:{listening.getsockname()[1]}/"), MESSAGE)
        assert monotonic() - began < 1.5


def test_a_message_that_is_no_json_is_told_as_any_that_does_not_arrive(server: Heard) -> None:
    with pytest.raises(NoticeError, match=r"cannot be sent \(ValueError\)"):
        tell_people(NotifyConfig(url=server.url), {**MESSAGE, "points": float("nan")})


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"url_env": "NO_SUCH_VARIABLE"}, "notify.url_env: the environment variable NO_SUCH_VARIABLE is not set"),
        ({"hook": "tests.flows.schedule.hooks:nobody"}, "tests.flows.schedule.hooks has no nobody"),
        ({"hook": "tests.flows.schedule.hooks:HEARD"}, "is no function"),
    ],
)
def test_what_could_tell_nobody_is_refused_at_the_start(settings: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        refuse_untellable(NotifyConfig.model_validate(settings))


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="keep one of them"):
        NotifyConfig(url="http://x", url_env="X")
    with pytest.raises(ValidationError, match="token_env has no url"):
        NotifyConfig(token_env="X")
