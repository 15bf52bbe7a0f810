"""Tell people what a scheduled run found: a message to a web hook, or to a function of the user's own."""

import asyncio
import logging
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from mascing.errors import ConfigError, MascingError
from mascing.models.checkpoints import one_line
from mascing.plugins import imported
from mascing.schemas.settings.schedule_settings import NotifyConfig

Message = Mapping[str, Any]
"""What is told: ``event``, ``text`` (which Slack and its likes show), and what it is about. It is plain JSON."""

_SECONDS = 10.0
"""What one try may take, however slowly the answer comes."""
_TRIES = 3
_LAST_PORT = 65535


class NoticeError(MascingError):
    """A message that did not arrive."""


def refuse_untellable(settings: NotifyConfig) -> None:
    """Raise ConfigError if nobody could be told: at the start, rather than when something is wrong."""
    _url(settings)
    _token(settings)
    if settings.hook is not None and not callable(imported(settings.hook)):
        raise ConfigError(f"notify.hook: {settings.hook} is no function")


def tell_people(settings: NotifyConfig, message: Message) -> None:
    """Send the message wherever the settings say. Raises NoticeError if it did not arrive; all are tried."""
    problems = []
    try:
        if (url := _url(settings)) is not None:
            problems += _posted(url, _token(settings), message)
    except ConfigError as error:
        problems.append(str(error))
    if settings.hook is not None:
        try:
            imported(settings.hook)(dict(message))
        except Exception as error:  # noqa: BLE001 - the user's own code may raise anything, and the run goes on
            problems.append(f"{settings.hook} failed: {one_line(error)}")
    if problems:
        raise NoticeError(f"nobody was told of `{message['event']}`: {'; '.join(problems)}")


def _posted(url: httpx.URL, token: str | None, message: Message) -> list[str]:
    """Why the message was not taken; empty if it was. The URL may be a secret, so it is not said."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    problem = ""
    for _ in range(_TRIES):
        try:
            # In a thread, because the caller may have an event loop of its own.
            with _unlogged(url), ThreadPoolExecutor(1) as thread:
                answer = thread.submit(asyncio.run, _answer(url, message, headers)).result()
        except (httpx.HTTPError, OSError) as error:  # TimeoutError is an OSError
            problem = f"the web hook does not answer ({type(error).__name__})"
            continue
        except (ValueError, OverflowError) as error:
            return [f"the message cannot be sent ({type(error).__name__})"]
        if answer.is_success:
            return []
        problem = f"the web hook answers with HTTP {answer.status_code}"
        if answer.status_code < 500 and answer.status_code != 429:
            break
    return [problem]


async def _answer(url: httpx.URL, message: Message, headers: Mapping[str, str]) -> httpx.Response:
    # httpx limits each read alone: a hook that trickles would hold the run for ever.
    async with asyncio.timeout(_SECONDS), httpx.AsyncClient(timeout=_SECONDS) as client:
        return await client.post(url, json=dict(message), headers=headers)


@contextmanager
def _unlogged(url: httpx.URL) -> Iterator[None]:
    """Keep the URL, which may be a secret, out of the log: httpx writes all of it at INFO."""

    def is_silent(record: logging.LogRecord) -> bool:
        return str(url) not in record.getMessage()

    logger = logging.getLogger("httpx")
    logger.addFilter(is_silent)
    try:
        yield
    finally:
        logger.removeFilter(is_silent)


def _url(settings: NotifyConfig) -> httpx.URL | None:
    """Where to post. Raises ConfigError, without the URL, if it is none."""
    field, value = "url", settings.url
    if settings.url_env is not None:
        field, value = "url_env", _secret("url_env", settings.url_env)
    if value is None:
        return None
    try:
        url = httpx.URL(value.strip())
    except httpx.InvalidURL:
        raise ConfigError(f"notify.{field} holds no URL: give one such as https://host/path") from None
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > _LAST_PORT:
        raise ConfigError(f"notify.{field} holds no URL of a web hook: give one such as https://host/path")
    return url


def _token(settings: NotifyConfig) -> str | None:
    if settings.token_env is None:
        return None
    token = _secret("token_env", settings.token_env)
    if not (token.isascii() and token.isprintable()):
        raise ConfigError(
            f"notify.token_env: {settings.token_env} holds what no HTTP header can carry: a token is printable ASCII"
        )
    return token


def _secret(field: str, name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError(
            f"notify.{field}: the environment variable {name} is not set here: set it where the run works"
        )
    return value
