"""Stand before an engine of vLLM: admit what enters it, and let no reply leave without its proof."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

from mascing.errors import MaskError, SteeringError
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.serving.choice import Choice
from mascing.serving.held_masks import HeldMasks
from mascing.serving.mask_table import UNSTEERED, MaskTable
from mascing.serving.metrics import ServingMetrics
from mascing.serving.vllm_plugin.front.admission import bind, prompt_length
from mascing.serving.vllm_plugin.front.exchange import EXCHANGE, Entry, Exchange
from mascing.serving.vllm_plugin.front.proofs import Proofs, check
from mascing.serving.vllm_plugin.plugin_settings import PluginSettings

_ENTERING: ContextVar[tuple[Exchange, Entry] | None] = ContextVar("mascing_entering", default=None)
"""The request that the running task is handing to the engine."""

_FINISHED = ("stop", "length", "repetition")
"""Reasons to finish of replies that are whole; others were given up by the client or the engine."""


class EngineFront:
    """Admits the requests to one AsyncLLM, and proves its replies.

    It shadows the methods of that engine alone. A request is bound where vLLM gives it the id that the workers know,
    since there its prompt is tokenized and nothing has been sent yet.
    """

    def __init__(self, engine: Any, settings: PluginSettings) -> None:
        self._engine, self._settings = engine, settings
        self._held: HeldMasks | None = None
        self._starting = asyncio.Lock()
        self._proofs = Proofs(lambda ids: engine.collective_rpc("mascing_proof", args=(ids,)))
        self._generate, self._encode = engine.generate, engine.encode
        self._assign_id = engine.input_processor.assign_request_id
        engine.generate, engine.encode = self.generate, self.encode
        engine.input_processor.assign_request_id = self._enter

    async def held(self) -> HeldMasks:
        """The masks that the workers hold. The first call proves on the workers that masks act."""
        async with self._starting:
            if self._held is None:
                specs = await self._engine.collective_rpc("mascing_spec")
                table = MaskTable(RouterSpec.from_json(specs[0]), self._settings.slots)
                self._held = HeldMasks(table, self, ServingMetrics(table))
        return self._held

    async def write(self, slot: int, mask: Mask) -> None:
        """Put a mask into a reserved slot, between two steps of the engine."""
        try:
            await self._engine.collective_rpc("mascing_write", args=(slot, mask.to_bytes()))
        except Exception as error:  # vLLM tells what a worker raised as a plain Exception
            raise SteeringError(f"the engine does not take the mask: {error}") from error

    async def generate(self, prompt: Any, sampling_params: Any, request_id: str, **others: Any) -> AsyncIterator[Any]:
        """What AsyncLLM.generate yields. The last output has ``mascing``, the :class:`InForce` with the proof."""
        held = await self.held()
        if isinstance(prompt, AsyncGenerator):
            raise _refusal("input that is streamed cannot be steered: send the prompt as a whole")
        exchange, entry = EXCHANGE.get() or Exchange(), Entry()
        with exchange.held():
            exchange.entries.append(entry)
            async with aclosing(self._generate(prompt, sampling_params, request_id, **others)) as outputs:
                token = _ENTERING.set((exchange, entry))
                try:
                    output = await anext(outputs, None)  # the request enters here
                finally:
                    _ENTERING.reset(token)
                while output is not None:
                    _count(entry, output, sampling_params)
                    if output.finished and await self._proved(entry, output):
                        output.mascing = exchange.in_force([entry])
                        held.metrics.replied(output.mascing)
                    yield output
                    output = await anext(outputs, None)

    async def encode(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """What AsyncLLM.encode yields; refused where a default mask is in force, since it carries no choice."""
        if (await self.held()).table.default is not None:
            raise _refusal("a request for embeddings, classes or scores cannot be steered, and a default mask is set")
        async with aclosing(self._encode(*args, **kwargs)) as outputs:
            async for output in outputs:
                yield output

    def _enter(self, request: Any) -> None:
        """Bind an EngineCoreRequest, and give it its id."""
        self._assign_id(request)
        if request.sampling_params is None:
            return
        entering = _ENTERING.get()
        if entering is None or self._held is None:
            raise _refusal("this server steers requests by masks, and admits only those that come by generate()")
        exchange, entry = entering
        try:
            choice = Choice.of(request.sampling_params.extra_args)
            admission = exchange.admit(self._held.table, choice)
            entry.prompt_tokens = prompt_length(request)
            entry.span = choice.span(entry.prompt_tokens)
            bind(request, admission, entry.span)
        except MaskError as error:
            self._held.metrics.refused("request")
            raise _refusal(str(error)) from error
        n, own = request.sampling_params.n, request.request_id
        entry.request_ids = [own] if n == 1 else [f"{index}_{own}" for index in range(n)]
        entry.admission = admission

    async def _proved(self, entry: Entry, output: Any) -> bool:
        """Whether it is proved what steered a reply; not for one that was given up. Raises if it was not steered."""
        from vllm.exceptions import GenerationError

        if entry.admission is None or self._held is None:
            raise GenerationError("vLLM took a request past its admission: this version cannot be steered")
        if any(reply.finish_reason not in _FINISHED for reply in output.outputs):
            return False
        if entry.admission.slot == UNSTEERED:
            entry.steered = {}
            return True
        replies = await self._proofs.of(entry.request_ids)
        mask = self._held.table.mask_in(entry.admission.slot)
        try:
            for index, steered in enumerate(replies):
                check(mask, steered, entry.span, entry.prompt_tokens + entry.reply_tokens.get(index, 0) - 1)
        except SteeringError as error:
            raise GenerationError(str(error)) from error
        entry.steered = {layer: sum(reply.by_layer[layer] for reply in replies) for layer in mask.spec.layer_ids}
        return True


def _count(entry: Entry, output: Any, sampling_params: Any) -> None:
    from vllm.sampling_params import RequestOutputKind

    for reply in output.outputs:
        before = entry.reply_tokens.get(reply.index, 0) if sampling_params.output_kind == RequestOutputKind.DELTA else 0
        entry.reply_tokens[reply.index] = before + len(reply.token_ids)


def _refusal(why: str) -> Exception:
    """What vLLM's servers answer with status 400."""
    from vllm.exceptions import VLLMValidationError

    refusal: Exception = VLLMValidationError(why)
    return refusal
