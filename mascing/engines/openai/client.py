"""One request to an endpoint by the `openai` client, and what its answer or error means."""

import asyncio
import os
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from mascing.engines.openai.answer import Completion, MalformedError
from mascing.engines.openai.retrying import DeniedError, FailedError, RefusedError
from mascing.errors import ConfigError, EndpointError, RequestError
from mascing.schemas.settings.engine_settings import OpenAIEngine

_LONGEST_MESSAGE = 300
_OVERLOADED = (429, 503, 529)
_PASSING = (408, 409, 425)
# A request that met these had been sent: what was lost on the way back may be paid all the same. They are names,
# because of which HTTP library they are is the client's own matter.
_AFTER_SENDING = ("ReadError", "RemoteProtocolError", "DecodingError")
_NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached")


class Client:
    """Sends single requests; it retries nothing and logs nothing."""

    def __init__(self, config: OpenAIEngine) -> None:
        """Read the key from the environment. Raises ConfigError if it is missing or wrong, or the package missing."""
        try:
            import openai
        except ImportError as error:
            raise ConfigError(
                f"the endpoint {config.base_url} needs the package openai ({error}): install mascing[openai], here and "
                "on every worker"
            ) from error
        self._config = config
        self._key = _key(config)
        self._openai = openai
        self._client = openai.AsyncOpenAI(
            # A key of another endpoint, which the client would find in OPENAI_API_KEY, must not be sent to this one.
            api_key=self._key or "none",
            base_url=config.base_url,
            timeout=config.timeout,
            max_retries=0,
        )

    async def send(self, body: dict[str, Any]) -> str:
        """The body of the response, which is a chat completion.

        Raises RefusedError or FailedError where the same request may be answered later, RequestError if this request
        is wrong, EndpointError if every request is, and DeniedError if it is the one or the other.
        """
        openai = self._openai
        try:
            # The client's own limits are for the gaps between bytes: a server that trickles passes them for ever.
            async with asyncio.timeout(self._config.timeout):
                response = await self._client.post("/chat/completions", body=body, cast_to=str)
            Completion.read(response)
            return response
        except MalformedError as error:
            raise FailedError(f"its response is no chat completion ({error})", perhaps_paid=True) from None
        except (TimeoutError, openai.APITimeoutError):
            raise FailedError(f"no answer within {self._config.timeout:g} s", perhaps_paid=True) from None
        except openai.APIStatusError as error:
            raise self._of_status(error.status_code, self._told(error), error) from None
        except openai.APIConnectionError as error:
            why = self._without_key(str(error.__cause__ or error)) or "no connection"
            sent = type(error.__cause__).__name__ in _AFTER_SENDING
            raise FailedError(why, nobody=not sent, perhaps_paid=sent) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _of_status(self, status: int, told: str, error: Any) -> Exception:
        place = f"{self._config.model} at {self._config.base_url}"
        if status == 402 or (status == 429 and error.code in _NO_CREDIT):
            return EndpointError(f"{place}: no credit is left ({told}): pay for more, and run the same command again")
        if status in _OVERLOADED:
            return RefusedError(f"{status}: {told}", retry_after(error.response.headers))
        if status in _PASSING or status >= 500:
            return FailedError(f"{status}: {told}")
        if status in (401, 403):
            denied = f"{place} refuses the key ({status}: {told}): {self._remedy_for_key()}"
            return EndpointError(denied) if status == 401 else DeniedError(told, denied)
        if status in (404, 405):
            return EndpointError(
                f"{place} was not found ({status}: {told}): check `model` against the endpoint's list of models, and "
                "`base_url`, which often ends with /v1"
            )
        return RequestError(f"{place} refuses the request ({status}: {told}): change what the message names")

    def _remedy_for_key(self) -> str:
        name = self._config.api_key_env
        if name is None:
            return "name the environment variable that holds your key as `api_key_env`"
        return f"put a valid key for {self._config.base_url} into the environment variable {name}"

    def _told(self, error: Any) -> str:
        """What the server said, in one line and without the key, which some servers repeat.

        It is the message of an error as OpenAI shapes it, or else the body as it is.
        """
        body = error.body if isinstance(error.body, dict) else {}
        text = " ".join(str(body.get("message") or error.response.text).split())
        return self._without_key(text)[:_LONGEST_MESSAGE].rstrip(". ") or "without a reason"

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    def __repr__(self) -> str:
        return f"Client({self._config.model} at {self._config.base_url})"


def _key(config: OpenAIEngine) -> str | None:
    if config.api_key_env is None:
        return None
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise ConfigError(
            f"the environment variable {config.api_key_env} is not set: it must hold the key for {config.base_url}, "
            "here and on every worker"
        )
    # No header can hold another character, and the error of the client that tries shows the key.
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"the environment variable {config.api_key_env} must hold one key of printable ASCII characters: it holds "
            "a line break or another character that no key has"
        )
    return key


def retry_after(headers: Any) -> float | None:
    """Seconds that a response asks to wait: a number of (milli)seconds or a date; None if it does not say."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        if (told := headers.get("retry-after")) is None:
            return None
        if told.strip().replace(".", "", 1).isdigit():
            return float(told)
        return max(0.0, (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None
