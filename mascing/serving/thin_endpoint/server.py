"""Run the endpoint until it is told to stop."""

import asyncio
import contextlib
import socket

import uvicorn

from mascing.models.loading import load
from mascing.schemas.config import ModelConfig
from mascing.serving.first_request import tell_listening
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
        await _Telling(settings, options).serve()

    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has shut down
        asyncio.run(run())


class _Telling(uvicorn.Server):
    """Says so once it listens, with a request to try."""

    def __init__(self, config: uvicorn.Config, options: ServeOptions) -> None:
        super().__init__(config)
        self._options = options

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            tell_listening(self._options)
