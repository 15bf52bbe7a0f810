"""Ask the Prefect server of a run whether it can be used, before a flow waits for it."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.request import getproxies, proxy_bypass

import httpx
from packaging.version import InvalidVersion, Version

from mascing.errors import MascingError
from mascing.tasks.guarding.watch import Part, Watch, loss

_SECONDS = 10.0
_HEALTH_SECONDS = 5.0
_IF_LOST = (
    "it was killed or stopped, or the network to it is down: look at the server if you named one in PREFECT_API_URL"
)


def server_version() -> tuple[str, str] | None:
    """(URL, version) of the Prefect server that the settings name, or None if each run starts a server of its own.

    The URL may come from ``PREFECT_API_URL``, a Prefect profile or a ``prefect.toml``. Raises MascingError if the
    settings cannot be read, if no client can be made of them, or if the server cannot be reached, refuses this client
    or is of another major version.
    """
    url = configured_url()
    _refuse_unusable_proxy()
    if url is None:
        return None
    import prefect
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    shown = re.sub(r"//[^/@]*@", "//", url)  # without a password
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            client = prefect.get_client(sync_client=True, httpx_settings={"timeout": _SECONDS})
            version = Version(client.api_version())
    except httpx.HTTPStatusError as error:
        raise MascingError(_refusal(shown, url, error.response.status_code)) from error
    except (InvalidVersion, TypeError, ValueError) as error:  # an answer that is no version: often a web page
        raise MascingError(_no_api(shown, url)) from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise MascingError(
            f"no Prefect server answers at {shown} ({_one_line(error)}): start it with `prefect server start`, or "
            f"correct or unset PREFECT_API_URL{_through_proxy(url)}"
        ) from error
    if version.major != Version(prefect.__version__).major:
        raise MascingError(
            f"the Prefect server at {shown} is {version}, and this client is {prefect.__version__}: install the same "
            "major version on both sides"
        )
    return shown, str(version)


@contextmanager
def told_if_lost() -> Iterator[None]:
    """Tell in one line if the flow of the block loses its server: Prefect itself tries for minutes.

    Raises MascingError if the server still answers, but with errors.
    """
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):  # of the watch, not of the block
        watch = Watch(*_parts())
    try:
        yield
    except httpx.HTTPError as error:
        raise MascingError(loss(f"Prefect's server failed during the run ({_one_line(error)})", _IF_LOST)) from error
    finally:
        watch.close()


def _parts() -> Iterator[Part]:
    """The server of the settings; without one, a client would start it."""
    if configured_url() is not None:
        yield Part("Prefect's server", _health(), _IF_LOST)


def _health() -> Callable[[], bool]:
    """Whether the server of the settings answers, whatever it says of itself."""
    import prefect

    client = prefect.get_client(sync_client=True, httpx_settings={"timeout": _HEALTH_SECONDS})

    def answers() -> bool:
        return not isinstance(client.api_healthcheck(), httpx.TransportError)

    return answers


def configured_url() -> str | None:
    """URL of the Prefect server that the settings name, if any. Raises MascingError if they cannot be read."""
    try:
        from prefect.settings import get_current_settings

        return get_current_settings().api.url
    except (ValueError, OSError) as error:
        raise MascingError(
            f"Prefect's settings cannot be read ({_one_line(error)}): correct its profiles.toml or the PREFECT_ "
            "variables"
        ) from error


def _refuse_unusable_proxy() -> None:
    """Raise MascingError if the clients of Prefect and of the model hub cannot be made with the environment's proxy."""
    try:
        httpx.Client().close()
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise MascingError(
            f"a proxy variable of the environment cannot be used ({_one_line(error)}): write it as http://host:port or "
            "socks5://host:port, or unset it"
        ) from error


def _refusal(shown: str, url: str, status: int) -> str:
    if status in (401, 403):
        return (
            f"the Prefect server at {shown} refuses this client (HTTP {status}): set PREFECT_API_AUTH_STRING, or "
            f"PREFECT_API_KEY for Prefect Cloud{_through_proxy(url)}"
        )
    if status == 404:
        return _no_api(shown, url)
    return f"the Prefect server at {shown} answers with HTTP {status}: look at the server's log{_through_proxy(url)}"


def _no_api(shown: str, url: str) -> str:
    return f"there is no Prefect API at {shown}: PREFECT_API_URL ends with /api (http://host:4200/api){_through_proxy(url)}"


def _through_proxy(url: str) -> str:
    """A hint where the request went through a proxy."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return ""
    if not (getproxies().get(parts.scheme) or getproxies().get("all")) or proxy_bypass(parts.host):
        return ""
    return f"; it was asked through the proxy of the environment: add {parts.host} to no_proxy if it is reached without"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."
