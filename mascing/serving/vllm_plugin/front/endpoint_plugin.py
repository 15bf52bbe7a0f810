"""The entry point of ``vllm.endpoint_plugins``: what vLLM's server of OpenAI's API gets of masks."""

import asyncio
import logging
from argparse import Namespace
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI
from prometheus_client import REGISTRY

from mascing.prose import echo_prose
from mascing.serving.control import control_router
from mascing.serving.options import FirstMasks, ServeOptions
from mascing.serving.vllm_plugin.front.replies import Replies
from mascing.serving.vllm_plugin.plugin_settings import settings_in

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What the server starts with."""

    options: ServeOptions
    masks: FirstMasks


START: ContextVar[Start | None] = ContextVar("mascing_start", default=None)
"""Set by whoever starts vLLM's server in this process; without it nothing of this plugin is attached."""


class MaskEndpoints:
    """Proof in replies, control endpoints and metrics. vLLM makes one for the app of a server."""

    name = "mascing"
    required_tasks = ("generate",)

    def __init__(self) -> None:
        self._app: FastAPI | None = None
        self._following: asyncio.Task[None] | None = None

    def attach_router(self, app: FastAPI) -> None:
        """Put the layer that tells what was in force around the app."""
        if settings_in(app.state.args.additional_config) is not None:
            app.add_middleware(Replies)
            self._app = app

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """Load the masks that the server starts with, before it listens, and go on following their channel."""
        start = START.get()
        if self._app is None or start is None:
            return
        held = await engine_client.mascing.held()
        self._app.include_router(control_router(held, start.options.storage, start.options.control_anywhere))
        REGISTRY.register(held.metrics.registry)
        follower = await start.masks.load(held)
        if follower is not None:
            self._following = asyncio.create_task(follower.run())
            self._following.add_done_callback(_tell_of_its_end)
        named = replace(start.options, model=(args.served_model_name or [args.model])[0])
        echo_prose(f"the masks are loaded; once the server listens, try: {named.first_request}")


def _tell_of_its_end(following: asyncio.Task[None]) -> None:
    if not following.cancelled():
        _log.error("the channel is followed no longer, start the server again: %r", following.exception())
