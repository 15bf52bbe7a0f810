"""Ask a Ray cluster whether it takes this machine's token, before Ray itself tries for half a minute.

A cluster with token authentication answers a call without its token with the gRPC status UNAUTHENTICATED. Ray sends a
token only where RAY_AUTH_MODE is ``token``, whatever other variables name one.
"""

import os
from pathlib import Path

import httpx
from ray._private.authentication.authentication_token_setup import _enable_token_auth
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError

from mascing.errors import ServerError

_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_EMPTY_MESSAGE = b"\0\0\0\0\0"
_UNAUTHENTICATED = "16"
_SECONDS = 10.0


_ADVICE = "set RAY_AUTH_TOKEN to the cluster's token, which `ray get-auth-token` prints on its head node"


def use_token(place: str) -> None:
    """Make Ray send this machine's token to the cluster at ``place`` (``host:port``) if the cluster wants one.

    Raises ServerError if there is none here, or if the cluster refuses it.
    """
    if not _refuses(place, token=""):
        return
    token = own_token()
    if not token:
        raise ServerError(f"the Ray cluster at {place} wants a token, and there is none here: {_ADVICE}")
    if _refuses(place, token):
        raise ServerError(f"the Ray cluster at {place} refuses the token of {_source()}: {_ADVICE}")
    _enable_token_auth()


def own_token() -> str:
    """The token of this machine; empty if it has none. Raises ServerError if what should hold it cannot be read."""
    try:
        return str(AuthenticationTokenLoader.instance().get_raw_token(ignore_auth_mode=True))
    except AuthenticationError as error:
        said = str(error).partition(". ")[0]
        raise ServerError(f"Ray's token cannot be read ({said}): correct or unset RAY_AUTH_TOKEN_PATH") from error


def _refuses(place: str, token: str) -> bool:
    """Whether the cluster answers that it wants another token. What does not answer refuses none: others tell that."""
    headers = {"content-type": "application/grpc", "te": "trailers"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    try:
        with httpx.Client(http1=False, http2=True, trust_env=False, timeout=_SECONDS) as client:
            answer = client.post(f"http://{place}{_ALIVE}", headers=headers, content=_EMPTY_MESSAGE)
    except httpx.HTTPError:
        return False
    return bool(answer.headers.get("grpc-status") == _UNAUTHENTICATED)


def _source() -> str:
    """Where Ray takes the token from: it looks at these places, in this order."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    return os.environ.get("RAY_AUTH_TOKEN_PATH") or str(Path.home() / ".ray" / "auth_token")
