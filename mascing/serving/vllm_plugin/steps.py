"""What each step of vLLM holds: which of its tokens a mask acts on, and how many of each request were steered so far.

Positions count from the first token of the prompt. A step may hold a part of a prompt (chunked prefill), one token of a
reply, or tokens that were computed before (a request that was preempted).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mascing.errors import SteeringError
from mascing.serving.choice import Span
from mascing.serving.mask_table import UNSTEERED
from mascing.serving.vllm_plugin.plugin_settings import KEY
from mascing.serving.vllm_plugin.slots import Slots
from mascing.traces.counting import selections

_KEPT = 2**16
"""Requests whose numbers are kept although nobody has asked for them."""

ArgumentsOf = Callable[[str], Mapping[str, Any] | None]
"""The extra arguments of a request."""


Piece = tuple[int, Tensor, Tensor]
"""Of some positions in a row: the first one, their router logits [L, N, E] and their selected experts [L, N, K]."""


@dataclass
class Tracked:
    """A request that a mask steers, or that is recorded.

    ``name`` is the one that admission gave it, else its own; replies drawn from one prompt share it. ``span`` are the
    positions that the mask acts on. ``reached`` is the position up to which it was computed, and ``cached`` counts the
    tokens that the mask acts on and that came out of the prefix cache instead, made under the same mask.
    """

    name: str
    slot: int
    span: Span
    capture: bool
    counted: bool = False
    reached: int = 0
    cached: int = 0
    pieces: list[Piece] = field(default_factory=list)

    @classmethod
    def of(cls, request: str, arguments: Mapping[str, Any]) -> "Tracked":
        """What admission decided for the request."""
        capture = bool(arguments.get("capture", False))
        name = arguments.get("id", request)
        span, counted = Span(int(arguments["start"]), arguments["stop"]), bool(arguments.get("selected", False))
        return cls(name, int(arguments["slot"]), span, capture, counted)

    def advance(self, start: int, stop: int) -> None:
        """Take in that these positions are computed; those that a step left out before them were cached."""
        if start > self.reached:
            self.cached += self.span.count(self.reached, start)
        self.reached = max(self.reached, stop)

    def steered(self, length: int) -> int:
        """Of so many first positions, those that the mask acts on and that were computed."""
        return self.span.count(0, min(self.reached, length)) - self.cached


class Steps:
    """Follows the steps of one worker and writes each into the slots' buffers."""

    def __init__(self, slots: Slots, layer_ids: Sequence[int]) -> None:
        self._slots, self._layer_ids = slots, layer_ids
        self._running: dict[str, Tracked | None] = {}
        self._known: dict[str, list[Tracked]] = {}
        self._host_N = np.zeros(len(slots.slot_N), dtype=np.int64)
        self._filled = 0
        self._expected = 0
        self._tokens = 0
        self._recorded: list[tuple[Tracked, int, int, int]] = []
        self.proved = False

    def begin(self, requests: Sequence[tuple[str, int, int]], arguments_of: ArgumentsOf) -> None:
        """Take in a step: (request, first position, number of tokens), in the order of the batch.

        ``arguments_of`` gives the extra arguments of a request that is new.
        """
        at, steered, self._recorded = 0, 0, []
        filled: list[tuple[int, int, int]] = []
        for name, start, count in requests:
            if name not in self._running:
                self._running[name] = self._admitted(name, arguments_of)
            tracked = self._running[name]
            if tracked is not None:
                begin, end = tracked.span.within(start, start + count)
                if tracked.slot and end > begin:
                    filled.append((at + begin - start, at + end - start, tracked.slot))
                    steered += end - begin
                tracked.advance(start, start + count)
                if tracked.capture or tracked.counted:
                    self._recorded.append((tracked, start, at, at + count))
            at += count
        self._tokens = at
        self._write(filled, steered)

    def end(self) -> None:
        """Keep what the step has shown of the requests that are recorded."""
        if not self._recorded:
            return
        last = self._recorded[-1][3]
        z_LNE = self._slots.z_LNE[:, :last].to("cpu", copy=True)
        ids_LNK = self._slots.ids_LNK[:, :last].to("cpu", copy=True)
        for tracked, start, begin, end in self._recorded:
            tracked.pieces.append((start, z_LNE[:, begin:end], ids_LNK[:, begin:end]))
        self._recorded = []

    def finished(self, names: Iterable[str]) -> None:
        """Requests that are done or given up; their numbers are kept until they are asked for."""
        for name in names:
            self._running.pop(name, None)

    def probe(self, tokens: int, slot: int) -> None:
        """A forward of so many tokens that belong to no request, all steered by a slot, or by none where it is 0."""
        self._tokens = 0
        self._write([(0, tokens, slot)] if slot else [], tokens if slot else 0)

    def idle(self) -> None:
        """A forward that holds no request: nothing in it is steered."""
        self._tokens = 0
        self._write([], 0)

    def proofs(self, lengths: Mapping[str, int]) -> dict[str, dict[str, Any]]:
        """What was steered of each request: tokens by depth of the layer, and those that the prefix cache had.

        ``lengths`` are the positions of each that count: vLLM computes some more before it learns that a stop string
        ended the reply.
        """
        # The tallies are read once for all, since on a GPU that waits for the device.
        missing = {layer: self._expected - tally for layer, tally in self.steered_by_layer.items()}
        return {name: self._proof(self._known.pop(name, []), length, missing) for name, length in lengths.items()}

    def _proof(self, tracked: Sequence[Tracked], length: int, missing: Mapping[int, int]) -> dict[str, Any]:
        masked = [each for each in tracked if each.slot]
        steered, cached = sum(each.steered(length) for each in masked), sum(each.cached for each in masked)
        proof = {"steered": {layer: max(0, steered - lacks) for layer, lacks in missing.items()}, "cached": cached}
        return {**proof, "selected": self._counts([each for each in tracked if each.counted], length)}

    def _counts(self, tracked: Sequence[Tracked], length: int) -> dict[int, list[int]]:
        """How often each expert was selected by the tokens of these requests that were computed, by depth of layer."""
        if not tracked:
            return {}
        pieces = [piece for each in tracked for piece in in_order(each.pieces)]
        return self._by_layer(torch.cat([ids_LNK[:, : max(0, length - start)] for start, _, ids_LNK in pieces], dim=1))

    def take(self, name: str) -> tuple[Tensor, Tensor]:
        """The recorded logits [T, L, E] and ids [T, L, K] of a request, positions in order.

        Raises SteeringError if a position lacks.
        """
        pieces = in_order([piece for each in self._known.pop(name, []) for piece in each.pieces])
        if not pieces:
            raise SteeringError(f"nothing was recorded of request {name}")
        at = 0
        for start, z_LNE, _ in pieces:
            if start > at:
                raise SteeringError(f"positions {at} to {start - 1} of request {name} were not recorded")
            at = start + z_LNE.shape[1]
        z_LTE = torch.cat([z_LNE for _, z_LNE, _ in pieces], dim=1)
        ids_LTK = torch.cat([ids_LNK for _, _, ids_LNK in pieces], dim=1)
        return z_LTE.transpose(0, 1), ids_LTK.transpose(0, 1)

    def selected(self) -> dict[int, list[int]]:
        """How often each expert was selected by the tokens of the last step that no mask acts on, by depth of layer.

        A step is told once. Counting every step would wait for the device each time.
        """
        free_N = self._slots.slot_N[: self._tokens] == UNSTEERED
        ids_LNK = self._slots.ids_LNK[:, : self._tokens][:, free_N]
        self._tokens = 0
        return self._by_layer(ids_LNK.cpu())

    def _by_layer(self, ids_LNK: Tensor) -> dict[int, list[int]]:
        one_row_N = torch.zeros(ids_LNK.shape[1], dtype=torch.long)
        counts = selections(ids_LNK.transpose(0, 1), one_row_N, 1, self._slots.n_experts)
        return {layer: counts_1E[0].tolist() for layer, counts_1E in zip(self._layer_ids, counts, strict=True)}

    @property
    def steered_by_layer(self) -> dict[int, int]:
        """Tokens steered so far, by depth of the layer."""
        return {layer: int(tally) for layer, tally in zip(self._layer_ids, self._slots.tally_L, strict=True)}

    def _admitted(self, name: str, arguments_of: ArgumentsOf) -> Tracked | None:
        arguments = (arguments_of(name) or {}).get(KEY)
        if arguments is None:
            return None
        if not self.proved:
            raise SteeringError("a request asks for a mask before steering was proved: ask for mascing_spec first")
        tracked = Tracked.of(name, arguments)
        self._known.setdefault(tracked.name, []).append(tracked)
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]
        return tracked

    def _write(self, filled: Sequence[tuple[int, int, int]], steered: int) -> None:
        """Tell the layers which tokens are steered; where nothing is and nothing was, there is nothing to write."""
        slots = self._slots
        slots.idle = not filled
        if filled or self._filled:
            self._host_N[: self._filled] = 0
            for begin, end, slot in filled:
                self._host_N[begin:end] = slot
            last = filled[-1][1] if filled else 0
            extent = max(last, self._filled)
            slots.slot_N[:extent].copy_(torch.from_numpy(self._host_N[:extent]))
            slots.steered.fill_(steered)
            self._filled = last
            self._expected += steered


def in_order(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces by position, each without the positions that one before it has: some are computed again."""
    kept: list[Piece] = []
    at = 0
    for start, z_LNE, ids_LNK in sorted(pieces, key=lambda piece: piece[0]):
        known = max(0, at - start)
        if known < ids_LNK.shape[1]:
            kept.append((start + known, z_LNE[:, known:], ids_LNK[:, known:]))
            at = start + ids_LNK.shape[1]
    return kept
