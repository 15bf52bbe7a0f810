"""Ask the workers what they steered, and hold it against what they had to steer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mascing.errors import SteeringError
from mascing.masks.mask import Mask
from mascing.serving.choice import Span

Ask = Callable[[dict[str, int]], Awaitable[Sequence[Mapping[str, Mapping[str, Any]]]]]
"""From requests, with the tokens of each that count, to what each worker says of them (``mascing_proof``)."""


@dataclass(frozen=True)
class Steered:
    """What the workers steered of one request: tokens by depth of the MoE layer, and tokens that the cache had.

    Those in the cache were computed under the same mask, for an earlier request. ``selected`` is empty unless the
    request asked for its selections.
    """

    by_layer: Mapping[int, int]
    cached: int
    selected: Mapping[int, list[int]] = field(default_factory=dict)

    @classmethod
    def least(cls, answers: Sequence[Mapping[str, Any]]) -> "Steered":
        """What every worker steered: each of them computes a part of every layer."""
        layers = [{int(layer): tokens for layer, tokens in answer["steered"].items()} for answer in answers]
        by_layer = {layer: min(worker.get(layer, 0) for worker in layers) for layer in layers[0]}
        selected = {int(layer): counts for layer, counts in answers[0]["selected"].items()}
        return cls(by_layer, min(int(answer["cached"]) for answer in answers), selected)


class Proofs:
    """Gathers the questions of one turn of the event loop into one call, since it waits for the engine's next step."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._open: tuple[dict[str, int], asyncio.Task[dict[str, Steered]]] | None = None

    async def of(self, lengths: Mapping[str, int]) -> list[Steered]:
        """What was steered of each request, of so many first tokens of it."""
        if self._open is None:
            asked: dict[str, int] = {}
            self._open = asked, asyncio.create_task(self._answer(asked))
        asked, task = self._open
        asked.update(lengths)
        # Others wait for the same answer: it must not be cancelled with this one.
        answers = await asyncio.shield(task)
        return [answers[request_id] for request_id in lengths]

    async def _answer(self, asked: dict[str, int]) -> dict[str, Steered]:
        await asyncio.sleep(0)
        self._open = None
        workers = await self._ask(asked)
        return {request_id: Steered.least([worker[request_id] for worker in workers]) for request_id in asked}


def check(mask: Mask, steered: Steered, span: Span, computed: int) -> None:
    """Raise SteeringError if a layer that the mask moves steered fewer tokens than the mask acts on.

    ``computed`` is the number of tokens that went through the model: those of the prompt and all of the reply but its
    last.
    """
    wanted = span.count(0, computed)
    for row, layer_id in enumerate(mask.spec.layer_ids):
        found = steered.by_layer.get(layer_id, 0) + steered.cached
        if found < wanted and mask.rule.entries_LE[row].any():
            raise SteeringError(
                f"the mask {mask.digest[:12]} acts on {wanted} tokens of this reply, but layer {layer_id} steered "
                f"{found}: the reply is withheld, because it is not what was asked for"
            )
