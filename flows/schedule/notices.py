"""Tell people what a scheduled run found: a message to a web hook, or to a function of the user's own."""

import os
from collections.abc import Mapping
from typing import Any

import httpx

from mascing.errors import ConfigError, MascingError
from mascing.models.checkpoints import one_line
from mascing.plugins import imported
from mascing.schemas.settings.schedule_settings import NotifyConfig

Message = Mapping[str, Any]
"""What is told: ``event``, ``text`` (which Slack and its likes show), and what it is about. It is plain JSON."""

_SECONDS = 10.0
_TRIES = 3


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
    if (url := _url(settings)) is not None:
        problems += _posted(url, _token(settings), message)
    if settings.hook is not None:
        try:
            imported(settings.hook)(dict(message))
        except Exception as error:  # noqa: BLE001 - the user's own code may raise anything, and the run goes on
            problems.append(f"{settings.hook} failed: {one_line(error)}")
    if problems:
        raise NoticeError(f"nobody was told of `{message['event']}`: {'; '.join(problems)}")


def _posted(url: str, token: str | None, message: Message) -> list[str]:
    """Why the message was not taken; empty if it was. The URL may be a secret, so it is not said."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    problem = ""
    for _ in range(_TRIES):
        try:
            answer = httpx.post(url, json=dict(message), headers=headers, timeout=_SECONDS)
        except httpx.HTTPError as error:
            problem = f"the web hook does not answer ({type(error).__name__})"
            continue
        if answer.is_success:
            return []
        problem = f"the web hook answers with HTTP {answer.status_code}"
        if answer.status_code < 500 and answer.status_code != 429:
            break
    return [problem]


def _url(settings: NotifyConfig) -> str | None:
    return settings.url if settings.url_env is None else _secret("url_env", settings.url_env)


def _token(settings: NotifyConfig) -> str | None:
    return None if settings.token_env is None else _secret("token_env", settings.token_env)


def _secret(field: str, name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(
            f"notify.{field}: the environment variable {name} is not set here: set it where the run works"
        )
    return value
