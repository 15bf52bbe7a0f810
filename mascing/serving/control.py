"""The endpoints that load and unload masks and name the default, for whoever has the token."""

import hmac
import ipaddress
import logging
import os
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from mascing.errors import MascingError, MaskError
from mascing.masks.unproven import why_unproven
from mascing.serving.api_errors import error_response, printable
from mascing.serving.choice import NO_MASK
from mascing.serving.held_masks import HeldMasks
from mascing.serving.limited_reads import LimitedReads
from mascing.serving.options import mask_at

TOKEN = "MASCING_CONTROL_TOKEN"
"""The environment variable with the token; without it nobody controls the server."""

PREFIX = "/mascing"

_log = logging.getLogger(__name__)

_SECRETS = re.compile(r"(?<=://)[^/@\s]*@|\?[^\s']*")
"""What a URL may hold: user and password, and a query, which may be signed."""

_NO_JSON = "the body is a JSON object, with the header Content-Type: application/json"

_Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Load(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: _Name
    url: Annotated[str, Field(min_length=1, max_length=4096)]


class _Default(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: _Name


def control_router(held: HeldMasks, storage: str, anywhere: bool = False) -> APIRouter:
    """The control endpoints of a server; the token is that of the environment now.

    ``storage`` is where addresses of the registry are looked up. Only clients of this machine are answered, wherever
    the server listens, unless ``anywhere``; the token is needed in any case. What was loaded and unloaded, or refused,
    is logged.
    """
    reads = LimitedReads()
    router = APIRouter(
        prefix=PREFIX, route_class=_guarded(held, os.environ.get(TOKEN, "").strip(), anywhere), include_in_schema=False
    )

    @router.get("/masks")
    async def masks() -> dict[str, Any]:
        return _told(held)

    @router.post("/masks")
    async def load(asked: _Load) -> dict[str, Any]:
        with _logged(f"loading {asked.name!r} from {asked.url!r}") as done:
            if asked.name == held.followed:
                raise MaskError(f"{asked.name} is the channel that this server follows: give the mask another name")
            mask = await reads.read(partial(mask_at, asked.url, storage))
            await held.load(asked.name, mask)
            done.append(f"its digest is {mask.digest}")
            if (why := why_unproven(mask)) is not None:
                done.append(f"it is unproven: {why}")
        return _told(held)

    @router.delete("/masks/{name:path}")
    async def unload(name: str) -> dict[str, Any]:
        with _logged(f"unloading {name!r}"):
            if name == held.followed:
                raise MaskError(f"{name} is the channel that this server follows: its mask stays while it is followed")
            held.unload(name)
        return _told(held)

    @router.put("/default")
    async def default(asked: _Default) -> dict[str, Any]:
        with _logged(f"making {asked.name!r} the default"):
            held.make_default(None if asked.name == NO_MASK else asked.name)
        return _told(held)

    return router


def _told(held: HeldMasks) -> dict[str, Any]:
    """What the server holds; ``unproven`` says why a mask passed no gates."""
    table = held.table
    digests = table.named
    return {
        "masks": [
            {"name": name, "digest": digests.get(name), "unproven": why_unproven(mask)}
            for name, mask in table.masks.items()
        ],
        "default": table.default,
        "followed": held.followed,
        "slots": table.slots,
    }


@contextmanager
def _logged(asked: str) -> Iterator[list[str]]:
    """Log what was asked of control once it is done or refused, without secrets; yields what to add if it is done."""
    done: list[str] = []
    try:
        yield done
    except MascingError as error:
        _log.warning("control: %s", printable(_SECRETS.sub("", f"{asked} was refused: {error}")))
        raise
    _log.info("control: %s", printable(_SECRETS.sub("", "; ".join([f"{asked} is done", *done]))))


def _guarded(held: HeldMasks, token: str, anywhere: bool) -> type[APIRoute]:
    """Routes that ask for the token first, and tell errors as OpenAI's API does."""

    class Guarded(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                refusal = _refusal(request, token, anywhere)
                if refusal is not None:
                    return error_response(*refusal)
                try:
                    return await handle(request)
                except RequestValidationError as error:
                    first = error.errors()[0]
                    where = ".".join(str(part) for part in first["loc"][1:])
                    return error_response(400, f"{where}: {first['msg']}" if where else _NO_JSON)
                except MascingError as error:
                    held.metrics.refused("control")
                    return error_response(400, str(error))

            return guarded

    return Guarded


def _refusal(request: Request, token: str, anywhere: bool) -> tuple[int, str] | None:
    """Status and reason if this client may not control the server."""
    if not (anywhere or is_of_this_machine(request)):
        return 403, "masks are controlled from the machine of the server; --control-anywhere at its start allows others"
    if not token:
        return 403, f"nobody controls the masks of this server: set {TOKEN} in its environment and start it again"
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        return 401, f"the control endpoints take `Authorization: Bearer` with the token in {TOKEN} of the server"
    return None


def is_of_this_machine(request: Request) -> bool:
    """Whether the client is on this machine; one of a Unix socket, which has no address, is."""
    if request.client is None:
        return True
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
