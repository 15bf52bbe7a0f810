"""The entry point of ``vllm.endpoint_plugins``: what vLLM's server of OpenAI's API gets of masks."""

import asyncio
import logging
from argparse import Namespace
from collections.abc import Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI
from prometheus_client import REGISTRY

from mascing.serving.control import control_router
from mascing.serving.first_request import tell_once_listening
from mascing.serving.held_masks import HeldMasks
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
        self._held: HeldMasks | None = None
        self._going_on: list[asyncio.Task[None]] = []  # the loop itself does not keep a task

    def attach_router(self, app: FastAPI) -> None:
        """Put the layer that tells what was in force around the app."""
        if settings_in(app.state.args.additional_config) is not None:
            app.add_middleware(Replies, held=self._loaded)
            self._app = app

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """Load the masks that the server starts with, before it listens, and go on following their channel."""
        if self._app is None:
            return
        front, start = engine_client.mascing, START.get()
        self._held = held = await front.held()
        if start is None:
            return
        self._app.include_router(control_router(held, start.options.storage, start.options.control_anywhere))
        REGISTRY.register(held.metrics.registry)
        follower = await start.masks.load(held)
        if follower is not None:
            self._go_on("the channel is followed", follower.run())
            self._go_on("the drift of routing is measured", front.sample_selections())
        if not args.uds:
            named = replace(start.options, model=(args.served_model_name or [args.model])[0])
            self._going_on.append(asyncio.create_task(tell_once_listening(named)))

    def _loaded(self) -> HeldMasks:
        assert self._held is not None, "the server listens once this plugin has its state"
        return self._held

    def _go_on(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                _log.error("%s no longer, start the server again: %r", what, task.exception())

        self._going_on.append(asyncio.create_task(work))
        self._going_on[-1].add_done_callback(ended)
