"""Run the endpoint until it is told to stop."""

import asyncio
import contextlib
import socket

import uvicorn

from mascing.models.loading import load
from mascing.prose import echo_prose
from mascing.schemas.config import ModelConfig
from mascing.serving.options import FirstMasks, ServeOptions
from mascing.serving.thin_endpoint.application import application, serve_masks

_GRACE_SECONDS = 5
"""How long replies may go on being written once the server is told to stop."""


def serve(options: ServeOptions, first: FirstMasks) -> None:
    """Load the model, then serve it with its first masks until Ctrl-C or SIGTERM.

    Raises ModelError if the model cannot be loaded or its routers cannot be tapped, and MaskError if a mask is not for
    it.
    """
    served = serve_masks(load(ModelConfig(path=options.model)), options)

    async def run() -> None:
        follower = await first.load(served.held)
        app = application(served, options, follower)
        settings = uvicorn.Config(
            app,
            host=options.host,
            port=options.port,
            log_level="warning",
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        await _Telling(settings, f"listening; try: {options.first_request}").serve()

    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has shut down
        asyncio.run(run())


class _Telling(uvicorn.Server):
    """Says so once it listens."""

    def __init__(self, config: uvicorn.Config, told: str) -> None:
        super().__init__(config)
        self._told = told

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            echo_prose(self._told)
