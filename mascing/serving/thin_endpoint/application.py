"""The endpoint as an application: chat completions, models, health, metrics, and the control of its masks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.routers.spec import inspect_routers
from mascing.serving.api_errors import error_response
from mascing.serving.control import control_router
from mascing.serving.following import Follower
from mascing.serving.held_masks import HeldMasks
from mascing.serving.mask_table import MaskTable
from mascing.serving.metrics import ServingMetrics
from mascing.serving.misplaced import TOO_DEEP
from mascing.serving.options import ServeOptions
from mascing.serving.thin_endpoint.answering import Answering
from mascing.serving.thin_endpoint.batching import Batcher

ROWS = 16
"""Requests in one batch."""


@dataclass(frozen=True)
class Served:
    """A loaded model with the masks that it holds."""

    name: str
    loaded: Loaded
    held: HeldMasks
    batcher: Batcher


class _Proving:
    """Masks need no place in the model here, since each batch is steered anew; they are proved to steer it."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    async def write(self, slot: int, mask: Mask) -> None:
        await asyncio.to_thread(self._batcher.prove, mask)


def serve_masks(loaded: Loaded, options: ServeOptions) -> Served:
    """Make a loaded model ready to be served. Raises ModelError if its routers cannot be tapped."""
    table = MaskTable(inspect_routers(loaded.model), options.slots)
    batcher = Batcher(loaded, ROWS)
    metrics = ServingMetrics(table, batcher.selections.by_layer)
    return Served(options.model, loaded, HeldMasks(table, _Proving(batcher), metrics), batcher)


def application(served: Served, options: ServeOptions, follower: Follower | None = None) -> FastAPI:
    """The application of a model that is served; it follows the channel while it runs."""

    @contextlib.asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        served.batcher.start()
        following = asyncio.create_task(follower.run()) if follower is not None else None
        yield
        if following is not None:
            following.cancel()
        await asyncio.to_thread(served.batcher.stop)

    app = FastAPI(title="mascing serve", lifespan=running, docs_url=None, redoc_url=None, openapi_url=None)
    answering = Answering(served.name, served.loaded, served.held, served.batcher)
    app.include_router(control_router(served.held, options.storage, options.control_anywhere))

    @app.exception_handler(HTTPException)
    async def told(request: Request, error: HTTPException) -> Response:
        return error_response(error.status_code, str(error.detail))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        try:
            body = await request.json()
        except ValueError:
            return error_response(400, "the body of a request is JSON")
        except RecursionError:
            return error_response(400, TOO_DEEP)
        return await answering.answer(body, request.url.query, request.headers.keys())

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        table = served.held.table
        masks = {"masks": table.named, "default": table.default}
        return {
            "object": "list",
            "data": [{"id": served.name, "object": "model", "owned_by": "local", "mascing": masks}],
        }

    @app.get("/health")
    async def health() -> Response:
        if not served.batcher.replies:
            return error_response(503, "nothing replies: see the server's log, and start it again")
        return JSONResponse({"status": "ok"})

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(await asyncio.to_thread(served.held.metrics.text), media_type=CONTENT_TYPE_LATEST)

    return app
