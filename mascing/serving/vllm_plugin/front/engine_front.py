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
from mascing.serving.misplaced import refuse_nested
from mascing.serving.vllm_plugin.front.admission import bind, prompt_length
from mascing.serving.vllm_plugin.front.exchange import EXCHANGE, Entry, Exchange
from mascing.serving.vllm_plugin.front.lifetime import Lifetime
from mascing.serving.vllm_plugin.front.proofs import Proofs, check
from mascing.serving.vllm_plugin.plugin_settings import PluginSettings

_ENTERING: ContextVar[tuple[Exchange, Entry] | None] = ContextVar("mascing_entering", default=None)
"""The request that the running task is handing to the engine."""


class EngineFront:
    """Admits the requests to one AsyncLLM, and proves its replies.

    It shadows the methods of that engine alone. A request is bound where vLLM gives it the id that the workers know,
    since there its prompt is tokenized and nothing has been sent yet.
    """

    def __init__(self, engine: Any, settings: PluginSettings) -> None:
        self._engine, self._settings = engine, settings
        self._held: HeldMasks | None = None
        self._lifetime = Lifetime(engine)
        self._starting = asyncio.Lock()
        self._selected: dict[int, list[int]] = {}
        self._proofs = Proofs(lambda lengths: self._called("mascing_proof", lengths))
        self._generate, self._encode = engine.generate, engine.encode
        self._assign_id = engine.input_processor.assign_request_id
        engine.generate, engine.encode = self.generate, self.encode
        engine.input_processor.assign_request_id = self._enter

    async def held(self) -> HeldMasks:
        """The masks that the workers hold. The first call proves on the workers that masks act."""
        async with self._starting:
            if self._held is None:
                specs = await self._called("mascing_spec")
                table = MaskTable(RouterSpec.from_json(specs[0]), self._settings.slots)
                self._held = HeldMasks(table, self, ServingMetrics(table, self._selected.copy))
        return self._held

    async def write(self, slot: int, mask: Mask) -> None:
        """Put a mask into a reserved slot, between two steps of the engine."""
        await self._called("mascing_write", slot, mask.to_bytes())

    async def sample_selections(self, seconds: float = 1.0) -> None:
        """Look every so often at what one step selects, if there is a card to hold it against; until cancelled."""
        held = await self.held()
        while True:
            await asyncio.sleep(seconds)
            if held.metrics.card is None:
                continue
            (counts, *_) = await self._called("mascing_selected")
            for layer, counts_E in counts.items():
                before_E = self._selected.get(int(layer), [0] * len(counts_E))
                self._selected[int(layer)] = [sum(both) for both in zip(before_E, counts_E, strict=True)]

    async def generate(self, prompt: Any, sampling_params: Any, request_id: str, **others: Any) -> AsyncIterator[Any]:
        """What AsyncLLM.generate yields. The last output has ``mascing``, the :class:`InForce` with the proof."""
        held = await self.held()
        if isinstance(prompt, AsyncGenerator):
            held.metrics.refused("request")
            raise _refusal("input that is streamed cannot be steered: send the prompt as a whole")
        exchange, entry = EXCHANGE.get() or Exchange(), Entry()
        with exchange.held():
            exchange.entries.append(entry)
            async with aclosing(self._generate(prompt, sampling_params, request_id, **others)) as outputs:
                token = _ENTERING.set((exchange, entry))
                try:
                    output = await self._next(outputs)  # the request enters here
                finally:
                    _ENTERING.reset(token)
                if output is not None and entry.admission is None:
                    raise SteeringError("vLLM took a request past its admission: this version cannot be steered")
                while output is not None:
                    _count(entry, output, sampling_params)
                    if output.finished:
                        await self._prove(entry, held.table)
                        output.mascing = exchange.in_force([entry])
                        held.metrics.replied(output.mascing, len(entry.request_ids))
                    yield output
                    output = await self._next(outputs)

    async def encode(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """What AsyncLLM.encode yields; refused where a default mask is in force, since it carries no choice."""
        held = await self.held()
        if held.table.default is not None:
            held.metrics.refused("request")
            raise _refusal("a request for embeddings, classes or scores cannot be steered, and a default mask is set")
        async with aclosing(self._encode(*args, **kwargs)) as outputs:
            async for output in outputs:
                yield output

    def _enter(self, request: Any) -> None:
        """Bind an EngineCoreRequest, and give it its id."""
        sampling, entering = request.sampling_params, _ENTERING.get()
        if sampling is None:
            self._assign_id(request)
            return
        if entering is None or self._held is None:
            raise _refusal("this server steers requests by masks, and admits only those that come by generate()")
        exchange, entry = entering
        try:
            refuse_nested(sampling.extra_args)
            choice = Choice.of(sampling.extra_args)
            admission = exchange.admit(self._held.table, choice)
            entry.prompt_tokens = prompt_length(request)
            entry.span = choice.span(entry.prompt_tokens)
            bind(request, admission, entry.span)
        except MaskError as error:
            self._held.metrics.refused("request")
            raise _refusal(str(error)) from error
        self._assign_id(request)
        entry.admission = admission
        # vLLM names the replies drawn from one prompt so.
        own, n = request.request_id, sampling.n
        entry.request_ids = [own] if n == 1 else [f"{index}_{own}" for index in range(n)]

    async def _prove(self, entry: Entry, table: MaskTable) -> None:
        """Learn what was steered of a reply that is done. Raises what vLLM answers as a fault of the server."""
        from vllm.exceptions import GenerationError

        assert entry.admission is not None
        asked = entry.admission.choice.selected
        lengths = entry.lengths
        replies = await self._proofs.of(lengths) if asked or entry.admission.slot != UNSTEERED else []
        entry.selected = [reply.selected for reply in replies]
        if entry.admission.slot == UNSTEERED:
            entry.steered = {}
            return
        mask = table.mask_in(entry.admission.slot)
        try:
            for length, steered in zip(lengths.values(), replies, strict=True):
                check(mask, steered, entry.span, length)
        except SteeringError as error:
            raise GenerationError(str(error)) from error
        entry.steered = {layer: sum(reply.by_layer[layer] for reply in replies) for layer in mask.spec.layer_ids}

    async def _called(self, method: str, *arguments: Any) -> Any:
        """What each worker answers. Raises SteeringError with what one of them raised, or once the engine is gone."""
        from vllm.v1.engine.exceptions import EngineDeadError

        call = asyncio.ensure_future(self._engine.collective_rpc(method, args=arguments))
        try:
            async with self._lifetime.awaited():
                await asyncio.wait({call})
            if call.cancelled():  # by the socket that was closed, which must not read as if the client went away
                raise EngineDeadError()
            return call.result()
        except Exception as error:  # vLLM raises a plain Exception, whatever it was in the worker
            raise SteeringError(f"a worker of vLLM does not answer {method}: {error}") from error
        finally:
            call.cancel()

    async def _next(self, outputs: AsyncIterator[Any]) -> Any:
        """The next output, or None."""
        async with self._lifetime.awaited():
            return await anext(outputs, None)


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
